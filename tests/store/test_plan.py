"""A plan is written once, and does the same on a coroutine's transaction and on a thread's."""

import pytest
from psycopg.errors import DivisionByZero

from troth.store.connect import connect_async, connect_blocking
from troth.store.plan import Plan, Statement, carry_out, carry_out_blocking


def add_up(first: int) -> Plan[int]:
    rows = yield Statement("SELECT %s::int + 1", (first,))
    nothing = yield Statement("SELECT set_config('troth.test', 'x', false)", returns=False)
    assert nothing == []
    rows += yield Statement("SELECT %(n)s::int * 2", {"n": rows[0][0]})
    return sum(row[0] for row in rows)


def divide(closed: list[str]) -> Plan[int]:
    try:
        rows = yield Statement("SELECT 1/0")
    finally:
        closed.append("closed")
    return len(rows)


def nothing_to_ask() -> Plan[str]:
    return "known"
    yield Statement("SELECT 1")  # what makes it a plan


async def test_a_plan_is_carried_out_on_both_kinds_of_transactions(database_url: str) -> None:
    async with await connect_async(database_url) as tx:
        assert await carry_out(tx, add_up(2)) == 9
        assert await carry_out(tx, nothing_to_ask()) == "known"
    with connect_blocking(database_url) as blocking:
        assert carry_out_blocking(blocking, add_up(2)) == 9
        assert carry_out_blocking(blocking, nothing_to_ask()) == "known"


async def test_an_error_of_the_database_ends_the_plan(database_url: str) -> None:
    closed: list[str] = []
    async with await connect_async(database_url) as tx:
        with pytest.raises(DivisionByZero):
            await carry_out(tx, divide(closed))
    with connect_blocking(database_url) as blocking, pytest.raises(DivisionByZero):
        carry_out_blocking(blocking, divide(closed))
    assert closed == ["closed", "closed"]
