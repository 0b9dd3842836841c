"""aiosqlite under the lab: with its thread for real and without it here, a program gets the same."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.lab.seen import Seen
from troth.lab import Lab

THINGS = """
CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, price REAL CHECK (price > 0));
INSERT INTO things (name, price) VALUES ('one', 1.5), ('two', NULL);
"""


async def rows(db):
    async with db.execute("SELECT * FROM things ORDER BY id") as cursor:
        found = [row async for row in cursor]
        names = [column[0] for column in cursor.description]
    one = await (await db.execute("SELECT name FROM things WHERE id = ?", (2,))).fetchone()
    return [found, names, one, await db.execute_fetchall("SELECT count(*) FROM things")]


async def changes(db):
    cursor = await db.execute("UPDATE things SET price = 2")
    found = [cursor.rowcount, db.in_transaction]
    await db.commit()
    cursor = await db.executemany("INSERT INTO things (name) VALUES (?)", [("a",), ("b",)])
    await db.rollback()
    return [*found, cursor.rowcount, await db.execute_fetchall("SELECT name FROM things")]


async def errors(db):
    found = []
    for statement in (
        "INSERT INTO things (name) VALUES ('one')",
        "INSERT INTO things (name, price) VALUES ('cheap', 0)",
        "SELECT * FROM nothing",
        "SELEC",
    ):
        try:
            await db.execute(statement)
        except sqlite3.Error as error:
            found.append([type(error).__name__, str(error)])
    await db.close()
    with pytest.raises(ValueError, match=r"closed|no active connection") as told:
        await db.execute("SELECT 1")
    return [*found, str(told.value)]


@pytest.mark.parametrize("program", [rows, changes, errors], ids=lambda one: one.__name__)
def test_a_program_returns_the_same(
    lab: Lab, tmp_path, program: Callable[[Any], Awaitable[object]]
):
    async def really(path: str) -> str:
        async with aiosqlite.connect(path) as db:
            return repr(await program(db))

    with sqlite3.connect(tmp_path / "real.db") as made:
        made.executescript(THINGS)
    made.close()
    expected = asyncio.run(really(str(tmp_path / "real.db")))
    with Seen() as seen:

        async def handler() -> int:
            seen.note(await really("app.db"))
            return 200

        lab.database("app.db", seed=THINGS)
        lab.user(handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(survived=0, overlap=1)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == {expected}


async def buy_with_sqlalchemy(locking: str) -> int:
    engine = create_async_engine("sqlite+aiosqlite:///app.db")
    async with engine.begin() as db:
        if locking:
            await db.execute(text(locking))
        price = (await db.execute(text("SELECT price FROM things WHERE name = 'one'"))).scalar_one()
        await db.execute(
            text("UPDATE things SET price = :more WHERE name = 'one'"), {"more": price + 1}
        )
        await db.execute(text("INSERT INTO log DEFAULT VALUES"))
    return 200


@pytest.mark.parametrize(
    ("locking", "word"),
    [("UPDATE things SET price = price WHERE name = 'one'", "HOLDS"), ("", "VIOLATED")],
)
def test_the_orm_above_it_and_real_processes(locking: str, word: str):
    """Reading before anything is locked loses an update, and real processes agree."""
    lab = Lab("aiosqlite", closer=0)
    lab.database("app.db", seed=f"{THINGS} CREATE TABLE log (id INTEGER PRIMARY KEY);")
    for _ in range(2):
        lab.user(lambda: buy_with_sqlalchemy(locking), again=lambda answer: False)
    lab.always("no sum is lost", lambda w: w.db.things[0].price == 1.5 + len(w.db.log))
    verdict = lab.explore(survived=0)
    assert verdict.word == word, str(verdict)
