"""What is between here and the server: does a session stay one? A pooler in transaction mode gives each transaction another.

It is found out by trying: two connections take turns, and the first looks for what it left. Between its words the second one
holds a transaction open, and so the server's session that the first one had, if the two share their sessions.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from troth.store.connect import AsyncConnection, connect_async

_PATIENCE_S = 3.0  # a pool of one session lets the first wait for the second
_HEARS_WITHIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Road:
    """What is between here and the server. *pooler*: somebody answers for the server, as PgBouncer does.

    The others say what a session keeps while another one is busy: a setting, an advisory lock, a prepared statement, a LISTEN.
    """

    pooler: bool = False
    keeps_settings: bool = True
    keeps_locks: bool = True
    keeps_prepared: bool = True
    hears: bool = True


async def try_road(url: str) -> Road:
    """Find out what is between here and the server. Raises `DatabaseUnavailable`."""
    token = secrets.randbits(62)
    async with AsyncExitStack() as stack:
        one, two = await connect_async(url), await connect_async(url)
        stack.push_async_callback(one.close)
        stack.push_async_callback(two.close)
        pooler = await _value(one, sql.SQL("SELECT pg_backend_pid()")) != one.info.backend_pid
        return Road(
            pooler,
            await _kept(lambda: _settings(one, two, token)),
            await _kept(lambda: _locks(one, two, token)),
            await _kept(lambda: _prepared(one, two)),
            await _kept(lambda: _hears(one, two, token)),
        )


async def _kept(look: Callable[[], Awaitable[bool]]) -> bool:
    """False, too, if the session is no session at all: the other one's transaction is in the way, or it is refused."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await look()
    except (TimeoutError, psycopg.Error):
        return False


async def _settings(one: AsyncConnection, two: AsyncConnection, token: int) -> bool:
    await one.execute(sql.SQL("SET troth.doctor = {}").format(str(token)))
    try:
        async with two.transaction():
            await two.execute("SELECT 1")
            found = await _value(one, sql.SQL("SELECT current_setting('troth.doctor', true)"))
            return found == str(token)
    finally:
        await _both(one, two, sql.SQL("RESET troth.doctor"))


async def _locks(one: AsyncConnection, two: AsyncConnection, token: int) -> bool:
    take = sql.SQL("SELECT pg_try_advisory_lock({})").format(token)
    try:
        await one.execute(take)
        async with two.transaction():
            return await _value(two, take) is False
    finally:
        await _both(one, two, sql.SQL("SELECT pg_advisory_unlock({})").format(token))


async def _prepared(one: AsyncConnection, two: AsyncConnection) -> bool:
    query = "SELECT 'troth.doctor' WHERE %s"
    await one.execute(query, (True,), prepare=True)
    async with two.transaction():
        await two.execute("SELECT 1")
        await one.execute(query, (True,), prepare=True)
    return True


async def _hears(one: AsyncConnection, two: AsyncConnection, token: int) -> bool:
    channel = sql.Identifier(f"troth.doctor.{token}")
    try:
        await one.execute(sql.SQL("LISTEN {}").format(channel))
        await two.execute(sql.SQL("NOTIFY {}").format(channel))
        heard = [each async for each in one.notifies(timeout=_HEARS_WITHIN_S, stop_after=1)]
        return bool(heard)
    finally:
        await _both(one, two, sql.SQL("UNLISTEN {}").format(channel))


async def _both(one: AsyncConnection, two: AsyncConnection, query: sql.SQL | sql.Composed) -> None:
    """Clean up in both: nobody knows whose session it is in."""
    for each in (one, two):
        with suppress(psycopg.Error):
            await each.execute(query)


async def _value(connection: AsyncConnection, query: sql.SQL | sql.Composed) -> object:
    row = await (await connection.execute(query)).fetchone()
    return None if row is None else row[0]
