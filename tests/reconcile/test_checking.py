"""What a source gives and cannot be is refused in words: which item, what is wrong with it, whose fault it is."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from tests.reconcile.conftest import NOW, Books, both, item, kinds
from troth import UsageError
from troth.reconcile import FeeTerms, Item, OneToOne, Page, Parts, Reconciliation, Statement
from troth.reconcile.checking import declared_currencies, require_page
from troth.reconcile.model import BreakState
from troth.reconcile.pairing import ByGroup
from troth.reconcile.rules import LIMIT

NAIVE = datetime(2026, 11, 1)  # noqa: DTZ001
GOOD = item("ch_7", 1000, key="k7")
PAGE = Page([GOOD], "2", 5, None, NOW)
STATEMENT = Statement("S1", "DE1", "EUR", 0, 10, 1, 2)


def changed(**fields: Any) -> Item:
    return msgspec.structs.replace(GOOD, evidence="row 7", **fields)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"currency": "eur"}, "one of ISO 4217, or of currencies= of the reconciliation, and not 'eur'"),
        ({"currency": "EURO"}, "not 'EURO'"), ({"currency": "XYZ"}, "not 'XYZ'"), ({"currency": ""}, "not ''"),
        ({"currency": None}, "its currency is a text"),
        ({"amount": 10.5}, "whole numbers of minor units"), ({"amount": "10"}, "whole numbers of minor units"),
        ({"amount": True}, "whole numbers of minor units"), ({"amount": None}, "whole numbers of minor units"),
        ({"amount": LIMIT + 1}, "fit into 64 bits"), ({"fee": -1}, "its fee is not negative"),
        ({"at": NAIVE}, "a datetime with its zone"), ({"at": "2026-11-01"}, "a datetime with its zone"),
        ({"standing": "done"}, "its standing is a Standing"), ({"standing": 2}, "its standing is a Standing"),
        ({"id": ""}, "its id is a text that is not empty"), ({"id": 7}, "its id is a text that is not empty"),
        ({"key": ""}, "its key is a text that is not empty, or None"), ({"key": 7}, "its key is a text"),
        ({"reference": None}, "are texts"), ({"group": "a\0"}, "are texts"), ({"kind": "\ud800"}, "are texts"),
        ({"reference": "ü" * 1001}, "are texts: up to 2,000 bytes"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_an_item_that_cannot_be_one_is_named(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_page(replace(PAGE, items=[GOOD, changed(**fields)]), "their list")
    said = str(caught.value)
    assert said.startswith("their list gave an item that cannot be one, ")
    assert repr(fields.get("id", "ch_7")) in said
    assert "(row 7)" in said
    assert says in said
    assert "Their data or the source is wrong" in said


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (None, "where a Page is wanted"), ([GOOD], "where a Page is wanted"),
        (replace(PAGE, items=None), "its items are a list"), (replace(PAGE, items="abc"), "its items are a list"),
        (replace(PAGE, items=[{"id": "x"}]), "where an Item is wanted"),
        (replace(PAGE, next=""), "its next is a cursor"), (replace(PAGE, next=2), "its next is a cursor"),
        (replace(PAGE, count=-1), "its count is a number"), (replace(PAGE, count="5"), "its count is a number"),
        (replace(PAGE, until=NAIVE), "its until is a datetime"),
        (replace(PAGE, statement="S1"), "its statement is a Statement"),
        (replace(PAGE, statement=msgspec.structs.replace(STATEMENT, opening=1.5)), "'S1': its balances are whole numbers"),
        (replace(PAGE, statement=msgspec.structs.replace(STATEMENT, currency="usd")), "'S1': its currency is one of ISO 4217"),
        (replace(PAGE, statement=msgspec.structs.replace(STATEMENT, account="")), "'S1': its id and account"),
        (replace(PAGE, statement=msgspec.structs.replace(STATEMENT, entries=-2)), "'S1': its number and its count"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_a_page_that_cannot_be_one_is_told(page: Any, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        require_page(page, "their list")
    assert says in str(caught.value)


def test_what_can_be_is_let_through() -> None:
    page = replace(PAGE, items=[GOOD, changed(currency="PTS"), changed(currency="HRK")])
    assert require_page(page, "their list", frozenset({"PTS"})) is page


@pytest.mark.parametrize("given", [["EUR"], ["points"], [""], [7], "PTS", ["A" * 13]])
def test_a_currency_that_cannot_be_declared_is_told(given: Any) -> None:
    with pytest.raises(UsageError):
        declared_currencies(given)


async def test_one_bad_item_in_a_later_page_ends_the_run_and_is_kept_nowhere(books: Books) -> None:
    books.ours.items, books.theirs.items = both(250)
    books.theirs.items[230] = item("ch_230", 1230, key="k230", currency="EURO", evidence="line 9")
    line = await books.run()
    assert line.verdict == "failed"
    (found,) = await books.breaks()
    assert (found.subject, found.kind) == ("feed:theirs", "stale_source")
    for said in ("their list gave an item that cannot be one, 'ch_230' (line 9)", "not 'EURO'"):
        assert said in found.note
        assert said in (line.error or "")
    rows = await books.rows(
        "SELECT side, count(*) FROM {}.reconcile_item GROUP BY side ORDER BY side"
    )
    assert rows == [(1, 250), (2, 200)], (
        "the pages before it are whole, and nothing of its own is there"
    )
    books.theirs.items[230] = item("ch_230", 1230, key="k230", days_ago=2 + 230 % 20)
    assert (await books.run()).verdict == "clean", "and the next run finds it mended"


async def test_points_are_compared_where_they_are_declared(books: Books) -> None:
    books.ours.items = [item("run/1", 500, key="a", currency="PTS")]
    books.theirs.items = [item("x_1", 400, key="a", currency="PTS")]
    assert (await books.run()).verdict == "failed"
    assert (await books.run(currencies=["PTS"])).verdict == "breaks"
    assert {(each.kind, each.minor, each.currency) for each in await books.breaks(states=[BreakState.OPEN])} == {
        ("amount", 100, "PTS"),
    }  # fmt: skip


async def test_amounts_at_the_end_of_the_range_are_judged_and_not_wrong_by_an_overflow(
    books: Books,
) -> None:
    books.ours.items = [item("run/1", LIMIT, key="a"), item("run/2", LIMIT), item("run/3", LIMIT)]
    books.theirs.items = [item("x_1", -LIMIT, key="a")]
    books.ours.items += [item(f"run/g{n}", LIMIT, group="g") for n in range(3)]
    books.theirs.items.append(item("x_g", -LIMIT, group="g"))
    line = await books.run(rules=[ByGroup("payout", 1)], fees=FeeTerms(fixed=5))
    assert line.verdict == "breaks", line.error
    found = {each.subject: (each.kind, each.minor) for each in await books.breaks()}
    assert found["key:a"] == ("amount", LIMIT)
    assert found["group:g"] == ("amount", LIMIT)
    books.theirs.items = []
    books.theirs.says = 0
    line = await books.run(since=20)
    assert line.verdict == "unproven", line.error


@pytest.mark.parametrize(
    "terms",
    [
        {"ours": None}, {"theirs": "their list"}, {"grace": 1}, {"grace": timedelta(-1)}, {"margin": "1d"},
        {"every": timedelta(0)}, {"every": 60}, {"lookback": timedelta(0)}, {"page_timeout": 5}, {"keep": 0},
        {"keep": "3"}, {"tolerance": 0.5}, {"tolerance": -1}, {"currencies": ["usd"]}, {"rules": [1]}, {"fees": 0.014},
        {"correct": "expenses"}, {"name": 5}, {"name": "Ünterkonto"},
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_a_reconciliation_that_cannot_be_is_refused(books: Books, terms: dict[str, Any]) -> None:
    good: dict[str, Any] = {"name": "bank", "ours": books.ours, "theirs": books.theirs}
    Reconciliation(**good)
    with pytest.raises(UsageError):
        Reconciliation(**(good | terms))


@pytest.mark.parametrize(
    "make",
    [
        lambda: OneToOne("r", 1, tolerance=0.5), lambda: OneToOne("r", 1, days="2"), lambda: OneToOne("r", 1, on=("name",)),
        lambda: ByGroup("r", 1, by="payout"), lambda: ByGroup("r", 1, tolerance=-1), lambda: Parts("r", 1, most=2.5),
        lambda: Parts("r", 1, one="theirs"), lambda: FeeTerms(0.014), lambda: FeeTerms(fixed=0.5),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_a_rule_that_cannot_be_is_refused(make: Any) -> None:
    with pytest.raises(UsageError):
        make()


async def test_what_is_asked_of_a_reconciliation_is_checked(books: Books) -> None:
    made = Reconciliation("bank", ours=books.ours, theirs=books.theirs)
    made.bind(books.schema)
    async with books.pool.connection() as tx:
        for since, until in (
            (NAIVE, None),
            ("yesterday", None),
            (NOW, NAIVE),
            (NOW, NOW - timedelta(1)),
        ):
            with pytest.raises(UsageError):
                await made.ask(tx, by="ada", since=since, until=until)  # type: ignore[arg-type]
        for limit in (0, 10_001, "5"):
            with pytest.raises(UsageError, match="limit= is 1 to"):
                await made.breaks(tx, limit=limit)  # type: ignore[arg-type]
    assert await books.rows("SELECT 1 FROM {}.reconcile_run") == []
    assert kinds(await books.breaks()) == {}
