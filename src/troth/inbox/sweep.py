"""Reading the provider's own list of events, for those that were never delivered.

One process at a time, by a lease on the source's row; no connection is held while the provider is asked. A process that
lost its turn changes nothing: the turn is checked in the transaction that takes a page in.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from troth.base.backoff import Retry
from troth.inbox import accept, rules, store
from troth.inbox.accept import Intake
from troth.inbox.model import ListSince, MalformedEventError, Page
from troth.inbox.store import Incoming, SweepTurn
from troth.store.isolation import transaction_async
from troth.store.parts import Workplace

log = logging.getLogger("troth.inbox")

_AGAIN: Final = Retry(first=timedelta(seconds=5), longest=timedelta(minutes=15))
_MARGIN_S = 10.0
_SOON_S = 0.05


@dataclass(frozen=True, slots=True)
class Sweeping:
    """How the provider's list is read. In seconds: how often, how far back, how long a page may take."""

    list_since: ListSince
    every_s: float
    overlap_s: float
    page_timeout_s: float


class Sweeper:
    """Sweeps one source, whenever it is due."""

    channel = "inbox_sweep"
    connections = 1

    def __init__(self, sweeping: Sweeping, intake: Intake, schema: str) -> None:
        self._how = sweeping
        self._intake = intake
        self._schema = schema
        self._source = intake.source

    @property
    def name(self) -> str:
        """For logs."""
        return f"sweep of inbox {self._source}"

    async def work(self, place: Workplace) -> None:
        """Sweep when it is due, until cancelled."""
        while True:
            async with place.connections.connection() as tx:
                turn = await store.begin_sweep(tx, self._schema, self._source, self._lease_s)
                due_s = (
                    await store.sweep_due_in(tx, self._schema, self._source) if not turn else 0.0
                )
            if turn is not None:
                await self._take(place, turn)
            else:
                await place.alarm.wait(min(max(due_s, _SOON_S), self._how.every_s))

    @property
    def _lease_s(self) -> float:
        return self._how.page_timeout_s + _MARGIN_S

    async def _take(self, place: Workplace, turn: SweepTurn) -> None:
        try:
            await self._read_all(place, turn)
        except _LostTurnError:
            log.info("%s: another process does it", self.name)
        except Exception as error:  # noqa: BLE001  (the user's function, the network, the database)
            again_s = min(_AGAIN.pause_s(turn.failures + 1), max(self._how.every_s, _SOON_S))
            log.warning("%s failed, and begins again in %.0f s: %r", self.name, again_s, error)
            said = rules.cut(f"{type(error).__name__}: {error}")
            async with place.connections.connection() as tx:
                await store.fail_sweep(tx, self._schema, self._source, turn.turn, again_s, said)

    async def _read_all(self, place: Workplace, turn: SweepTurn) -> None:
        trail, found = turn.trail, 0
        cursor = rules.begin_at(trail, turn.now_s, self._how.overlap_s)
        more = True
        while more:
            async with asyncio.timeout(self._how.page_timeout_s):
                page = await self._how.list_since(cursor)
            created = [event.created.timestamp() for event in page.events]
            trail = rules.extend(trail, page.cursor, created, turn.now_s, self._how.overlap_s)
            # A list that goes on where it was would never end.
            more = page.more and page.cursor is not None and page.cursor != cursor
            cursor = page.cursor
            found += await self._take_in(place, turn, page, trail, complete=not more)
        if found:
            log.info("%s: %d events had not been delivered (yet)", self.name, found)

    async def _take_in(
        self, place: Workplace, turn: SweepTurn, page: Page, trail: rules.Trail, *, complete: bool
    ) -> int:
        due_in_s = self._how.every_s if complete else self._lease_s
        events = self._readable(page, turn.now_s)
        async with place.connections.connection() as tx, transaction_async(tx, "read committed"):
            if not await store.save_sweep(
                tx, self._schema, self._source, turn.turn, trail, due_in_s, complete=complete
            ):
                raise _LostTurnError
            return await store.accept_swept(tx, self._schema, self._source, events)

    def _readable(self, page: Page, now_s: float) -> list[Incoming]:
        events = []
        for event in page.events:
            try:
                events.append(accept.listed(self._intake, event, now_s))
            except MalformedEventError as error:  # it would stop the sweep for ever
                log.error("%s: %s is not taken in: %s", self.name, event.id, error)
        return events


class _LostTurnError(Exception):
    """It took so long that another process began."""
