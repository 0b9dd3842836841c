"""A clearing account that does not return to zero in time becomes visible by itself: whose it is, and in which flow."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from tests.harness.cell import until
from tests.ledger.conftest import Books, eur
from troth import UsageError
from troth.cli import main
from troth.ledger import Transfer
from troth.ledger import clearing as module
from troth.ledger.clearing import Clearing
from troth.store.isolation import transaction_async
from troth.view import ledger as view
from troth.view.paging import Page
from troth.worker.relays import Relays

DAY = timedelta(days=1)


def payouts(books: Books, **terms) -> Clearing:
    made = Clearing("payouts", **({"under": "clearing", "within": DAY} | terms))
    made.bind(books.cell.schema)
    return made


async def look(books: Books, clearing: Clearing) -> int:
    async with transaction_async(books.tx, "read committed"):
        return await clearing.look(books.tx)


async def overdue(books: Books, **page) -> Page[view.OverdueLine]:
    async with transaction_async(books.tx, "repeatable read"):
        return await view.overdue(books.tx, books.cell.schema, **page)


async def days_ago(books: Books, days: int) -> None:
    """All that was booked up to now, was booked so many days ago: the clock cannot be set, so the books are."""
    await books.tx.execute("SET session_replication_role = replica")
    for table in ("entry", "unfolded"):
        await books.tx.execute(
            f"UPDATE {books.cell.schema}.ledger_{table} SET booked_at = booked_at - make_interval(days => %s)",
            (days,),
        )
    await books.tx.execute("RESET session_replication_role")


@pytest.fixture
async def flow(books: Books) -> Books:
    await books.open("clearing:ann", "clearing:bob", "clearing", side="debit")
    await books.open("clearing:eve", side="debit", tenant="evelyn")
    await books.open("clearinghouse", "sales", "bank")
    return books


async def test_what_is_on_its_way_is_overdue_only_after_its_time(flow: Books) -> None:
    clearing = payouts(flow)
    await flow.post(Transfer("charge", "clearing:ann", "sales", eur(500)))
    assert await look(flow, clearing) == 0
    await days_ago(flow, 2)
    assert await look(flow, clearing) == 1
    (line,) = (await overdue(flow)).rows
    assert (line.flow, line.customer, line.account, line.left) == (
        "payouts", "ann", "clearing:ann", "5.00 EUR",
    )  # fmt: skip
    assert line.due_at == line.since + DAY
    assert 86_000 < line.late_s < 87_000


@pytest.mark.parametrize("folded", [True, False])
async def test_what_has_returned_to_zero_is_forgotten(flow: Books, folded: bool) -> None:
    clearing = payouts(flow)
    await flow.post(Transfer("charge", "clearing:ann", "sales", eur(500)))
    if folded:
        await flow.fold()
    await days_ago(flow, 2)
    assert await look(flow, clearing) == 1
    await flow.post(Transfer("payout", "bank", "clearing:ann", eur(500)))
    assert await look(flow, clearing) == 0
    assert (await overdue(flow)).rows == ()


async def test_its_time_begins_when_it_left_zero_for_the_last_time(flow: Books) -> None:
    clearing = payouts(flow)
    await flow.post(
        Transfer("charge:1", "clearing:ann", "sales", eur(500)),
        Transfer("payout:1", "bank", "clearing:ann", eur(500)),
    )
    await flow.fold()
    await days_ago(flow, 9)
    await flow.post(Transfer("charge:2", "clearing:ann", "sales", eur(500)))
    await flow.fold()
    await flow.post(Transfer("payout:2", "bank", "clearing:ann", eur(499)))
    assert await look(flow, clearing) == 0
    await flow.fold()
    await days_ago(flow, 2)
    assert await look(flow, clearing) == 1
    (line,) = (await overdue(flow)).rows
    assert line.left == "0.01 EUR"
    assert 86_000 < line.late_s < 87_000


async def test_each_customer_is_seen_and_neighbours_in_the_tree_are_not(flow: Books) -> None:
    clearing = payouts(flow)
    await flow.post(
        Transfer("1", "clearing:ann", "sales", eur(1)),
        Transfer("2", "sales", "clearing:bob", eur(2)),
        Transfer("3", "clearing:eve", "sales", eur(3)),
        Transfer("4", "clearing", "sales", eur(4)),
        Transfer("5", "clearinghouse", "sales", eur(5)),
    )
    await days_ago(flow, 2)
    assert await look(flow, clearing) == 4
    found = {(each.customer, each.left) for each in (await overdue(flow)).rows}
    assert found == {
        ("ann", "0.01 EUR"), ("bob", "-0.02 EUR"), ("evelyn", "0.03 EUR"), ("clearing", "0.04 EUR"),
    }  # fmt: skip
    named = {each.account: each.left for each in await clearing.overdue(flow.tx)}
    assert named["clearing:bob"] == eur(-2)
    first = await overdue(flow, limit=3)
    rest = await overdue(flow, limit=3, after=first.next)
    assert len({each.account for each in first.rows + rest.rows}) == 4


async def test_a_flow_may_be_those_whose_metadata_has_some_words(flow: Books) -> None:
    for code, metadata in (
        ("customers:ann:cards", {"clearing": "cards", "customer": "ann", "since": 2020}),
        ("customers:ann:wallet", {"customer": "ann"}),
        ("customers:bob:cards", {"clearing": "bank"}),
        ("customers:eve:cards", None),
    ):
        await flow.open(code, side="debit", metadata=metadata)
        await flow.post(Transfer(code, code, "sales", eur(7)))
    await days_ago(flow, 2)
    clearing = payouts(flow, under="customers", metadata={"clearing": "cards"})
    assert await look(flow, clearing) == 1
    (found,) = await clearing.overdue(flow.tx)
    assert (found.account, found.customer, found.left) == ("customers:ann:cards", "ann", eur(7))


async def test_what_is_new_is_told_once(flow: Books) -> None:
    clearing = payouts(flow)

    async def told() -> list[tuple[str, str | None, str | None, int]]:
        async with transaction_async(flow.tx, "read committed"):
            _, news = await clearing.note(flow.tx)
        return sorted((each.what, each.account, each.customer, each.minor) for each in news)

    await flow.post(
        Transfer("1", "clearing:ann", "sales", eur(5)), Transfer("2", "clearing:eve", "sales", eur(6))
    )  # fmt: skip
    assert await told() == []
    await days_ago(flow, 2)
    ann, eve = ("overdue", "clearing:ann", "ann", 5), ("overdue", "clearing:eve", "evelyn", 6)
    assert await told() == [ann, eve]
    await flow.post(Transfer("3", "clearing:ann", "sales", eur(1)))
    assert await told() == [], "another amount is no news: it is still the same that is late"
    await flow.post(Transfer("4", "bank", "clearing:eve", eur(6)))
    assert await told() == [("cleared", "clearing:eve", "evelyn", 6)]
    await flow.fold()
    await flow.post(
        Transfer("5", "bank", "clearing:ann", eur(6)), Transfer("6", "clearing:ann", "sales", eur(2))
    )  # fmt: skip
    await flow.fold()
    await days_ago(flow, 3)
    assert await told() == [("overdue", "clearing:ann", "ann", 2)], "it was at zero in between"


async def test_beyond_a_limit_those_of_a_currency_are_told_together(
    flow: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_TOLD", 1)
    await flow.post(
        Transfer("1", "clearing:ann", "sales", eur(9)), Transfer("2", "sales", "clearing:bob", eur(3)),
        Transfer("3", "clearing:eve", "sales", eur(2)),
    )  # fmt: skip
    await days_ago(flow, 2)
    async with transaction_async(flow.tx, "read committed"):
        noted, (largest, rest) = await payouts(flow).note(flow.tx)
    assert noted == 3
    assert (largest.account, largest.accounts, largest.minor) == ("clearing:ann", 1, 9)
    assert (rest.account, rest.customer, rest.accounts, rest.minor, rest.currency) == (
        None, None, 2, 5, "EUR",
    )  # fmt: skip


async def test_of_two_that_look_at_once_one_does(flow: Books) -> None:
    clearing = payouts(flow)
    await flow.post(Transfer("charge", "clearing:ann", "sales", eur(500)))
    await days_ago(flow, 2)
    other = await flow.cell.session()
    async with transaction_async(other, "read committed"):
        assert await clearing.look(other) == 1
        assert await look(flow, clearing) == 0  # at once, without waiting
    assert (await overdue(flow)).rows != ()


async def test_people_are_told(flow: Books, capsys) -> None:
    await flow.post(Transfer("charge", "clearing:eve", "sales", eur(500)))
    await days_ago(flow, 2)
    await look(flow, payouts(flow))
    where = ("--database-url", flow.cell.url, "--schema", flow.cell.schema)
    for words in (["attention", "list"], ["ledger", "overdue"]):
        assert await asyncio.to_thread(main.run, [*words, *where]) == 0
        (line,) = [each for each in capsys.readouterr().out.splitlines() if "clearing:eve" in each]
        assert {"payouts", "evelyn", "5.00", "EUR"} <= set(line.split()), "flow, customer, money"
    await asyncio.to_thread(main.run, ["ledger", "overdue", "-o", "json", *where])
    assert json.loads(capsys.readouterr().out)[0]["customer"] == "evelyn"


@pytest.mark.parametrize(
    "terms",
    [
        {"within": timedelta(0)}, {"look_every": timedelta(0)}, {"within": timedelta(days=9999)}, {"within": 60},
        {"look_every": "1m"}, {"under": ""}, {"metadata": "cards"},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(terms) -> None:
    with pytest.raises(UsageError):
        Clearing("payouts", **({"under": "clearing", "within": DAY} | terms))


async def test_a_flow_that_is_not_included_says_so(flow: Books) -> None:
    with pytest.raises(UsageError, match="belongs to no Troth"):
        await Clearing("payouts", under="clearing", within=DAY).look(flow.tx)


async def test_workers_look_and_seal_by_themselves(flow: Books) -> None:
    """And go on: what is posted while they work is seen as well."""
    clearing = payouts(
        flow, within=timedelta(milliseconds=1), look_every=timedelta(milliseconds=20)
    )
    await flow.post(Transfer("charge:1", "clearing:ann", "sales", eur(1)))
    relays = Relays(flow.cell.url, [*flow.ledger.relays, *clearing.relays])
    await relays.open()
    try:

        async def seen(count: int) -> bool:
            return await flow.count("overdue") == count and await flow.count("unsealed") == 0

        await until(lambda: seen(1), "one is overdue")
        await flow.post(Transfer("charge:2", "clearing:bob", "sales", eur(2)))
        await until(lambda: seen(2), "two are overdue")
    finally:
        await relays.close()
    assert await flow.count("block") >= 2
