"""An account as a source: exactly what counts in a window, however it was booked, and while others go on posting."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.reconcile.conftest import Books, item
from tests.reconcile.test_own import all_of, fold, post, sale, shop
from troth.base.money import Money
from troth.ledger import Hold, Ledger, PostHold, Transfer
from troth.reconcile import Item, Page, Source, Window
from troth.reconcile.sources import books as module
from troth.reconcile.sources.books import Postings
from troth.store.connect import connect_async
from troth.store.parts import Connections

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MOMENT = timedelta(microseconds=1)


async def history(books: Books, ledger: Ledger) -> None:
    """Sales now, sales that count on another day, holds, and transactions that post first and commit last."""
    chance = random.Random(7)
    now = datetime.now(UTC)
    late = [await connect_async(books.url) for _ in range(3)]
    try:
        for session in late:
            await session.execute("BEGIN")
        for n in range(40):
            days = chance.randint(-3, 3)
            counts = now + days * DAY if n % 4 == 0 else None
            await post(books, ledger, Transfer(f"k{n}", "assets:bank", "income:sales", Money(100 + n, "EUR"), effective_at=counts))  # fmt: skip
            if n % 10 == 0:
                await post(
                    books, ledger, Hold(f"h{n}", "assets:bank", "income:sales", Money(7, "EUR"))
                )  # type: ignore[arg-type]
                await post(books, ledger, PostHold(f"p{n}", f"h{n}", Money(3, "EUR")))  # type: ignore[arg-type]
            if n % 13 == 1:
                at_once = [sale(f"late{n}.{m}", 10_000 + n + m) for m in range(3)]
                await ledger.post_all(late[n // 13 - 1], at_once)
            if n % 15 == 14:
                await fold(books, ledger)
            if n % 16 == 15:
                await late[n // 16].execute("COMMIT")
        await late[2].execute("COMMIT")
    finally:
        for session in late:
            await session.close()
    await fold(books, ledger)


async def by_hand(books: Books, window: Window) -> list[tuple[Any, ...]]:
    """All postings of the account that count in a window, by reading all that there are."""
    return await books.rows(
        "SELECT t.id::text, CASE e.side WHEN 'debit' THEN e.posted ELSE -e.posted END, e.effective_at"
        " FROM {}.ledger_entry e JOIN {}.ledger_account a ON a.id = e.account JOIN {}.ledger_transfer t ON t.seq = e.transfer"
        " WHERE a.code = 'assets:bank' AND e.posted <> 0 AND e.effective_at >= %s AND e.effective_at < %s ORDER BY t.id::text",
        window.first, window.last,
    )  # fmt: skip


async def test_a_window_has_exactly_what_counts_in_it(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    ledger = await shop(books)
    await history(books, ledger)
    kinds = await books.rows(
        "SELECT count(*) FILTER (WHERE late_after IS NOT NULL), count(*) FILTER (WHERE effective_at <> booked_at),"
        " count(*) FILTER (WHERE effective_at = booked_at AND late_after IS NULL) FROM {}.ledger_entry"
    )
    assert min(kinds[0]) >= 3, "entries of each kind"
    now = datetime.now(UTC)
    edges = [
        row[0]
        for row in await books.rows("SELECT DISTINCT effective_at FROM {}.ledger_entry ORDER BY 1")
    ]
    edges = [edges[0] - DAY, *edges[::13], now + HOUR, edges[-1] + DAY]
    for since in edges:
        for until in edges:
            for by in (timedelta(0), MOMENT):
                window = Window(since, until + by)
                if not window.since < window.until:
                    continue
                items, count = await all_of(books, Postings("assets:bank"), window)
                found = sorted((each.id, each.amount, each.at) for each in items)
                expected = await by_hand(books, window)
                assert found == expected, window
                assert count == len(expected)


class Busy(Postings):
    """The account is posted to before each page of it is read."""

    def __init__(self, books: Books, ledger: Ledger) -> None:
        super().__init__("assets:bank")
        self.books, self.ledger, self.posted = books, ledger, 0

    def within(self, schema: str, connections: Connections) -> Source:
        source = super().within(schema, connections)
        read = source.page

        async def page(cursor: str | None, window: Window) -> Page:
            self.posted += 1
            await post(self.books, self.ledger, sale(f"meanwhile{self.posted}", 5))
            return await read(cursor, window)

        source.page = page  # type: ignore[method-assign]
        return source


async def test_an_account_that_is_posted_to_all_the_time_is_read_whole(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE", 2)
    ledger = await shop(books)
    await post(books, ledger, *(sale(f"k{n}", 1000 + n) for n in range(7)))
    await fold(books, ledger)
    ours = Busy(books, ledger)
    theirs = await all_of(books, Postings("assets:bank"))
    books.theirs.items = [
        Item(f"ch_{n}", each.amount, "EUR", each.at, each.key) for n, each in enumerate(theirs[0])
    ]
    line = await books.run(ours=ours, since=1, until=-1, grace=DAY)
    assert ours.posted >= 4
    assert line.ours is not None
    assert (line.verdict, line.ours.flaws, line.ours.items) == ("clean", (), 7), line
    assert line.ours.pages == ours.posted, "and it was read once"


async def test_a_list_that_grows_while_it_is_read_twice_holds_still_for_what_was_there(
    books: Books,
) -> None:
    """New charges come in at the top of the provider's list all the time: that is no history that changes."""
    books.ours.items = [item("run/1", key="k1")]
    books.theirs.items = [item("ch_1", key="k1")]
    books.theirs.counts = False
    made = 0

    def grow(_cursor: str | None) -> None:
        nonlocal made
        made += 1
        books.theirs.items.insert(0, Item(f"ch_new{made}", 5, "EUR", datetime.now(UTC)))

    books.theirs.before = grow
    line = await books.run(since=30, until=0)
    assert made == 2
    assert (line.verdict, line.theirs and line.theirs.flaws) == ("clean", ()), line
