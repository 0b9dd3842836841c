"""Every source of transactions, and how its handles are used: the differences between libraries, in one place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import asyncpg
import django
from django.conf import settings
from django.db import connections
from django.utils.functional import empty
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from troth.integrations.asyncpg import AsyncpgSource
from troth.integrations.asyncpg import tx as asyncpg_tx
from troth.integrations.django_transactions import DjangoSource
from troth.integrations.django_transactions import tx as django_tx
from troth.integrations.sqlalchemy import (
    SQLAlchemyConnections,
    SQLAlchemySource,
    blocking_tx,
)
from troth.integrations.sqlalchemy import tx as sqlalchemy_tx

Execute = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Kind:
    """*make(url, size)* gives a source; *execute* runs SQL on a handle of it and gives its first row, or None."""

    name: str
    is_async: bool
    make: Callable[[str, int], Any]
    execute: Execute
    commit: Execute | None = None  # what the library offers to end the transaction
    rollback: Execute | None = None
    tx: Callable[[Any], Any] | None = None
    refuses_late: bool = True  # a handle that is used after its step


def dsn(url: str, driver: str = "") -> str:
    """A libpq URL or string as the libraries want it."""
    given = conninfo_to_dict(url)
    host = str(given.get("host", "localhost"))
    where = f"?host={quote(host, safe='')}" if host.startswith("/") else ""
    place = "" if where else host
    port = f":{given['port']}" if "port" in given and not where else ""
    if where and "port" in given:
        where += f"&port={given['port']}"
    secret = f":{quote(str(given['password']))}" if given.get("password") else ""
    user = f"{given['user']}{secret}@" if given.get("user") else ""
    return f"postgresql{driver}://{user}{place}{port}/{given['dbname']}{where}"


# Making and closing ---------------------------------------------------------------------------------------------------


def _own(url: str, size: int) -> Any:
    @asynccontextmanager
    async def made() -> AsyncIterator[Any]:
        yield None

    return made()


def _alchemy(driver: str, wrap: Callable[[Any], Any], is_async: bool) -> Any:
    @asynccontextmanager
    async def made(url: str, size: int) -> AsyncIterator[Any]:
        plain = {"sslmode": "disable", "gssencmode": "disable"}
        arguments = {"ssl": False} if driver == "+asyncpg" else plain
        options: dict[str, Any] = {
            "pool_size": size, "max_overflow": 0, "pool_timeout": 0.2, "connect_args": arguments,
        }  # fmt: skip
        if is_async:
            engine = create_async_engine(dsn(url, driver), **options)
            yield wrap(engine)
            await engine.dispose()
        else:
            blocking = create_engine(dsn(url, driver), **options)
            yield wrap(blocking)
            await asyncio.to_thread(blocking.dispose)

    return made


@asynccontextmanager
async def _asyncpg(url: str, size: int) -> AsyncIterator[Any]:
    pool = await asyncpg.create_pool(dsn(url), min_size=0, max_size=size, ssl=False)
    yield AsyncpgSource(lambda: pool)
    await asyncio.wait_for(pool.close(), 10)


@asynccontextmanager
async def _django(url: str, size: int) -> AsyncIterator[Any]:
    given = conninfo_to_dict(url)
    was, known = settings._wrapped, connections.__dict__.pop("settings", None)
    settings._wrapped = empty
    settings.configure()
    django.setup()
    alias = f"steps_{abs(hash((url, size)))}"
    options = {"sslmode": "disable", "gssencmode": "disable"}
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": given["dbname"], "HOST": given.get("host", ""), "PORT": given.get("port", ""),
        "USER": given.get("user", ""), "PASSWORD": given.get("password", ""), "OPTIONS": options,
    }  # fmt: skip
    connections.settings = connections.configure_settings({"default": {}, alias: database})
    try:
        yield DjangoSource(alias)
    finally:
        settings._wrapped = was
        del connections.settings
        if known is not None:
            connections.settings = known


# Using ----------------------------------------------------------------------------------------------------------------


async def _psycopg_execute(tx: Any, query: str) -> Any:
    cursor = await tx.execute(query)
    return await cursor.fetchone() if cursor.description else None


def _psycopg_execute_blocking(tx: Any, query: str) -> Any:
    cursor = tx.execute(query)
    return cursor.fetchone() if cursor.description else None


async def _alchemy_execute(handle: Any, query: str) -> Any:
    result = await handle.execute(text(query))
    return result.fetchone() if result.returns_rows else None


def _alchemy_execute_blocking(handle: Any, query: str) -> Any:
    result = handle.execute(text(query))
    return result.fetchone() if result.returns_rows else None


async def _asyncpg_execute(handle: Any, query: str) -> Any:
    return await handle.fetchrow(query)


def _django_execute(handle: Any, query: str) -> Any:
    with handle.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone() if cursor.description else None


async def _end(what: str, handle: Any) -> None:
    await getattr(handle, what)()


def _end_blocking(what: str, handle: Any) -> None:
    getattr(handle, what)()


def _verbs(is_async: bool) -> dict[str, Any]:
    end = _end if is_async else _end_blocking
    return {
        "commit": lambda handle, _: end("commit", handle),
        "rollback": lambda handle, _: end("rollback", handle),
    }


def _django_tx(handle: Any) -> Any:
    return django_tx(handle)


async def _asyncpg_tx(handle: Any) -> Any:
    return asyncpg_tx(handle)


async def _same(handle: Any) -> Any:
    return handle


KINDS = [
    Kind("own", True, _own, _psycopg_execute, **_verbs(True), tx=_same, refuses_late=False),
    Kind("own-def", False, _own, _psycopg_execute_blocking, **_verbs(False), refuses_late=False),
    Kind("alchemy-session-psycopg", True, _alchemy("+psycopg", SQLAlchemySource, True), _alchemy_execute, **_verbs(True), tx=sqlalchemy_tx),
    Kind("alchemy-session-asyncpg", True, _alchemy("+asyncpg", SQLAlchemySource, True), _alchemy_execute, **_verbs(True), tx=sqlalchemy_tx),
    Kind("alchemy-connection-psycopg", True, _alchemy("+psycopg", SQLAlchemyConnections, True), _alchemy_execute, **_verbs(True), tx=sqlalchemy_tx),
    Kind("alchemy-connection-asyncpg", True, _alchemy("+asyncpg", SQLAlchemyConnections, True), _alchemy_execute, **_verbs(True), tx=sqlalchemy_tx),
    Kind("alchemy-session-def", False, _alchemy("+psycopg", SQLAlchemySource, False), _alchemy_execute_blocking, **_verbs(False), tx=blocking_tx),
    Kind("alchemy-connection-def", False, _alchemy("+psycopg", SQLAlchemyConnections, False), _alchemy_execute_blocking, **_verbs(False), tx=blocking_tx),
    Kind("asyncpg", True, _asyncpg, _asyncpg_execute, tx=_asyncpg_tx),
    Kind("django", False, _django, _django_execute, **_verbs(False), tx=_django_tx, refuses_late=False),
]  # fmt: skip
