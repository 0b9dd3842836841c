"""One shop, in each framework in turn."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest

from tests.harness.postgres import drop_schema
from tests.integrations.edge.frameworks import SITES, encoded
from tests.integrations.edge.shop import Reply, Shop
from troth.store.migrate import migrate


class Site:
    """An application, its client and its tables."""

    def __init__(self, site: Any, shop: Shop, url: str) -> None:
        self._site = site
        self.shop = shop
        self.url = url

    async def post(
        self,
        path: str,
        body: Any,
        key: str | None = None,
        *,
        user: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        method: str = "POST",
        kind: str = "application/json",
    ) -> Reply:
        given = [("content-type", kind), *headers]
        if key is not None:
            given.append(("idempotency-key", key))
        if user is not None:
            given.append(("x-user", user))
        return await self._site.send(method, path, encoded(body), given)

    async def get(self, path: str, user: str = "nobody") -> Reply:
        return await self._site.send("GET", path, b"", [("x-user", user)])

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """`{}` is the schema."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query.replace("{}", self.shop.troth.schema), params)
            return cursor.fetchall() if cursor.description else []

    @property
    def things(self) -> list[str]:
        return [row[0] for row in self.rows("SELECT name FROM {}.thing ORDER BY id")]

    @property
    def keys(self) -> list[str | None]:
        return [row[0] for row in self.rows("SELECT key FROM {}.request ORDER BY at")]


@pytest.fixture(params=sorted(SITES))
def framework(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def place(database_url: str) -> Iterator[tuple[str, str]]:
    """(url, schema): migrated once, emptied before each test."""
    schema = f"t_{uuid.uuid4().hex[:12]}"
    migrate(database_url, schema)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE {schema}.thing (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE)"
        )
    yield database_url, schema
    drop_schema(database_url, schema)


@pytest.fixture
async def site(framework: str, place: tuple[str, str]) -> AsyncIterator[Site]:
    url, schema = place
    with psycopg.connect(url, autocommit=True) as connection:
        for table in ("request", "start_key", "run", "run_history", "journal", "message", "thing"):
            connection.execute(f"DELETE FROM {schema}.{table}")
    shop = Shop(url, schema)
    async with shop.troth.client(), SITES[framework](shop) as served:
        yield Site(served, shop, url)
