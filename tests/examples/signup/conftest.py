from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from examples.signup.demo.stage import SCHEMA
from tests.harness.postgres import create_database
from troth.store.migrate import migrate


@pytest.fixture
def application(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of the test's own, with the tables of the example and of troth; its URL."""
    name = f"signup_{uuid.uuid4().hex[:12]}"
    url = create_database(database_url, name)
    migrate(url, "troth")
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA.read_bytes())
    monkeypatch.setenv("TROTH_DATABASE_URL", url)
    yield url
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # a name of our own making
