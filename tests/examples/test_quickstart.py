"""The first example, as a reader runs it: alone, and killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.harness.postgres import create_database, open_directory, wait_until
from troth.store.embedded_cluster import Cluster, wheel_binaries
from troth.store.migrate import migrate

QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart.py"
PROGRAM = [sys.executable, str(QUICKSTART)]


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    name = f"quickstart_{uuid.uuid4().hex[:12]}"
    own = create_database(database_url, name)
    migrate(own, "troth")
    yield own
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # a name of our own making


def count(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def test_it_goes_on_after_kill_9_and_the_same_key_is_the_same_run(url: str) -> None:
    environment = {**os.environ, "TROTH_DATABASE_URL": url}
    recorded = "SELECT count(*) FROM troth.journal WHERE path = 'create_account'"
    with subprocess.Popen(PROGRAM, env=environment, stdout=subprocess.PIPE) as killed:
        wait_until(lambda: count(url, recorded), "the account is recorded")
        killed.kill()
        assert killed.stdout is not None
        assert killed.stdout.read() == b"ada@example.com has an account\n"

    second = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=True)
    third = subprocess.run(PROGRAM, env=environment, capture_output=True, text=True, check=True)

    welcome, answer = second.stdout.splitlines()
    assert welcome.startswith("to ada@example.com: welcome")
    assert answer == "ada@example.com"
    assert third.stdout == "ada@example.com\n"
    assert count(url, "SELECT count(*) FROM account") == 1


def test_it_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TROTH_DATABASE_URL", raising=False)
    directory = open_directory("troth-quickstart-")
    done = subprocess.run(PROGRAM, cwd=directory, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "ada@example.com"
    cluster = Cluster(directory / ".troth" / "postgres", wheel_binaries())
    wait_until(lambda: cluster.postmaster() is None, "the embedded server stops")
