"""psycopg2 under the lab: what the driver returns and raises is what it returns and raises at a real server."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import psycopg
import psycopg2
import pytest
from psycopg2.extras import RealDictCursor, execute_values
from sqlalchemy import create_engine, text

from tests.lab.cut import Cut, Where
from tests.lab.seen import Seen
from tests.lab.test_asyncpg_edge import THINGS, place
from troth.lab import Lab
from troth.lab.show.compose import compose
from troth.lab.show.document import encode
from troth.lab.show.page import page

Program = Callable[[Any], object]


def rows_in_every_way(db):
    with db.cursor() as cursor:
        cursor.execute("SELECT * FROM things ORDER BY id")
        found = [
            [one[0] for one in cursor.description],
            cursor.rowcount,
            cursor.fetchone(),
            cursor.fetchall(),
        ]
    with db.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute("SELECT name, data FROM things WHERE id > %(id)s ORDER BY id", {"id": 0})
        return [*found, [dict(one) for one in cursor], cursor.statusmessage]


def parameters(db):
    with db.cursor() as cursor:
        cursor.execute(
            "SELECT %s + 1, %s, %s, %s, %s", (41, Decimal("1.25"), ["x", None], True, "it's \\ %")
        )
        return cursor.fetchone()


def changes(db):
    with db.cursor() as cursor:
        cursor.execute("UPDATE things SET price = 2")
        found = [cursor.rowcount, cursor.statusmessage]
        execute_values(
            cursor, "INSERT INTO things (name) VALUES %s RETURNING name", [("a",), ("b",)]
        )
        found.append(cursor.fetchall())
        db.rollback()
        cursor.executemany("INSERT INTO things (name) VALUES (%s)", [("c",), ("d",)])
        db.commit()
        cursor.execute("SELECT name FROM things ORDER BY name")
        return [*found, cursor.fetchall(), db.get_transaction_status()]


def errors(db):
    found = []
    for statement in (
        "INSERT INTO things (name, price) VALUES ('one', 1)",
        "INSERT INTO things (name, price) VALUES ('cheap', 0)",
        "SELECT * FROM nothing",
        "SELEC",
    ):
        try:
            with db, db.cursor() as cursor:
                cursor.execute(statement)
        except psycopg2.Error as error:
            found.append(
                [
                    type(error).__name__,
                    error.pgcode,
                    error.diag.constraint_name,
                    str(error).splitlines()[0],
                ]
            )
    return found


def failed_transaction(db):
    with db.cursor() as cursor:
        with pytest.raises(psycopg2.errors.UniqueViolation):
            cursor.execute("INSERT INTO things (name) VALUES ('one')")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            cursor.execute("SELECT 1")
        status = db.get_transaction_status()
        db.rollback()
        cursor.execute("SELECT count(*) FROM things")
        return [status, cursor.fetchone()]


def autocommit(db):
    db.autocommit = True
    with db.cursor() as cursor:
        cursor.execute("INSERT INTO things (name) VALUES ('soon')")
        found = [db.get_transaction_status()]
        with suppress(psycopg2.Error):
            cursor.execute("INSERT INTO things (name) VALUES ('soon')")
        return [*found, db.get_transaction_status(), db.closed]


PROGRAMS = [rows_in_every_way, parameters, changes, errors, failed_transaction, autocommit]


def where(url: str, **more: Any) -> dict[str, Any]:
    to = place(url)
    to["dbname"] = to.pop("database")
    return to | more


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_returns_the_same(lab: Lab, database_url: str, schema: str, program: Program):
    db = psycopg2.connect(**where(database_url, options=f"-c search_path={schema}"))
    with db.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {schema}; {THINGS}")
    db.commit()
    expected = repr(program(db))
    db.close()
    with Seen() as seen:

        def handler() -> int:
            db = psycopg2.connect("host=db.internal dbname=shop")
            seen.note(repr(program(db)))
            db.close()
            return 200

        lab.database(database_url, seed=THINGS)
        lab.user(handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(survived=0, overlap=1)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == {expected}


# ── faults ───────────────────────────────────────────────────────────────────────────────────────


def reading(db):
    db.autocommit = True
    db.cursor().execute("SELECT * FROM things")


def writing(db):
    db.autocommit = True
    db.cursor().execute("INSERT INTO things (name) VALUES ('new')")


def committing(db):
    with db, db.cursor() as cursor:
        cursor.execute("INSERT INTO things (name) VALUES ('new')")


MESSAGES = {reading: 1, writing: 1, committing: 3}


def attempted(program: Program, **to: Any) -> str:
    db = error = None
    try:
        db = psycopg2.connect(**to)
        program(db)
    except psycopg2.Error as raised:
        error = raised
    found = f"{'fine' if error is None else type(error).__name__}, closed: {db is not None and db.closed}"
    if db is not None:
        db.close()
    return found


@pytest.mark.parametrize("program", MESSAGES, ids=lambda one: one.__name__)
def test_a_fault_is_raised_as_it_is_raised_for_real(
    lab: Lab, database_url: str, schema: str, program: Program
):
    to = place(database_url)
    socket = f"{to['host']}/.s.PGSQL.{to['port']}"
    with Cut(socket if socket.startswith("/") else (to["host"], to["port"])) as cut, Seen() as seen:
        there = where(
            database_url, host="127.0.0.1", port=cut.port, sslmode="disable", gssencmode="disable",
            options=f"-c search_path={schema}",
        )  # fmt: skip

        def cutting(number: int, side: Where) -> Program:
            def cut_there(db: Any) -> None:
                cut.arm(side, passing=number)
                program(db)

            return cut_there

        def asked(statements: str) -> None:
            db = psycopg2.connect(**there)
            db.cursor().execute(statements)
            db.commit()
            db.close()

        asked(f"CREATE SCHEMA {schema}; {THINGS}")
        real = {attempted(program, **there), attempted(program, **there | {"port": 1})}
        for number in range(MESSAGES[program]):
            for side in ("before", "after"):
                asked("DELETE FROM things WHERE name = 'new'")
                real.add(attempted(cutting(number, side), **there))

        def handler() -> int:
            seen.note(attempted(program, host="db.internal", dbname="shop"))
            return 200

        lab.database(database_url, seed=THINGS)
        lab.user(handler, again=lambda answer: False)
        lab.always("nothing", lambda w: True)
        verdict = lab.explore(survived=1, overlap=1)
        assert verdict.closed, str(verdict)
        assert set(seen.lines()) == real


engine = create_engine("postgresql+psycopg2://db.internal/shop")


@pytest.mark.parametrize(("lock", "word"), [(" FOR UPDATE", "HOLDS"), ("", "VIOLATED")])
def test_the_orm_above_it_and_real_processes(database_url: str, lock: str, word: str):
    def add() -> int:
        with engine.begin() as db:
            price = db.execute(
                text(f"SELECT price FROM things WHERE name = 'one'{lock}")
            ).scalar_one()
            db.execute(
                text("UPDATE things SET price = :more WHERE name = 'one'"), {"more": price + 1}
            )
            db.execute(text("INSERT INTO log DEFAULT VALUES"))
        return 200

    lab = Lab("psycopg2", closer=0)
    lab.database(database_url, seed=f"{THINGS}; CREATE TABLE log (id serial PRIMARY KEY)")
    for _ in range(2):
        lab.user(add, again=lambda answer: False)
    lab.always("no sum is lost", lambda w: float(w.db.things[0].price) == 1.5 + len(w.db.log))
    verdict = lab.explore(survived=0)
    assert verdict.word == word, str(verdict)
    for example in verdict.counterexamples:
        assert {line.site.split()[1] for line in example.lines if line.site} == {"add"}


# ── in reports ──────────────────────────────────────────────────────────────────────────────────

ACCOUNTS = "CREATE TABLE accounts (email text, token text, iban text)"


@pytest.mark.parametrize("driver", [psycopg2, psycopg], ids=["psycopg2", "psycopg"])
def test_secrets_are_in_no_report(database_url: str, driver: Any):
    """Whether the driver sends parameters beside the statement or writes them into it."""

    def register() -> int:
        db = driver.connect("host=db.internal dbname=shop")
        db.cursor().execute(
            "INSERT INTO accounts (email, token, iban) VALUES (%s, %s, %s)",
            ("ada@a.b", "hunter2", "DE00 secretive"),
        )
        db.commit()
        db.close()
        return 200

    lab = Lab("secrets", closer=1)
    lab.database(database_url, seed=ACCOUNTS)
    lab.user(register)
    lab.redact("iban")
    lab.always("one account", lambda w: len(w.db.accounts) <= 1, costs="trust")
    verdict = lab.explore()
    assert verdict.word == "VIOLATED", str(verdict)
    document = compose(verdict)
    kept = msgspec.json.encode([one.schedule for one in verdict.counterexamples]).decode()
    shown = [str(verdict), encode(document).decode(), page(document), kept]
    assert "ada@a.b" in shown[0]
    for one in shown:
        assert "hunter2" not in one
        assert "secretive" not in one


# ── refused ──────────────────────────────────────────────────────────────────────────────────────


def named_cursor(db):
    with db.cursor("mine") as cursor:
        cursor.execute("SELECT * FROM things")


def copy(db):
    with db.cursor() as cursor:
        cursor.copy_expert("COPY things TO STDOUT", sys.stderr)


def asynchronous(db):
    psycopg2.connect("host=db.internal", async_=True)


@pytest.mark.parametrize(
    ("program", "reason"), [(named_cursor, "cursors"), (copy, "not explored"), (asynchronous, "async")]
)  # fmt: skip
def test_what_the_lab_does_not_follow(lab: Lab, database_url: str, program: Program, reason: str):
    """Also if the code hides every exception."""

    def handler() -> int:
        db = psycopg2.connect("host=db.internal dbname=shop")
        with suppress(BaseException):
            program(db)
        return 200

    lab.database(database_url, seed=THINGS)
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED", str(verdict)
    assert reason in verdict.reason
