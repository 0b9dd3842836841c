"""asyncpg under the lab: what the driver returns and raises is what it returns and raises at a real server."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.lab.cut import Cut, Where
from tests.lab.seen import Seen
from troth.lab import Lab

THINGS = """
CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE NOT NULL, price numeric(8,2) CHECK (price > 0), tags text[], data jsonb,
    made timestamptz);
INSERT INTO things (name, price, tags, data, made)
VALUES ('one', 1.50, ARRAY['a', 'b'], '{"x": [1, null]}', '2020-01-01T12:00:00Z'), ('two', NULL, NULL, NULL, NULL);
"""
Program = Callable[[Any], Awaitable[object]]


async def rows_in_every_way(db):
    return [
        await db.fetch("SELECT * FROM things ORDER BY id"),
        await db.fetchrow("SELECT name, price FROM things WHERE id > $1 ORDER BY id", 0),
        await db.fetchval("SELECT count(*) FROM things"),
        await db.fetchrow("SELECT 1 FROM things WHERE id = $1", 99),
        [dict(one) async for one in _each(db, "SELECT name FROM things ORDER BY name")],
    ]


async def _each(db, query):
    for one in await db.fetch(query):
        yield one


async def parameters(db):
    at = dt.datetime(2024, 5, 6, 7, 8, 9, tzinfo=dt.UTC)
    return await db.fetchrow(
        "SELECT $1::int + 1, $2::numeric, $3::text[], $4::bool, $5::timestamptz, $6::jsonb, $7::bytea",
        41,
        Decimal("1.25"),
        ["x", None],
        True,
        at,
        '{"a": 1}',
        b"\0\1",
    )


async def statuses(db):
    return [
        await db.execute("UPDATE things SET price = 2 WHERE id = 1"),
        await db.execute("UPDATE things SET price = $1", Decimal(3)),
        await db.fetch("INSERT INTO things (name) VALUES ($1) RETURNING id, name", "three"),
        await db.execute("DELETE FROM things WHERE name = 'nobody'"),
    ]


async def many(db):
    await db.executemany("INSERT INTO things (name) VALUES ($1)", [("x",), ("y",)])
    async with db.transaction():
        await db.executemany("INSERT INTO things (name) VALUES ($1)", [("z",)])
    return await db.fetch("SELECT name FROM things ORDER BY name")


async def many_of_which_one_fails(db):
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.executemany("INSERT INTO things (name) VALUES ($1)", [("x",), ("one",), ("y",)])
    return await db.fetchval("SELECT count(*) FROM things")


async def errors(db):
    found = []
    for statement in (
        "INSERT INTO things (name, price) VALUES ('one', 1)",
        "INSERT INTO things (name, price) VALUES ('cheap', 0)",
        "SELECT * FROM nothing WHERE id = $1",
        "SELEC",
    ):
        try:
            await (db.execute(statement, 1) if "$1" in statement else db.execute(statement))
        except asyncpg.PostgresError as error:
            found.append([
                type(error).__name__, error.sqlstate, getattr(error, "constraint_name", None), error.message,
            ])  # fmt: skip
    return found


async def transactions(db):
    async with db.transaction():
        await db.execute("INSERT INTO things (name) VALUES ('kept')")
        with suppress(ZeroDivisionError):
            async with db.transaction():
                await db.execute("INSERT INTO things (name) VALUES ('dropped')")
                raise ZeroDivisionError
    with suppress(ZeroDivisionError):
        async with db.transaction():
            await db.execute("INSERT INTO things (name) VALUES ('dropped, too')")
            raise ZeroDivisionError
    return [one["name"] for one in await db.fetch("SELECT name FROM things ORDER BY id")]


async def failed_transaction(db):
    found = []
    transaction = db.transaction()
    await transaction.start()
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute("INSERT INTO things (name) VALUES ('one')")
    with pytest.raises(asyncpg.InFailedSQLTransactionError) as told:
        await db.fetch("SELECT 1 WHERE $1", True)
    found.append(str(told.value))
    await transaction.rollback()
    return [*found, db.is_in_transaction(), await db.fetchval("SELECT count(*) FROM things")]


async def prepared(db):
    statement = await db.prepare("SELECT name FROM things WHERE id = $1")
    kinds = [one.type.name for one in statement.get_attributes()]
    return [kinds, await statement.fetchval(1), await statement.fetchval(2)]


PROGRAMS = [rows_in_every_way, parameters, statuses, many, many_of_which_one_fails, errors, transactions, failed_transaction, prepared]  # fmt: skip


def plain(value: object) -> str:
    return repr(value).replace("<Record", "(Record")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_returns_the_same(lab: Lab, database_url: str, schema: str, program: Program):
    async def really() -> str:
        db = await asyncpg.connect(**place(database_url))
        try:
            await db.execute(f"CREATE SCHEMA {schema}; SET search_path = {schema}")
            await db.execute(THINGS)
            return plain(await program(db))
        finally:
            await db.close()

    expected = asyncio.run(really())
    with Seen() as seen:

        async def handler() -> int:
            db = await asyncpg.connect("postgresql://app@db.internal/shop")
            seen.note(plain(await program(db)))
            await db.close()
            return 200

        lab.database(database_url, seed=THINGS)
        lab.user(handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(survived=0, overlap=1)
        assert verdict.closed, str(verdict)
        lines = seen.lines()
        assert lines
        for line in lines:
            assert line == expected


@pytest.mark.parametrize(("lock", "word"), [(" FOR UPDATE", "HOLDS"), ("", "VIOLATED")])
def test_a_pool_and_a_row_lock_in_real_processes(database_url: str, lock: str, word: str):
    async def add() -> int:
        async with (
            asyncpg.create_pool("postgresql://db.internal/shop", min_size=2, max_size=3) as pool,
            pool.acquire() as db,
            db.transaction(),
        ):
            found = await db.fetchval(f"SELECT price FROM things WHERE name = 'one'{lock}")
            await db.execute("UPDATE things SET price = $1 WHERE name = 'one'", found + 1)
            await db.execute("INSERT INTO log DEFAULT VALUES")
        return 200

    lab = Lab("pool", closer=0)
    lab.database(database_url, seed=f"{THINGS}; CREATE TABLE log (id serial PRIMARY KEY)")
    for _ in range(2):
        lab.user(add, again=lambda answer: False)
    lab.always("no sum is lost", lambda w: float(w.db.things[0].price) == 1.5 + len(w.db.log))
    verdict = lab.explore(survived=0)
    assert verdict.word == word, str(verdict)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


async def connecting(db):
    """Nothing is asked of the connection; only what comes before can fail."""


async def reading(db):
    await db.fetch("SELECT * FROM things")


async def writing(db):
    await db.execute("INSERT INTO things (name) VALUES ('new')")


async def committing(db):
    async with db.transaction():
        await db.execute("INSERT INTO things (name) VALUES ('new')")


def told_of(error: BaseException | None) -> str:
    return "fine" if error is None else type(error).__name__


async def attempted(program: Program, **where: Any) -> str:
    db = None
    try:
        db = await asyncpg.connect(**where)
        await program(db)
        error = None
    except Exception as raised:  # noqa: BLE001
        error = raised
    closed = db is not None and db.is_closed()
    if db is not None:
        await db.close(timeout=5)
    return f"{told_of(error)}, {'closed' if closed else 'open'}"


MESSAGES = {connecting: 0, reading: 2, writing: 1, committing: 3}
"""How many the driver sends, each when the one before it has been answered."""


@pytest.mark.parametrize("program", MESSAGES, ids=lambda one: one.__name__)
def test_a_fault_is_raised_as_it_is_raised_for_real(
    lab: Lab, database_url: str, schema: str, program: Program
):
    to = place(database_url)
    socket = f"{to['host']}/.s.PGSQL.{to['port']}"
    with Cut(socket if socket.startswith("/") else (to["host"], to["port"])) as cut, Seen() as seen:
        settings = {"search_path": schema}
        where = to | {"host": "127.0.0.1", "port": cut.port, "ssl": False, "server_settings": settings}  # fmt: skip

        def cutting(number: int, side: Where) -> Program:
            async def cut_there(db: Any) -> None:
                cut.arm(side, passing=number)
                await program(db)

            return cut_there

        async def asked(statements: str) -> None:
            db = await asyncpg.connect(**where)
            await db.execute(statements)
            await db.close()

        async def really() -> set[str]:
            await asked(f"CREATE SCHEMA {schema}; {THINGS}")
            found = {
                await attempted(program, **where),
                await attempted(program, **where | {"port": 1}),
            }
            await asked("DELETE FROM things WHERE name = 'new'")
            for number in range(MESSAGES[program]):
                for side in ("before", "after"):
                    found.add(await attempted(cutting(number, side), **where))
                    await asked("DELETE FROM things WHERE name = 'new'")
            return found

        real = asyncio.run(really())

        async def handler() -> int:
            seen.note(await attempted(program, host="db.internal", user="app", database="shop"))
            return 200

        lab.database(database_url, seed=THINGS)
        lab.user(handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(survived=1, overlap=1)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == real


def place(url: str) -> dict[str, Any]:
    """Where the server is, in asyncpg's words."""
    to = conninfo_to_dict(url)
    names = {"host": "host", "port": "port", "user": "user", "dbname": "database", "password": "password"}  # fmt: skip
    found: dict[str, Any] = {names[name]: value for name, value in to.items() if name in names}
    return found | {"port": int(to["port"] or 5432)}


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


async def cursor(db):
    async with db.transaction():
        async for _ in db.cursor("SELECT * FROM things"):
            pass


async def copy(db):
    await db.copy_records_to_table("things", records=[("x",)], columns=["name"])


async def lock_more_than_is_read(db):
    async with db.transaction():
        await db.fetchrow("SELECT * FROM things ORDER BY id FOR UPDATE")


async def change_the_schema(db):
    await db.execute("CREATE TABLE more (id int)")


async def several_statements(db):
    await db.execute(
        "INSERT INTO things (name) VALUES ('x'); INSERT INTO things (name) VALUES ('y')"
    )


async def listen(db):
    await db.add_listener("news", print)


async def at_the_same_time(db):
    other = await asyncpg.connect("postgresql://db.internal/shop")
    await asyncio.gather(writing(db), writing(other))


REFUSED = {
    cursor: "named portal",
    copy: "COPY",
    lock_more_than_is_read: "say LIMIT",
    change_the_schema: "changes the schema",
    several_statements: "several statements",
    listen: "notifications",
    at_the_same_time: "concurrent tasks",
}


@pytest.mark.parametrize("program", REFUSED, ids=lambda one: one.__name__)
def test_what_the_lab_does_not_follow(lab: Lab, database_url: str, program: Program):
    """Also if the code hides every exception."""

    async def handler() -> int:
        db = await asyncpg.connect("postgresql://db.internal/shop")
        with suppress(BaseException):
            await program(db)
        return 200

    lab.database(database_url, seed=THINGS)
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED", str(verdict)
    assert REFUSED[program] in verdict.reason
