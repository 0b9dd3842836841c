"""PgBouncer in front of a test's server, as people run it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.harness.postgres import open_directory, wait_until

PROGRAM = Path("/usr/sbin/pgbouncer")


@contextmanager
def pgbouncer(url: str, mode: str) -> Iterator[str]:
    """The URL of a pool in a *mode* (session, transaction) in front of the server of *url*."""
    if not PROGRAM.exists():
        pytest.fail("these tests need pgbouncer: `make outsiders` brings it")
    server = conninfo_to_dict(url)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    directory = open_directory("troth-pgbouncer-")
    told = f"host={server['host']} port={server['port']} user={server['user']}"
    (directory / "users").write_text(f'"{server["user"]}" ""\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = {told}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\nauth_file = {directory}/users\npool_mode = {mode}\n"
        f"logfile = {directory}/log\npidfile =\n"
    )
    directory.chmod(0o777)
    as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
    child = subprocess.Popen([PROGRAM, "-q", *as_user, directory / "pgbouncer.ini"])
    pooled = make_conninfo(url, host="127.0.0.1", port=port)
    try:
        wait_until(lambda: _answers(pooled), "pgbouncer answers")
        yield pooled
    finally:
        child.terminate()
        child.wait()
        shutil.rmtree(directory)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url):
            return True
    except psycopg.OperationalError:
        return False
