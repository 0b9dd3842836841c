from __future__ import annotations

import pytest

from troth.lab import faults
from troth.lab.faults import is_query, outcomes, takes_lock
from troth.lab.model import Op
from troth.lab.sqlite import Sqlite


def sql(text: str, handle: int = 1) -> Op:
    return Op("sql", "db", text, ("execute", ()), handle)


READ, WRITE, BEGIN = sql("SELECT 1"), sql("INSERT INTO t VALUES (1)"), sql("BEGIN")
COMMIT = Op("commit", "db", handle=1)


@pytest.mark.parametrize(
    ("op", "opened", "locks"),
    [
        (READ, (), True),
        (READ, (BEGIN,), True),
        (READ, (BEGIN, READ), False),
        (READ, (BEGIN, WRITE), False),
        (WRITE, (), True),
        (WRITE, (BEGIN, READ), True),
        (WRITE, (BEGIN, WRITE), False),
        (WRITE, (sql("INSERT INTO t VALUES (1)", handle=2),), True),
        (BEGIN, (), False),
        (sql("BEGIN IMMEDIATE"), (), True),
        (sql("SAVEPOINT a"), (), False),
        (sql("PRAGMA foreign_keys = ON"), (), False),
        (COMMIT, (BEGIN, READ), False),
        (COMMIT, (BEGIN, WRITE), True),
        (sql("COMMIT"), (BEGIN, WRITE), True),
        (Op("rollback", "db", handle=1), (BEGIN, WRITE), False),
        (Op("close", "db", handle=1), (), False),
    ],
)
def test_sqlite_can_be_busy_only_where_it_takes_a_lock(op, opened, locks):
    assert takes_lock(op, opened) == locks
    assert (faults.BUSY in Sqlite("db", None, "").outcomes(op, opened)) == locks


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("select 1", True),
        ("  SELECT * FROM t", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", True),
        ("WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x", False),
        ("update t set a = 1", False),
        ("INSERT INTO t VALUES (1) RETURNING id", False),
    ],
)
def test_what_only_reads(text, query):
    assert is_query(text) == query


def test_an_effect_is_ambiguous_and_a_read_is_not():
    effect = outcomes(Op("http", "stripe", "POST /v1/charges"), reads_only=False)
    read = outcomes(Op("http", "stripe", "GET /v1/charges"), reads_only=True)
    assert {(one.happens, one.told) for one in effect} == {
        (True, "answer"),
        (True, "error"),
        (False, "error"),
    }
    assert not any(one.happens and one.told == "error" for one in read)


def test_a_timeout_looks_the_same_whether_it_was_done_or_not():
    """Otherwise code could tell them apart, which is the one thing that it cannot do."""
    assert faults.TIMEOUT_DONE.observation == faults.TIMEOUT_NOT.observation
    assert faults.ERROR_DONE.observation == faults.ERROR_NOT.observation
    assert faults.MAIL_DONE.observation == faults.MAIL_NOT.observation


def test_every_fault_costs_one_and_has_a_word():
    for name, value in vars(faults).items():
        if isinstance(value, faults.Outcome) and value.survived:
            assert value.cost == (value is not faults.BLOCKED), name
            assert value.word, name
