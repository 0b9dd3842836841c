"""Applying events, in worker processes: serially for an object, in parallel for different ones.

The claim is the open transaction: it holds the object's row, and the handler's work and the event's new state commit
with it. What a handler raises undoes its work, and is recorded while the object is still held.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from troth.base.backoff import Retry
from troth.base.events import InboxApplied
from troth.inbox import rules, store
from troth.inbox.model import Claimed, Handler, State, Superseded, Verdict
from troth.store.connect import AsyncConnection
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.isolation import transaction_async
from troth.store.parts import Workplace

log = logging.getLogger("troth.inbox")

CHANNEL: Final = "inbox"
_BUSY_AGAIN_S = 1.0  # after there was something to do: who took it in may not have notified
_IDLE_AGAIN_S = 15.0
_SOON_S = 0.02
_CONFLICT_S = 0.2


@dataclass(frozen=True, slots=True)
class Processing:
    """How the events of one source are applied."""

    source: str
    handlers: Mapping[str, Handler]
    concurrency: int
    parking: Retry
    park_limit_s: float
    handler_timeout_s: float


@dataclass(frozen=True, slots=True)
class _Nothing:
    """There was nothing to do; *wait_s*: until there may be, if that is known."""

    wait_s: float | None


class Processor:
    """Applies what is due, and waits for more."""

    channel = CHANNEL

    def __init__(self, processing: Processing, schema: str) -> None:
        self._how = processing
        self._schema = schema
        self._settled: dict[str, Verdict] = {}  # by event: what is not committed yet

    @property
    def name(self) -> str:
        """For logs."""
        return f"inbox {self._how.source}"

    @property
    def connections(self) -> int:
        """How many it uses at once, at most."""
        return self._how.concurrency

    async def work(self, place: Workplace) -> None:
        """Look for the next event in one task, hand it over to another, until cancelled."""
        free = asyncio.Semaphore(self._how.concurrency)
        turns: set[asyncio.Task[bool]] = set()
        ended = asyncio.Event()
        worked = False

        def over(turn: asyncio.Task[bool]) -> None:
            turns.discard(turn)
            free.release()
            if not turn.cancelled() and turn.result():
                ended.set()

        try:
            while True:
                await free.acquire()
                ended.clear()
                seen: asyncio.Future[_Nothing | None] = asyncio.get_running_loop().create_future()
                turn = asyncio.create_task(self._turn(place, seen), name=self.name)
                turns.add(turn)
                turn.add_done_callback(over)
                try:
                    nothing = await seen
                except DatabaseError as error:
                    if len(turns) <= 1:
                        raise
                    log.info("%s: no claim now: %s", self.name, error)  # others work: let them
                    nothing = _Nothing(_BUSY_AGAIN_S)
                if nothing is None:
                    worked = True
                    continue
                longest_s = _BUSY_AGAIN_S if worked or len(turns) > 1 else _IDLE_AGAIN_S
                wait_s = longest_s if nothing.wait_s is None else max(nothing.wait_s, _SOON_S)
                worked = await _rest(place, min(wait_s, longest_s), ended)
        finally:
            for turn in turns:
                turn.cancel()
            await asyncio.gather(*turns, return_exceptions=True)

    async def _turn(self, place: Workplace, seen: asyncio.Future[_Nothing | None]) -> bool:
        """One event from claim to commit; whether there was one. *seen* is told that as soon as it is known."""
        try:
            await self._apply_next(place, seen)
        except Exception as error:
            if not seen.done():
                seen.set_exception(error)
                return False
            log.exception("%s: what became of an event could not be recorded", self.name)
        finally:
            if not seen.done():
                seen.cancel()
        return seen.result() is None

    async def _apply_next(self, place: Workplace, seen: asyncio.Future[_Nothing | None]) -> None:
        claimed: Claimed | float | None = None
        try:
            async with (
                place.connections.connection() as tx,
                transaction_async(tx, "read committed"),
            ):
                claimed = await self._claim(tx)
                if not isinstance(claimed, Claimed):
                    seen.set_result(_Nothing(claimed))
                    return
                seen.set_result(None)
                handler = await self._begin(tx, claimed)
            if handler is not None:
                await self._follow_hint(place, claimed, handler)
            self._emit(place, claimed)
        except Exception as error:
            if not isinstance(claimed, Claimed):
                raise
            await self._record(place, claimed, error)

    async def _claim(self, tx: AsyncConnection, key: str | None = None) -> Claimed | float | None:
        idle_s = 2 * self._how.handler_timeout_s
        return await store.claim(tx, self._schema, self._how.source, idle_s, key)

    async def _begin(self, tx: AsyncConnection, claimed: Claimed) -> Handler | None:
        """Do all that can be done in the transaction of the claim; the handler, if its object is to be fetched first."""
        handler = rules.handler_of(self._how.handlers, claimed.event.type)
        if handler is None:
            await self._settle(tx, claimed, rules.ignored(claimed))
        elif claimed.overtaken:
            await self._settle(tx, claimed, rules.superseded(claimed, "a newer one was applied"))
        elif handler.fetch is None:
            await self._call(tx, claimed, handler)
        else:
            await store.mark_fetching(
                tx, self._schema, claimed.event, 2 * self._how.handler_timeout_s
            )
            return handler
        return None

    async def _follow_hint(self, place: Workplace, claimed: Claimed, handler: Handler) -> None:
        """Fetch outside of any transaction; then apply it, if the event is still as it was."""
        assert handler.fetch is not None
        async with asyncio.timeout(self._how.handler_timeout_s):
            current = await handler.fetch(claimed.event)
        async with place.connections.connection() as tx, transaction_async(tx, "read committed"):
            again = await self._claim(tx, claimed.event.object_key)
            if isinstance(again, Claimed) and again.event.id == claimed.event.id:
                await self._call(tx, again, handler, current)
            elif isinstance(again, Claimed):  # others have applied it, and this is what comes next
                await store.mark_fetching(tx, self._schema, again.event, 0.0)

    async def _call(
        self, tx: AsyncConnection, claimed: Claimed, handler: Handler, *current: Any
    ) -> None:
        await store.before_handler(tx, self._schema)
        try:
            async with asyncio.timeout(self._how.handler_timeout_s):
                said = await handler.function(tx, claimed.event, *current)
        except Exception as error:
            await store.undo_handler(tx, self._schema)  # not possible if the connection is gone
            if _is_conflict(error):
                raise  # the transaction is of no use any more; the event is tried again
            verdict = self._judge(claimed, error)
            await self._settle(tx, claimed, verdict)
            self._tell(claimed, verdict, error)
            return
        if isinstance(said, Superseded):
            await self._settle(tx, claimed, rules.superseded(claimed, said.reason))
        else:
            await self._settle(tx, claimed, rules.applied(claimed, handler.blocks))

    async def _settle(self, tx: AsyncConnection, claimed: Claimed, verdict: Verdict) -> None:
        if not await store.settle(tx, self._schema, claimed, verdict):
            msg = f"event {claimed.event.id} is not as it was claimed"  # nobody can: the object is held
            raise RuntimeError(msg)
        self._settled[claimed.event.id] = verdict

    def _emit(self, place: Workplace, claimed: Claimed) -> None:
        """What was settled is durable."""
        event, verdict = claimed.event, self._settled.pop(claimed.event.id, None)
        if verdict is None or not place.telemetry.on:
            return
        lag_s = max(0.0, (datetime.now(UTC) - event.received_at).total_seconds())
        state = verdict.state.value
        applied = InboxApplied(event.source, event.id, event.type, state, event.attempt, lag_s)
        place.telemetry.emit(applied)

    async def _record(self, place: Workplace, claimed: Claimed, error: Exception) -> None:
        """What a fetch raised, or the database when it was to commit the handler's work."""
        event = claimed.event
        self._settled.pop(event.id, None)  # it was rolled back
        async with place.connections.connection() as tx, transaction_async(tx, "read committed"):
            if _is_conflict(error):
                log.info("%s: %s %s is tried again: %s", self.name, event.type, event.id, error)
                await store.mark_fetching(tx, self._schema, event, _CONFLICT_S)  # a short rest
                return
            verdict = self._judge(claimed, error)
            recorded = await store.settle(tx, self._schema, claimed, verdict)
        if recorded:  # if not, others had it meanwhile
            self._tell(claimed, verdict, error)
            self._settled[claimed.event.id] = verdict
            self._emit(place, claimed)

    def _tell(self, claimed: Claimed, verdict: Verdict, error: Exception) -> None:
        level = logging.ERROR if verdict.state is State.QUARANTINED else logging.INFO
        event = claimed.event
        log.log(level, "%s: %s %s is %s: %r", self.name, event.type, event.id, verdict.state, error)

    def _judge(self, claimed: Claimed, error: Exception) -> Verdict:
        handler = rules.handler_of(self._how.handlers, claimed.event.type)
        assert handler is not None
        if isinstance(error, handler.parks_on):
            reason = f"{type(error).__name__}: {error}"
            return rules.came_early(claimed, reason, self._how.parking, self._how.park_limit_s)
        if isinstance(error, TimeoutError) and not str(error):
            error.add_note(f"A handler or fetch has {self._how.handler_timeout_s:g} s.")
        text = "".join(traceback.format_exception(error))
        return rules.failed(claimed, text, handler.retry, handler.blocks)


async def _rest(place: Workplace, wait_s: float, ended: asyncio.Event) -> bool:
    """Until somebody rings, it is time, or a turn has ended: then its object may be due again. Whether one has."""
    rung = asyncio.create_task(place.alarm.wait(wait_s))
    over = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait((rung, over), return_when=asyncio.FIRST_COMPLETED)
    finally:
        rung.cancel()
        over.cancel()
    return ended.is_set()


def _is_conflict(error: Exception) -> bool:
    return isinstance(error, DatabaseError) and failure_of(error) is Failure.CONFLICT
