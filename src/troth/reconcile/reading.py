"""Reads one side of a run, page by page, and keeps each in a commit of its own: whoever comes after goes on from there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from troth.reconcile import checking, proof, store
from troth.reconcile.model import Fault, Feed, Page, Phase, Side, Source, SourceError
from troth.reconcile.proof import Kept
from troth.reconcile.store import Taken
from troth.store.connect import AsyncConnection
from troth.store.isolation import transaction_async
from troth.store.parts import Connections
from troth.store.queries import Queries

log = logging.getLogger("troth.reconcile")

MARGIN_S: Final = 10.0
_TRIES: Final = 2  # so often a feed that contradicts itself is read anew before that is said of it
_TRANSIENT: Final = frozenset({Fault.COUNT, Fault.REPEATED, Fault.MOVED})


class LostTurnError(Exception):
    """It took so long that another process has taken up the run."""


class UnsteadyError(SourceError):
    """The feed contradicts itself, perhaps because it changed while it was read: it is read anew."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What a run is worked at with. *page_timeout_s*: how long a source may take for one page, in seconds.

    *grace*: a feed may end so long before its window does. *currencies*: what items may be in besides those of ISO 4217.
    """

    connections: Connections
    q: Queries
    page_timeout_s: float
    grace: timedelta
    currencies: frozenset[str] = frozenset()

    @property
    def lease_s(self) -> float:
        """For how long a run is held between two commits, in seconds."""
        return self.page_timeout_s + MARGIN_S

    @asynccontextmanager
    async def writing(self, taken: Taken) -> AsyncIterator[AsyncConnection]:
        """A transaction that holds on to the run; it commits when it is left. Raises `LostTurnError`."""
        async with (
            self.connections.connection() as connection,
            transaction_async(connection, "read committed"),
        ):
            if not await store.hold(connection, self.q, taken, self.lease_s):
                raise LostTurnError
            yield connection


async def read(bench: Bench, taken: Taken, side: Side, source: Source) -> Feed:
    """Read what is left of a side, prove what can be proven, and go on to the next phase.

    Raises `LostTurnError`, `SourceError`, `UsageError` for items that are none, and what the source raises.
    """
    async with bench.writing(taken) as connection:
        await store.make_room(connection, bench.q, taken.id)
        kept = await store.pages(connection, bench.q, taken.id, side)
    pages = [each for each, _ in kept]
    if taken.readings[side - 1] == 1:
        await _read_rest(bench, taken, side, source, pages)
    moved = None
    if proof.needs_second_reading(pages):
        moved = await _read_again(bench, taken, side, source)
    return await _conclude(bench, taken, side, source, pages, moved)


async def _read_rest(
    bench: Bench, taken: Taken, side: Side, source: Source, pages: list[Kept]
) -> None:
    place = sum(each.said.staged for each in pages)
    begun = {each.cursor for each in pages}
    while not pages or pages[-1].next is not None:
        cursor = pages[-1].next if pages else None
        page = await _page(bench, taken, source, cursor)
        begun.add(cursor)
        if page.next is not None and page.next in begun:
            msg = f"{source.name}: its pages go in a circle: after {cursor!r} comes {page.next!r}"
            raise SourceError(msg)
        digest = proof.digest_of(page)
        again = proof.came_before(pages, page, digest)
        items = [] if again else [i for i in page.items if taken.window.reaches(i.at)]
        said = proof.said_by(page, len(items), again=again)
        kept = Kept(len(pages) + 1, cursor, page.next, digest, said)
        async with bench.writing(taken) as connection:
            await store.stage(connection, bench.q, taken.id, side, kept, items, place)
        place += len(items)
        pages.append(kept)


async def _read_again(bench: Bench, taken: Taken, side: Side, source: Source) -> str | None:
    """Does it give the same again? What does not, in words."""
    async with bench.writing(taken) as connection:
        await store.reading(connection, bench.q, taken.id, side, 2)
        kept = await store.pages(connection, bench.q, taken.id, side)
    for each, checked in kept:
        if checked:
            continue
        page = await _page(bench, taken, source, each.cursor)
        if (proof.digest_of(page), page.next) != (each.digest, each.next):
            return f"part {each.n} of it was another one when it was read again"
        async with bench.writing(taken) as connection:
            await store.confirm_page(connection, bench.q, taken.id, side, each.n)
    return None


async def _page(bench: Bench, taken: Taken, source: Source, cursor: str | None) -> Page:
    async with asyncio.timeout(bench.page_timeout_s):
        given = await source.page(cursor, taken.window)
    return checking.require_page(given, source.name, bench.currencies)


async def _conclude(
    bench: Bench,
    taken: Taken,
    side: Side,
    source: Source,
    pages: list[Kept],
    moved: str | None,
) -> Feed:
    async with bench.writing(taken) as connection:
        repeated = await store.once(connection, bench.q, taken.id, side)
        now = await store.now(connection, bench.q)
        feed = proof.feed_of(
            side, source.name, pages, taken.window, now,
            grace=bench.grace, repeated=repeated, moved=moved,
        )  # fmt: skip
        shaky = [each for each in feed.flaws if each.fault in _TRANSIENT and not each.about]
        if shaky and taken.failures < _TRIES:
            await store.read_anew(connection, bench.q, taken.id, side)
        else:
            phase = Phase.THEIRS if side is Side.OURS else Phase.MATCHING
            await store.enter(connection, bench.q, taken.id, phase, feed=feed)
            if phase is Phase.MATCHING:
                await store.staged(connection, bench.q, taken.id)
            return feed
    raise UnsteadyError(f"{source.name}: " + "; ".join(each.said for each in shaky))
