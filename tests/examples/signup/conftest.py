from __future__ import annotations

import functools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from examples.signup import api
from examples.signup.books import open_chart
from examples.signup.demo.stage import SCHEMA
from examples.signup.people import access
from examples.signup.service import app
from examples.signup.subscription import subscription
from tests.harness.postgres import create_database
from troth.access import HashedPassword
from troth.store.migrate import migrate

PASSWORD = "correct horse battery"
OURS = {"sec-fetch-site": "same-origin"}  # as a browser says it for our own pages


@functools.cache
def hashed() -> HashedPassword:
    """Of everybody's password: once is slow enough."""
    return access.people.passwords.hash_blocking(PASSWORD)


@pytest.fixture(scope="session")
def prepared(database_url: str) -> Iterator[str]:
    """The name of a database with the tables of the example and of troth, to be copied: that is quick."""
    name = f"signup_{uuid.uuid4().hex[:12]}"
    url = create_database(database_url, name)
    migrate(url, "troth")
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA.read_bytes())
        open_chart(connection)
    yield name
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # a name of our own making


@contextmanager
def copied(database_url: str, prepared: str) -> Iterator[str]:
    """While inside, a copy of that database; its URL."""
    name = f"signup_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {prepared}")
        yield make_conninfo(database_url, dbname=name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def application(database_url: str, prepared: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of the test's own, with the tables of the example and of troth; its URL."""
    with copied(database_url, prepared) as url:
        monkeypatch.setenv("TROTH_DATABASE_URL", url)
        yield url


@pytest.fixture
async def http(
    application: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The service in this process, without a worker: what is asked for is recorded, and stays ready."""
    monkeypatch.setattr(api, "WAIT_S", 0.0)  # nobody would answer in this time
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")
    async with app.router.lifespan_context(app), client:
        yield client


@dataclass(frozen=True)
class Resident:
    """Somebody who has an open account, and is logged in."""

    account: uuid.UUID
    workspace: int
    email: str
    cookie: str
    machine_key: str

    @property
    def headers(self) -> dict[str, str]:
        """Of a request from one of our pages. No client sends a `__Host-` cookie without TLS by itself."""
        return {"cookie": self.cookie, **OURS}


@pytest.fixture
def resident(application: str) -> Callable[[str], Resident]:
    """Puts somebody into the database as a signup would."""

    def make(email: str) -> Resident:
        account = uuid.uuid4()
        with psycopg.connect(application) as tx:
            tx.execute(
                "INSERT INTO signup.account (id, email, name, plan, customer_id, subscription_id) "
                "VALUES (%s, %s, %s, 'pro', %s, %s)",
                [account, email, f"Name of {email}", f"cus_{email}", f"sub_{email}"],
            )
            row = tx.execute(
                "INSERT INTO signup.workspace (account, name) VALUES (%s, 'w') RETURNING id",
                [account],
            ).fetchone()
            assert row is not None
            tx.execute("INSERT INTO signup.role VALUES (%s, %s, 'owner')", [account, row[0]])
            quota = "INSERT INTO signup.quota VALUES (%s, %s, 'seats', 25)"
            tx.execute(quota, [account, row[0]])
            cause = f"signup:{account}"
            subscription.observe_blocking(tx, f"sub_{email}", "active", version=1, cause=cause)
            tenant = str(account)
            person = access.people.add_blocking(tx, email, hashed(), tenant=tenant)
            begun = access.sessions.start_blocking(tx, person.id)
            key = access.keys.create_blocking(
                tx, "theirs", scopes=["*"], owner=person.id, tenant=tenant
            )
        cookie = f"__Host-session={begun.token}"
        return Resident(account, row[0], email, cookie, key.key)

    return make


@pytest.fixture
def rows(application: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Ask the database, as its owner: nothing is hidden."""

    def ask(query: str, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(application) as connection:
            return connection.execute(query, params).fetchall()  # type: ignore[arg-type]

    return ask
