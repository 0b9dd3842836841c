"""Two sides that a test writes down, a reconciliation that it moves by hand, and the rows that this leaves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from troth import Troth
from troth.reconcile import Item, Page, Reconciliation, Standing, Window, breaks_store, store
from troth.reconcile.model import Break
from troth.reconcile.relay import ReconcileRelay
from troth.reconcile.store import RunLine
from troth.store.connect import AsyncPool, pool_async

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def item(
    id_: str,
    amount: int = 1000,
    *,
    key: str | None = None,
    days_ago: float = 5,
    currency: str = "EUR",
    standing: Standing = Standing.DONE,
    **more: Any,
) -> Item:
    return Item(id_, amount, currency, NOW - days_ago * DAY, key, standing, **more)


@dataclass
class Listed:
    """A side as a list, given out in pages. *says*: how many it says that it has; None: nothing, so it is read twice."""

    name: str
    items: list[Item] = field(default_factory=list)
    size: int = 100
    counts: bool = True
    says: int | None = None
    until: datetime | None = None
    asked: list[str | None] = field(default_factory=list)
    before: Callable[[str | None], Any] | None = None  # what happens before a page is given

    async def page(self, cursor: str | None, window: Window) -> Page:
        self.asked.append(cursor)
        if self.before is not None:
            made = self.before(cursor)
            if hasattr(made, "__await__"):
                await made
        first = int(cursor or 0)
        last = first + self.size
        inside = [each for each in self.items if window.reaches(each.at)]
        says = (len(inside) if self.says is None else self.says) if self.counts else None
        return Page(
            inside[first:last], str(last) if last < len(inside) else None, says, None, self.until
        )


class Books:
    """One schema, and what became of a reconciliation in it."""

    def __init__(self, url: str, schema: str, pool: AsyncPool) -> None:
        self.url, self.schema, self.pool = url, schema, pool
        self.ours, self.theirs = Listed("our list"), Listed("their list")

    def relay(self, name: str = "bank", **terms: Any) -> ReconcileRelay:
        troth = Troth(self.url, schema=self.schema)
        sides = {"ours": self.ours, "theirs": self.theirs} | terms
        (relay,) = troth.include(Reconciliation(name, **sides)).relays
        assert isinstance(relay, ReconcileRelay)
        return relay

    async def ask(
        self, name: str = "bank", since: float = 30, until: float = 0, margin: timedelta = DAY
    ) -> int:
        window = Window(NOW - since * DAY, NOW - until * DAY, margin)
        async with self.pool.connection() as tx:
            made = await store.ask(tx, store.queries(self.schema), name, window, "ada")
        assert made is not None, "a run is under way"
        return made

    async def run(
        self, name: str = "bank", *, since: float = 30, until: float = 0, **terms: Any
    ) -> RunLine:
        """Ask for a run, and do it."""
        relay = self.relay(name, **terms)
        number = await self.ask(name, since, until, terms.get("margin", DAY))
        for _ in range(10):
            await relay.look(self.pool)
            line = await self.line(number)
            if line.ended_at is not None:
                return line
            await self.rows(
                "UPDATE {}.reconcile_run SET due_at = '-infinity' WHERE id = %s", number
            )
        raise AssertionError(line)

    async def line(self, number: int) -> RunLine:
        async with self.pool.connection() as tx:
            (line,) = await store.runs(tx, store.queries(self.schema), run=number)
        return line

    async def breaks(self, **which: Any) -> list[Break]:
        async with self.pool.connection() as tx:
            found = await breaks_store.breaks(
                tx, breaks_store.queries(self.schema), limit=10_000, **which
            )
        return sorted(found, key=lambda each: each.subject)

    async def history(self, number: int) -> list[str]:
        async with self.pool.connection() as tx:
            told = await breaks_store.history(tx, breaks_store.queries(self.schema), number)
        return [each.what for each in told]

    async def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Ask the database; `{}` is the schema."""
        async with self.pool.connection() as tx:
            cursor = await tx.execute(query.replace("{}", self.schema), params or None)  # type: ignore[call-overload]
            return await cursor.fetchall() if cursor.description else []


@pytest.fixture
async def books(migrated: tuple[str, str]) -> AsyncIterator[Books]:
    url, schema = migrated
    pool = pool_async(url, 1, 4)
    await pool.open()
    yield Books(url, schema, pool)
    await pool.close()


def both(count: int, *, first: int = 0) -> tuple[list[Item], list[Item]]:
    """So many things that both sides have, and agree about."""
    numbers = range(first, first + count)
    ours = [item(f"run/{n}", 1000 + n, key=f"k{n}", days_ago=2 + n % 20) for n in numbers]
    theirs = [item(f"ch_{n}", 1000 + n, key=f"k{n}", days_ago=2 + n % 20) for n in numbers]
    return ours, theirs


def kinds(breaks: Sequence[Break]) -> dict[str, str]:
    return {each.subject: each.kind.value for each in breaks}
