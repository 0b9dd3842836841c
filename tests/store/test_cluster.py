"""A cluster without a guard: the private servers that other tests ill-treat."""

from __future__ import annotations

import os
import subprocess
import sys

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.harness.postgres import wait_until
from troth.store.embedded_cluster import LOG_LIMIT, Identity
from troth.store.errors import DatabaseUnavailable


def test_a_crash_loses_nothing_that_was_committed(server):
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
    server.kill9()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url)
    server.start()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (1,)


def test_a_frozen_server_keeps_connections_and_answers_later(server):
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        server.sigstop()
        connection.pgconn.send_query(b"SELECT 1")
        connection.pgconn.flush()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(make_conninfo(server.url, connect_timeout=2))
        connection.pgconn.consume_input()
        assert connection.pgconn.is_busy()
        server.sigcont()

        def answered() -> bool:
            connection.pgconn.consume_input()
            return not connection.pgconn.is_busy()

        wait_until(answered, "the frozen server answers")
        while (result := connection.pgconn.get_result()) is not None:
            assert result.get_value(0, 0) == b"1"


def test_restarting_keeps_the_url(server):
    before, pid = server.url, server.pid
    server.restart()
    assert server.pid != pid
    with psycopg.connect(before) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_long_log_is_set_aside(server):
    server.stop()
    os.truncate(server.cluster.log, LOG_LIMIT + 1)
    server.start()
    assert server.cluster.log.stat().st_size < LOG_LIMIT
    assert server.cluster.log.with_suffix(".log.old").stat().st_size == LOG_LIMIT + 1


@pytest.mark.parametrize("name", ["0", "nobody", "-1"])
def test_an_impossible_user_for_the_server_is_refused(monkeypatch, name):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("TROTH_EMBEDDED_UID", name)
    with pytest.raises(DatabaseUnavailable, match="TROTH_EMBEDDED_UID"):
        Identity.unprivileged()


def test_the_guard_is_light():
    program = "import sys, troth.store.embedded_guard; print('psycopg' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert answer.stdout == "False\n"
