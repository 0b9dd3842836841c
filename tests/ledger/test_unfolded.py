"""Legs that wait are one row for each call: folding takes calls whole, and what waited before the change waits after it."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.harness.cell import open_cell
from tests.ledger.conftest import Books, eur
from troth.ledger import Compound, Credit, Debit, Hold, PostHold, Transfer, transfer_id
from troth.store.migrate import migrate

LEGS = (
    "SELECT transfer, account, side::text, posted, pending, booked_at, effective_at"
    " FROM {}.ledger_queue ORDER BY transfer, side, account"
)


@pytest.fixture
async def hot(books: Books) -> Books:
    await books.open("a", "b", "c")
    await books.open("wallet", limit="minimum_balance", minimum=eur(-1000))
    return books


def everything(name: str) -> list[object]:
    """A call with legs of all kinds, of which one is of an account with a limit, and an item that is refused."""
    return [
        Transfer(f"{name}:1", "a", "b", eur(1)),
        Hold(f"{name}:2", "a", "c", eur(5)),
        Transfer(f"{name}:3", "wallet", "b", eur(9999)),
        Transfer(f"{name}:4", "wallet", "b", eur(3)),
        Compound(f"{name}:5", [Debit("c", eur(3)), Credit("a", eur(1)), Credit("b", eur(2))]),
        PostHold(f"{name}:6", f"{name}:2", eur(2)),
    ]


async def test_a_call_is_folded_whole(hot: Books) -> None:
    await hot.post(*(Transfer(f"x{n}", "a", "b", eur(1)) for n in range(3)))
    await hot.post(Transfer("y", "b", "a", eur(1)))
    assert await hot.count("unfolded") == 2
    assert await hot.ledger.fold(hot.tx, limit=1) == 6
    assert [each.key for each in await hot.ledger.statement(hot.tx, "b")] == ["x2", "x1", "x0"]
    assert await hot.ledger.fold(hot.tx, limit=1) == 2
    assert await hot.ledger.fold(hot.tx, limit=1) == 0
    await hot.audit()


async def test_a_row_has_the_legs_that_are_not_booked_at_once(hot: Books) -> None:
    outcomes = await hot.post(*everything("all"))
    assert outcomes == [
        "created", "created", "balance_below_minimum", "created", "created", "created"
    ]  # fmt: skip
    assert await hot.count("unfolded") == 1
    assert await hot.count("queue") == 2 + 2 + 1 + 3 + 2
    balances = await hot.ledger.balances(hot.tx, ["a", "b", "c", "wallet"])
    assert {code: each.unfolded for code, each in balances.items()} == {"a": 4, "b": 3, "c": 3, "wallet": 0}  # fmt: skip
    for code in ("a", "b", "c"):
        assert (await hot.balance(code)) == balances[code]
    await hot.audit(folded=True)
    assert await hot.ledger.balances(hot.tx, ["a"]) == {
        "a": await hot.balance("a"),
    }


async def test_what_says_nothing_else_is_booked_as_what_does(hot: Books) -> None:
    """Transfers with a UUID alone go a way of their own, large calls and small: they come to the same as those with a text."""
    dice = random.Random(7)
    said: dict[str, list[str]] = {"uuid": [], "text": []}
    for call in range(60):
        planned = [
            (dice.randrange(400), *dice.sample(["a", "b", "c"], 2), dice.randrange(1, 3))
            for _ in range(dice.choice([1, 2, 7, 8, 20]))
        ]
        one_each = {number: (number, *rest) for number, *rest in planned}.values()
        for way, found in said.items():
            items = [
                Transfer(
                    transfer_id(f"{way}{number}") if way == "uuid" else f"{way}{number}",
                    f"{debit}:{way}",
                    f"{credit}:{way}",
                    eur(amount),
                )
                for number, debit, credit, amount in one_each
            ]
            if call == 0:
                await hot.open(*(f"{code}:{way}" for code in "abc"))
            found.extend(await hot.post(*items))
    assert said["uuid"] == said["text"]
    assert {"created", "exists", "exists_with_different_amount"} <= set(said["uuid"])
    await hot.audit()
    books = {
        way: [
            (code, each.version, each.side, each.posted, each.debits_posted, each.credits_posted)
            for code in "abc"
            for each in await hot.ledger.statement(hot.tx, f"{code}:{way}", limit=1000)
        ]
        for way in said
    }
    assert books["uuid"] == books["text"]
    keys = await hot.rows("SELECT DISTINCT left(key, 4) FROM {}.ledger_transfer ORDER BY 1")
    assert keys == [("text",), (None,)]


async def test_many_balances_read_the_queue_as_one_does(hot: Books) -> None:
    """Of a few accounts, calls without them are passed over; of many, none is."""
    codes = [f"many:{n}" for n in range(12)]
    await hot.open(*codes)
    for n, code in enumerate(codes):
        await hot.post(Transfer(code, code, "a", eur(n + 1)))
    found = await hot.ledger.balances(hot.tx, codes)
    assert [found[code].debits_posted for code in codes] == list(range(1, 13))
    assert [await hot.balance(code) for code in codes] == list(found.values())


async def test_what_waited_before_the_change_waits_after_it(database_url: str) -> None:
    schema = "troth_unfolded"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
        connection.execute("DROP ROLE IF EXISTS troth_queue_reader")
        migrate(database_url, schema, to=20)
        connection.execute("CREATE ROLE troth_queue_reader")
        connection.execute(f"SELECT {schema}.ledger_grant('troth_queue_reader')")
        async with open_cell(database_url, schema) as cell:
            books = Books(cell, await cell.session())
            await books.open("a", "b", "c")
            await books.open("wallet", limit="minimum_balance", minimum=eur(-1000))
            for n in range(20):
                await books.post(*everything(f"old:{n}"))
            before = await books.rows(LEGS)
            assert len(before) == 200
            migrate(database_url, schema)
            assert await books.rows(LEGS) == before
            await books.post(Transfer("new", "a", "b", eur(1)))
            await books.tx.execute("SET ROLE troth_queue_reader")
            assert (await books.balance("b")).unfolded == 20 * 3 + 1
            await books.tx.execute("RESET ROLE")
            await books.audit(folded=True)
        connection.execute(f"DROP SCHEMA {schema} CASCADE")
        connection.execute("DROP ROLE troth_queue_reader")
