"""The lab's connections behave like the real ones: each program runs on a real file and in the lab, and returns the same."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from troth.lab import Lab

SCHEMA = """
CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, n REAL DEFAULT 1.5, blob BLOB);
CREATE TABLE child (t INTEGER REFERENCES t(id), note TEXT);
INSERT INTO t (name) VALUES ('one'), ('two'), ('three');
"""


def rows_in_every_way(db):
    cursor = db.execute("SELECT id, name FROM t ORDER BY id")
    return [
        cursor.fetchone(),
        cursor.fetchmany(1),
        cursor.fetchall(),
        cursor.fetchone(),
        list(db.execute("SELECT name FROM t ORDER BY name")),
        [column[0] for column in cursor.description],
    ]


def named_rows(db):
    db.row_factory = sqlite3.Row
    row = db.execute("SELECT id, name AS called FROM t WHERE id = 2").fetchone()
    return [
        row["called"],
        row["ID"],
        row.keys(),
        tuple(row),
        dict(row),
        isinstance(row, sqlite3.Row),
    ]


def own_row_factory(db):
    db.row_factory = lambda cursor, row: {
        c[0]: v for c, v in zip(cursor.description, row, strict=True)
    }
    return db.execute("SELECT id, name FROM t WHERE id = ?", (1,)).fetchall()


def parameters(db):
    db.execute(
        "INSERT INTO t (id, name, n, blob) VALUES (:id, :name, :n, :blob)",
        {"id": 9, "name": "x", "n": 2, "blob": b"\x00\xff"},
    )
    return [
        db.execute("SELECT id, name, n, blob FROM t WHERE id = ?", [9]).fetchone(),
        db.execute("SELECT ?, ?", (True, None)).fetchone(),
    ]


def counts_and_ids(db):
    cursor = db.execute("INSERT INTO t (name) VALUES ('four')")
    found = [cursor.lastrowid, cursor.rowcount]
    cursor = db.execute("UPDATE t SET n = 0 WHERE id > 1")
    found += [cursor.rowcount, db.in_transaction]
    db.commit()
    found += [db.in_transaction, db.execute("SELECT count(*) FROM t WHERE n = 0").fetchone()[0]]
    cursor = db.cursor()
    cursor.executemany("INSERT INTO child VALUES (?, ?)", [(1, "a"), (2, "b")])
    return [*found, cursor.rowcount]


def errors(db):
    found = []
    for statement in (
        "INSERT INTO t (name) VALUES ('one')",
        "SELECT * FROM nothing",
        "SELEC",
        "INSERT INTO t (id) VALUES ('text')",
    ):
        try:
            db.execute(statement)
        except sqlite3.Error as error:
            found.append(
                [type(error).__name__, str(error), error.sqlite_errorname, db.in_transaction]
            )
    return found


def rolls_back(db):
    db.execute("DELETE FROM t")
    inside = db.execute("SELECT count(*) FROM t").fetchone()[0]
    db.rollback()
    return [inside, db.execute("SELECT count(*) FROM t").fetchone()[0]]


def context_manager_commits(db):
    with db:
        db.execute("DELETE FROM t WHERE id = 1")
    other = sqlite3.connect("conformance.db")
    found = [db.in_transaction, other.execute("SELECT count(*) FROM t").fetchone()[0]]
    other.close()
    return found


def context_manager_rolls_back(db):
    with contextlib.suppress(ZeroDivisionError), db:
        db.execute("DELETE FROM t")
        raise ZeroDivisionError
    return [db.in_transaction, db.execute("SELECT count(*) FROM t").fetchone()[0]]


def closing_forgets_what_was_open(db):
    db.execute("DELETE FROM t")
    db.close()
    with pytest.raises(sqlite3.ProgrammingError):
        db.execute("SELECT 1")
    again = sqlite3.connect("conformance.db")
    found = again.execute("SELECT count(*) FROM t").fetchone()[0]
    again.close()
    return found


def autocommit(db):
    db.isolation_level = None
    db.execute("DELETE FROM t WHERE id = 1")
    found = [db.in_transaction, db.isolation_level]
    db.execute("BEGIN")
    db.execute("DELETE FROM t")
    found.append(db.in_transaction)
    db.execute("ROLLBACK")
    return [*found, db.in_transaction, db.execute("SELECT count(*) FROM t").fetchone()[0]]


def savepoints(db):
    db.execute("INSERT INTO child VALUES (1, 'kept')")
    db.execute("SAVEPOINT here")
    db.execute("INSERT INTO child VALUES (1, 'dropped')")
    db.execute("ROLLBACK TO here")
    db.execute("RELEASE here")
    db.commit()
    return db.execute("SELECT note FROM child").fetchall()


def foreign_keys_of_the_connection(db):
    db.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO child VALUES (77, 'orphan')")
    return db.execute("PRAGMA foreign_keys").fetchone()


def a_second_connection_waits_in_vain(db):
    db.execute("INSERT INTO t (name) VALUES ('mine')")
    other = sqlite3.connect("conformance.db", timeout=0)
    try:
        other.execute("INSERT INTO t (name) VALUES ('theirs')")
    except sqlite3.OperationalError as error:
        return str(error)
    finally:
        other.close()
        db.rollback()


def returning(db):
    found = db.execute("INSERT INTO t (name) VALUES ('new') RETURNING id, name").fetchall()
    db.commit()
    return found


def dates_are_adapted(db):
    return db.execute("SELECT ?", (Price(7),)).fetchone()


class Price:
    def __init__(self, cents):
        self.cents = cents

    def __conform__(self, protocol):
        return self.cents if protocol is sqlite3.PrepareProtocol else None


PROGRAMS = [
    rows_in_every_way, named_rows, own_row_factory, parameters, counts_and_ids, errors, rolls_back, context_manager_commits,
    context_manager_rolls_back, closing_forgets_what_was_open, autocommit, savepoints, foreign_keys_of_the_connection,
    a_second_connection_waits_in_vain, returning, dates_are_adapted,
]  # fmt: skip


def plain(value):
    return msgspec.json.decode(msgspec.json.encode(value))


@pytest.fixture
def real(tmp_path, monkeypatch):
    """What the program returns on a real file."""

    def run(program):
        monkeypatch.chdir(tmp_path)
        db = sqlite3.connect("conformance.db", timeout=0)
        db.executescript(SCHEMA)
        result = plain(program(db))
        db.close()
        Path("conformance.db").unlink()
        return result

    return run


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_a_program_returns_the_same(lab: Lab, real, program):
    expected = real(program)
    answers = []

    def handler():
        db = sqlite3.connect("conformance.db", timeout=0)
        result = plain(program(db))
        db.close()
        return 200, result

    def first_answer(answer):
        answers.append(answer)
        return False

    lab.database("conformance.db", seed=SCHEMA)
    lab.user(handler, again=first_answer)
    lab.always("nothing", lambda w: True)
    verdict = lab.explore(survived=0)
    assert verdict.word == "BOUNDED", str(verdict)
    assert next(one.json() for one in answers if one is not None) == expected


def test_a_world_keeps_its_row_ids(lab: Lab):
    """Rows that were deleted leave gaps, and a restored world has the same gaps."""

    def handler():
        db = sqlite3.connect("ids.db")
        if not db.execute("SELECT 1 FROM t WHERE name = 'z'").fetchone():
            db.execute("DELETE FROM t WHERE id = 2")
            db.commit()
            db.execute("INSERT INTO t (name) VALUES ('z')")
            db.commit()
        return 200

    lab.database(
        "ids.db",
        seed="CREATE TABLE t (id INTEGER PRIMARY KEY, name); INSERT INTO t VALUES (2, 'b'), (7, 'a')",
    )
    lab.user(handler)
    lab.at_rest(
        "the next id follows the largest",
        lambda w: [(r.id, r.name) for r in w.db.t] == [(7, "a"), (8, "z")],
    )
    verdict = lab.explore(overlap=1)
    assert verdict.closed, str(verdict)


def test_the_databases_clock_is_the_labs(lab: Lab):
    def handler():
        db = sqlite3.connect("clock.db")
        db.execute("INSERT INTO t (name) VALUES ('x')")
        db.execute("INSERT INTO t (name, at) VALUES ('y', datetime('now'))")
        db.execute("INSERT INTO t (name, at) VALUES ('z', strftime('%Y-%m-%d %H:%M:%S', 'now'))")
        db.commit()
        return 200

    lab.database("clock.db", seed="CREATE TABLE t (name, at TEXT DEFAULT CURRENT_TIMESTAMP)")
    lab.user(handler, again=lambda answer: False)
    lab.at_rest("one moment", lambda w: len({row.at for row in w.db.t}) <= 1)
    lab.always(
        "not today's",
        lambda w: all(not row.at.startswith(str(datetime.now(UTC).year)) for row in w.db.t),
    )
    verdict = lab.explore(survived=0)
    assert verdict.closed, str(verdict)
