"""PostgreSQL behind psycopg 3: who waits is decided by the server, and what the driver returns is what it would return."""

from __future__ import annotations

import functools
from datetime import timedelta
from decimal import Decimal

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.lab.corpus.shop import API
from troth.lab import Lab
from troth.lab import postgres_rules as rules

HOUR = timedelta(hours=1)
SHOP = """
CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE NOT NULL, made timestamptz NOT NULL DEFAULT now());
CREATE TABLE payments (id bigserial PRIMARY KEY, user_id int {} NOT NULL REFERENCES users, charge text NOT NULL);
"""


def charge(key: str) -> str:
    answer = httpx.post(f"{API}/charges", headers={"Idempotency-Key": key})
    answer.raise_for_status()
    return str(answer.json()["id"])


def sign_up() -> int:
    with psycopg.connect("postgresql://app@db.internal/shop") as db:
        db.execute(
            "INSERT INTO users (email) VALUES (%s) ON CONFLICT DO NOTHING", ("ada@example.com",)
        )
        db.commit()
        (user,) = db.execute(
            "SELECT id FROM users WHERE email = %s", ("ada@example.com",)
        ).fetchone()
        if db.execute("SELECT 1 FROM payments WHERE user_id = %s", (user,)).fetchone() is None:
            charged = charge(f"user-{user}")
            db.execute("INSERT INTO payments (user_id, charge) VALUES (%s, %s)", (user, charged))
    return 200


def shop(lab: Lab, url: str, unique: str) -> None:
    lab.database(url, seed=SHOP.format(unique))
    lab.stripe()
    lab.user(sign_up, within=HOUR)
    lab.always("charged once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    lab.always("recorded once", lambda w: len(w.db.payments) <= 1, costs="wrong books")
    lab.told(200, "paid", lambda w: w.db.payments)


def test_keys_without_a_constraint_record_twice(lab: Lab, database_url):
    shop(lab, database_url, "")
    verdict = lab.explore()
    assert verdict.word == "VIOLATED", str(verdict)
    (example,) = verdict.counterexamples
    assert example.promise.name == "recorded once"
    assert example.faults == ("impatient caller",)


@pytest.mark.slow
def test_keys_with_a_constraint_close(lab: Lab, database_url):
    shop(lab, database_url, "UNIQUE")
    verdict = lab.explore(budget=100)
    assert verdict.closed, str(verdict)


async def sign_up_in_one_transaction() -> int:
    async with (
        await psycopg.AsyncConnection.connect("dbname=shop host=db.internal") as db,
        db.transaction(),
    ):
        cursor = await db.execute(
            "INSERT INTO users (email) VALUES (%s) ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id",
            ("ada@example.com",),
        )
        (user,) = await cursor.fetchone()
        found = await db.execute("SELECT 1 FROM payments WHERE user_id = %s", (user,))
        if await found.fetchone() is None:
            await db.execute("INSERT INTO payments (user_id, charge) VALUES (%s, 'cash')", (user,))
    return 200


def test_the_row_of_the_user_is_the_lock(lab: Lab, database_url):
    """The upsert locks the row, so the second attempt waits for the first one's COMMIT before it looks."""
    lab.database(database_url, seed=SHOP.format(""))
    lab.user(sign_up_in_one_transaction)
    lab.always("recorded once", lambda w: len(w.db.payments) <= 1, costs="wrong books")
    lab.told(200, "paid", lambda w: w.db.payments)
    verdict = lab.explore()
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples


ACCOUNT = "CREATE TABLE account (id int PRIMARY KEY, credit int, spent int); INSERT INTO account VALUES (1, 100, 0), (2, 100, 0)"


def spend(before: str, reading: str) -> int:
    with psycopg.connect("") as db:
        if before:
            db.execute(before)
        (credit,) = db.execute(reading).fetchone()
        if credit < 60:
            return 409
        db.execute(
            "UPDATE account SET credit = %s, spent = spent + 60 WHERE id = 1", (credit - 60,)
        )
    return 200


@pytest.mark.parametrize(
    ("before", "lock", "word"),
    [
        ("", "", "VIOLATED"),
        ("", " FOR UPDATE", "BOUNDED"),
        ("SELECT pg_advisory_xact_lock(7)", "", "BOUNDED"),
        ("SELECT pg_advisory_lock(7)", "", "BOUNDED"),
    ],
    ids=["no lock", "row lock", "advisory lock", "advisory lock of the session"],
)
def test_a_lost_update_needs_that_nobody_waits(lab: Lab, database_url, before, lock, word):
    lab.database(database_url, seed=ACCOUNT)
    reading = f"SELECT credit FROM account WHERE id = 1{lock}"
    for _ in range(2):
        lab.user(functools.partial(spend, before, reading), again=lambda answer: False)
    lab.always(
        "no more is spent than there was", lambda w: w.db.account[0].spent <= 100, costs="60"
    )
    verdict = lab.explore(survived=0)
    assert verdict.word == word, str(verdict)
    assert verdict.closed or word == "VIOLATED"


def hold_beyond_the_transaction() -> int:
    with psycopg.connect("") as db:
        db.execute("SELECT pg_advisory_lock(7)")
        db.commit()
        (credit,) = db.execute("SELECT credit FROM account WHERE id = 1").fetchone()
        db.commit()
        if credit >= 60:
            db.execute(
                "UPDATE account SET credit = %s, spent = spent + 60 WHERE id = 1", (credit - 60,)
            )
    return 200


def test_a_lock_of_the_session_outlives_a_commit(lab: Lab, database_url):
    lab.database(database_url, seed=ACCOUNT)
    for _ in range(2):
        lab.user(hold_beyond_the_transaction, again=lambda answer: False)
    lab.always(
        "no more is spent than there was", lambda w: w.db.account[0].spent <= 100, costs="60"
    )
    verdict = lab.explore(survived=0)
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples


def move(first: int, second: int) -> int:
    with psycopg.connect("") as db:
        for number in (first, second):
            db.execute("UPDATE account SET spent = spent + 1 WHERE id = %s", (number,))
    return 200


def test_a_deadlock_ends_with_an_error_for_one(lab: Lab, database_url):
    lab.database(database_url, seed=ACCOUNT)
    heard = []

    def again(answer):
        heard.append(answer)
        return False

    lab.user(functools.partial(move, 1, 2), again=again)
    lab.user(functools.partial(move, 2, 1), again=again)
    lab.at_rest("both or neither", lambda w: w.db.account[0].spent == w.db.account[1].spent)
    verdict = lab.explore(survived=1)
    assert verdict.closed, str(verdict)
    assert any(answer and answer.body == b"DeadlockDetected" for answer in heard)


# ── the driver returns what it would return ──────────────────────────────────────────────────────

THINGS = """
CREATE TABLE things (id serial PRIMARY KEY, name text UNIQUE, price numeric(8, 2), tags text[], data jsonb, day date, CHECK (price > 0));
INSERT INTO things (name, price, tags, data, day) VALUES ('one', 1.50, '{a,b}', '{"n": 1}', '2024-02-29'), ('two', 2, NULL, NULL, NULL);
"""


def rows_in_every_way(db):
    cursor = db.execute("SELECT id, name, price, tags, data, day FROM things ORDER BY id")
    names = [(column.name, column.type_code) for column in cursor.description]
    return [
        names,
        cursor.fetchone(),
        cursor.fetchmany(5),
        cursor.fetchall(),
        cursor.rowcount,
        cursor.statusmessage,
    ]


def named_rows(db):
    with db.cursor(row_factory=dict_row) as cursor:
        return [row["name"] for row in cursor.execute("SELECT * FROM things ORDER BY name")]


def parameters(db):
    return db.execute(
        "SELECT %s::int + 1, %s::numeric, %s::text[], %s::bool",
        (41, Decimal("1.25"), ["x", None], True),
    ).fetchone()


def errors(db):
    found = []
    for statement in (
        "INSERT INTO things (name, price) VALUES ('one', 1)",
        "INSERT INTO things (name, price) VALUES ('cheap', 0)",
        "SELECT * FROM nothing",
        "SELEC",
    ):
        try:
            with db.transaction():
                db.execute(statement)
        except psycopg.Error as error:
            found.append(
                [
                    type(error).__name__,
                    error.sqlstate,
                    error.diag.constraint_name,
                    str(error).splitlines()[0],
                ]
            )
    return found


def failed_transaction(db):
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("INSERT INTO things (name) VALUES ('one')")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        db.execute("SELECT 1")
    status = db.info.transaction_status.name
    db.rollback()
    return [
        status,
        db.info.transaction_status.name,
        db.execute("SELECT count(*) FROM things").fetchone(),
    ]


def savepoints(db):
    with db.transaction():
        db.execute("INSERT INTO things (name) VALUES ('kept')")
        with db.transaction():
            db.execute("INSERT INTO things (name) VALUES ('dropped')")
            raise psycopg.Rollback
    return db.execute("SELECT name FROM things ORDER BY id").fetchall()


def many(db):
    with db.cursor() as cursor:
        cursor.executemany("INSERT INTO things (name) VALUES (%s)", [("x",), ("y",)])
        found = [cursor.rowcount]
        cursor.execute("INSERT INTO things (name) VALUES ('z') RETURNING id")
        return [*found, cursor.fetchone(), cursor.rowcount]


def autocommit(db):
    db.rollback()
    db.autocommit = True
    db.execute("INSERT INTO things (name) VALUES ('soon')")
    with psycopg.connect(db.info.dsn if not hasattr(db.pgconn, "attempt") else "") as other:
        return other.execute("SELECT count(*) FROM things").fetchone()


PROGRAMS = [
    rows_in_every_way,
    named_rows,
    parameters,
    errors,
    failed_transaction,
    savepoints,
    many,
    autocommit,
]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_returns_the_same(lab: Lab, database_url, schema, program):
    answers = []

    def handler():
        with psycopg.connect("") as db:
            answers.append(program(db))
        return 200

    with psycopg.connect(database_url, options=f"-c search_path={schema}") as db:
        db.execute(f"CREATE SCHEMA {schema}")
        db.execute(THINGS)
        db.commit()
        expected = (3,) if program is autocommit else program(db)
    lab.database(database_url, seed=THINGS)
    lab.user(handler, again=lambda answer: False)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0, overlap=1)
    assert verdict.word == "BOUNDED", str(verdict)
    assert answers[0] == expected


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("SELECT gen_random_uuid()", "randomness"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("LISTEN news", "notifications"),
        ("CREATE TABLE more (id int)", "changes the schema"),
        ("SELECT pg_backend_pid()", "repeats"),
    ],
)
def test_what_the_lab_does_not_follow(lab: Lab, database_url, statement, reason):
    def handler():
        with psycopg.connect("") as db:
            db.execute(statement)
        return 200

    lab.database(database_url, seed=ACCOUNT)
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED", str(verdict)
    assert reason in verdict.reason


def test_an_old_snapshot_beside_a_commit(lab: Lab, database_url):
    """REPEATABLE READ sees the world as it was; that cannot be made again from the world as it is."""

    def handler():
        with psycopg.connect("") as db:
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            db.execute("SELECT credit FROM account WHERE id = 1")
            db.execute("UPDATE account SET spent = spent + 1 WHERE id = 2")
        return 200

    lab.database(database_url, seed=ACCOUNT)
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED", str(verdict)
    assert "older snapshot" in verdict.reason


def test_code_that_never_succeeds_proves_nothing(lab: Lab, database_url):
    def handler():
        with psycopg.connect("") as db:
            db.execute("SELECT nothing FROM account")
        return 200

    lab.database(database_url, seed=ACCOUNT)
    lab.user(handler)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "REFUSED"
    assert "no attempt ever succeeds" in verdict.reason
    assert "UndefinedColumn" in verdict.reason


@pytest.mark.parametrize(
    ("text", "plain", "lasting", "drawing"),
    [
        ("SELECT * FROM t WHERE a = 'for update'", True, False, False),
        ("SELECT * FROM t FOR UPDATE", False, False, False),
        ("SELECT count(*), max(id) FROM t", True, False, False),
        ("SELECT charge_card(1)", False, False, False),
        ("SELECT pg_advisory_lock(1)", False, True, False),
        ("SELECT pg_advisory_xact_lock(1)", False, False, False),
        ("SET TIME ZONE 'UTC'", False, True, False),
        ("SET LOCAL lock_timeout = 1", False, False, False),
        ("UPDATE t SET a = 1", False, False, False),
        ("INSERT INTO t VALUES (1)", False, False, True),
        ("WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x", False, False, False),
    ],
)
def test_what_a_statement_leaves_behind(text, plain, lasting, drawing):
    assert rules.is_plain_read(text) == plain
    assert rules.ends_session_state(text) == lasting
    assert rules.draws(text) == drawing


def test_the_clock_is_the_labs():
    assert rules.with_labs_clock("SELECT now(), 'now()', CURRENT_TIMESTAMP") == (
        "SELECT troth_lab.now(), 'now()', troth_lab.now()"
    )
