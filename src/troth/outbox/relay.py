"""The relay of one destination: claims what is due, sends it outside of any transaction, records what came of it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from troth.base.events import OutboxAttempted
from troth.outbox import rules, store
from troth.outbox.model import Claimed, Destination, Next, Outcome, Standing, Unsettled
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.parts import Workplace
from troth.store.queries import Queries

log = logging.getLogger("troth.outbox")

MOST_AT_ONCE = 256  # attempts of one destination with endpoints, per process
_CONNECTIONS = 4
_IDLE_S = 15.0
_BUSY_S = 1.0
_TAKEN_S = 0.05  # others are claiming what is due
_AGAIN_S = 0.5
_LOOK_S = 2.0


class DestinationRelay:
    """Sends the messages of one outbox to one destination."""

    def __init__(self, outbox: str, destination: Destination, queries: Queries) -> None:
        self._outbox = outbox
        self._to = destination
        self._terms = destination.terms
        self._q = queries
        self._sending: dict[asyncio.Task[None], str] = {}  # the target of each
        self._ended = asyncio.Event()
        self._closing = False

    @property
    def name(self) -> str:
        """For logs."""
        return f"outbox {self._outbox}/{self._to.name}"

    @property
    def connections(self) -> int:
        """To look for what is due, and to record what ends meanwhile: each for a moment."""
        return _CONNECTIONS

    @property
    def channel(self) -> str:
        """What `publish` rings."""
        return "outbox"

    async def work(self, place: Workplace) -> None:
        """Work until cancelled; then what is being sent gets the time to end."""
        self._closing = False
        looking: asyncio.Task[float] | None = None
        try:
            while True:
                self._ended.clear()
                looking = asyncio.create_task(self._look(place))
                await self._rest(place, await asyncio.shield(looking))
        finally:
            self._closing = True
            if looking is not None:  # what it has claimed is sent
                await asyncio.wait((looking,), timeout=_LOOK_S)
            await self._finish()
            await self._to.close()

    async def _look(self, place: Workplace) -> float:
        """Begin what is due and has room; seconds until there may be something else."""
        async with place.connections.connection() as connection:
            while True:
                standing = await store.standings(connection, self._q, self._outbox, self._to)
                free = self._free(standing)
                if not free or self._closing:
                    break
                begun = time.monotonic()
                claimed, more = await store.claim(
                    connection,
                    self._q,
                    free,
                    self._terms.lease_s,
                    once=self._terms.delivery == "at_most_once",
                )
                for each in claimed:
                    task = asyncio.create_task(self._send(place, each, begun))
                    self._sending[task] = each.target
                    task.add_done_callback(self._over)
                if not claimed and not more:
                    return _TAKEN_S
        later = [each.wait_s for each in standing if each.wait_s > 0]
        return min([_BUSY_S if self._sending else _IDLE_S, *later])

    def _free(self, standing: Sequence[Standing]) -> dict[str, int]:
        """How many more attempts each target with something due may have. One that fails gets one at a time."""
        busy = Counter(self._sending.values())
        room = MOST_AT_ONCE if self._terms.to_endpoints else self._terms.concurrency
        room -= len(self._sending)
        free: dict[str, int] = {}
        for each in random.sample(standing, len(standing)):  # nobody is always the last
            if each.wait_s > 0:
                continue
            most = 1 if each.failing else self._terms.concurrency
            slots = min(most - busy[each.target], room)
            if slots > 0:
                free[each.target] = slots
                room -= slots
        return free

    async def _rest(self, place: Workplace, wait_s: float) -> None:
        """Until something ends, somebody rings, or it is time."""
        rung = asyncio.create_task(place.alarm.wait(wait_s))
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait((rung, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            rung.cancel()
            ended.cancel()

    def _over(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s: an attempt could not be recorded", self.name, exc_info=error)

    async def _send(self, place: Workplace, claimed: Claimed, begun: float) -> None:
        """One attempt. *begun*: when the claim was made, at the earliest."""
        started = time.monotonic()
        if started - begun > self._terms.lease_s - self._terms.timeout_s:
            # Another relay may have it before this one would be done.
            outcome: Outcome = Unsettled("not sent: this process stood still", sent=False)
        else:
            outcome = await self._attempt(claimed)
        took_s = time.monotonic() - started
        then = rules.after(
            self._terms,
            claimed.tries,
            outcome,
            random.random(),  # noqa: S311  (jitter, not a secret)
            to_endpoint=claimed.message.receiver is not None,
        )
        while not await self._recorded(place, claimed, outcome, then, took_s):
            if time.monotonic() - started > self._terms.lease_s:
                log.error("%s: %s could not be recorded", self.name, claimed.message.id)
                return
            await asyncio.sleep(_AGAIN_S)

    async def _recorded(
        self, place: Workplace, claimed: Claimed, outcome: Outcome, then: Next, took_s: float
    ) -> bool:
        """Write down what came of an attempt; false if the database did not answer."""
        give_up_s = self._terms.give_up_after.total_seconds()
        try:
            async with place.connections.connection() as connection:
                held = await store.record(
                    connection, self._q, claimed, outcome, then, took_s, give_up_s
                )
        except (DatabaseError, StoreError, OSError) as error:
            log.info("%s: %s is to be recorded again: %s", self.name, claimed.message.id, error)
            return False
        if not held:
            log.warning("%s: %s was taken over before its end", self.name, claimed.message.id)
        elif place.telemetry.on:
            place.telemetry.emit(self._told(claimed, outcome, took_s))
        return True

    def _told(self, claimed: Claimed, outcome: Outcome, took_s: float) -> OutboxAttempted:
        message = claimed.message
        return OutboxAttempted(
            self._outbox, self._to.name, message.id, message.type, message.attempt,
            type(outcome).__name__.lower(), outcome.status, took_s,
            max(0.0, (datetime.now(UTC) - message.published_at).total_seconds()),
        )  # fmt: skip

    async def _attempt(self, claimed: Claimed) -> Outcome:
        try:
            async with asyncio.timeout(self._terms.timeout_s):
                return await self._to.deliver(claimed.message)
        except TimeoutError:
            return Unsettled(f"no answer within {self._terms.timeout_s:g} s")
        except Exception as error:  # noqa: BLE001  (whatever it is, it says nothing about the other side)
            log.warning("%s: %s: %r", self.name, claimed.message.id, error)
            return Unsettled(f"{type(error).__name__}: {error}")

    async def _finish(self) -> None:
        if not self._sending:
            return
        patience_s = self._terms.timeout_s if self._terms.delivery == "at_most_once" else 5.0
        await asyncio.wait(list(self._sending), timeout=patience_s + _AGAIN_S)
        for task in list(self._sending):
            task.cancel()
        await asyncio.gather(*self._sending, return_exceptions=True)
