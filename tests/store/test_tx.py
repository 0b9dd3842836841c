from __future__ import annotations

import psycopg
import pytest
from mypy import api

from troth.store.connect import connect_async, connect_blocking
from troth.store.tx import BlockingTx, Tx

CONFORMING = """
import psycopg
from troth.store.tx import BlockingTx, Tx

def a(handle: psycopg.AsyncConnection) -> Tx:
    return handle

def b(handle: psycopg.Connection) -> BlockingTx:
    return handle

def c(handle: psycopg.AsyncCursor) -> Tx:
    return handle
"""

NOT_CONFORMING = """
import sqlite3
import psycopg
from troth.store.tx import BlockingTx, Tx

def d(handle: psycopg.Connection) -> Tx:
    return handle

def e(handle: sqlite3.Connection) -> BlockingTx:
    return handle
"""


def test_types(tmp_path):
    good, bad = tmp_path / "conforming.py", tmp_path / "not_conforming.py"
    good.write_text(CONFORMING)
    bad.write_text(NOT_CONFORMING)
    report, errors, _ = api.run(["--strict", "--no-error-summary", str(good), str(bad)])
    assert not errors
    found = [line for line in report.splitlines() if ": error:" in line]
    assert [line.split(":")[0].rsplit("/")[-1] for line in found] == ["not_conforming.py"] * 2
    assert all("Incompatible return value type" in line for line in found)


async def greet(tx: Tx) -> list[str]:
    rows = await tx.execute("SELECT * FROM (VALUES ('a'), ('b'), (%s)) v", ["c"])
    assert rows.rowcount == 3
    first = await rows.fetchone()
    assert first == ("a",)
    return [name async for (name,) in rows]


def greet_blocking(tx: BlockingTx) -> list[str]:
    rows = tx.execute("SELECT * FROM (VALUES ('a'), ('b'), (%(c)s)) v", {"c": "c"})
    assert rows.rowcount == 3
    first = rows.fetchone()
    assert first == ("a",)
    return [name for (name,) in rows]


async def test_psycopg_connections_are_handles_as_they_are(database_url):
    async with await connect_async(database_url) as connection:
        assert await greet(connection) == ["b", "c"]
    with connect_blocking(database_url) as blocking:
        assert greet_blocking(blocking) == ["b", "c"]


async def test_a_transaction_is_the_callers(database_url, schema):
    async def step(tx: Tx) -> None:
        await tx.execute("CREATE TEMP TABLE t ()")
        raise LookupError

    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        with pytest.raises(LookupError):
            async with connection.transaction():
                await step(connection)
        row = await (await connection.execute("SELECT to_regclass('t')")).fetchone()
    assert row == (None,)
