"""One worker's way to one provider: who asks waits here until its slot, its lease and the breaker allow one call.

An asker goes through three rooms: *new* (it needs a slot, or nothing is known yet), *timed* (it has a slot that is near)
and *ready* (its slot has come; it needs the breaker closed and a lease). All that the shared row must be told or asked is
put into one turn at a time, so the row is written per batch, never per call; while nobody asks there is no turn at all.
Whoever would have to wait for long is told so and forgotten: its run is a row elsewhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Callable

from troth.base.clock import Clock
from troth.effect import store
from troth.effect.breaker import State, Tally, state_of, wait_s, why_open, why_trial
from troth.effect.leases import POLL_S, Leases, why_busy
from troth.effect.limits import (
    BRIEFLY_S,
    LEAD_S,
    NEAR_S,
    Declaration,
    Terms,
    slots_at_once,
    why_rate,
)
from troth.effect.line import Line
from troth.effect.permits import Asker, Permit, Wait
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure, failure_of

log = logging.getLogger("troth.effect")

_FRESH_S = 0.2  # for so long "the breaker is closed" is believed
_TURN_LIMIT_S = 10.0
_RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Gate:
    """Belongs to one event loop."""

    def __init__(
        self,
        name: str,
        declaration: Declaration,
        line: Line,
        clock: Clock,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.name = name
        self.declaration = declaration
        self.turns = 0  # taken so far
        self._line = line
        self._clock = clock
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._worker = 0
        self._new: list[Asker] = []
        self._timed: list[tuple[float, int, Asker]] = []
        self._ready: deque[Asker] = deque()
        self._arrivals = itertools.count()  # of equal slots the first to come goes first
        self._out: set[Permit] = set()
        # what is known of the shared row, and what it is to know
        self._declared = False
        self._terms: Terms | None = None
        self._leases = Leases()
        self._tally = Tally()
        self._said = Tally()  # what the turn under way reports
        self._trying: Asker | None = None  # it wants to be the trial
        self._trial_ours = False  # and may be
        self._turned_away = 0  # runs that were told to wait for the breaker in this era
        self._called_since = False  # permits were given since the last turn
        # the turn
        self._turn: asyncio.Task[None] | None = None
        self._number = 0
        self._turned_at = 0.0
        self._failures = 0  # in a row
        self._retry_at = 0.0
        # steps
        self._stepping = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # What the worker says ---------------------------------------------------------------------------------------------

    def forget_time(self) -> None:
        """Ask for the terms anew before anything is sent: the database's time was moved."""
        self._terms = None

    def ask(self, asker: Asker) -> None:
        """One more wants to call."""
        if asker.worker > self._worker:
            self._begin_anew(asker.worker)
        self._new.append(asker)
        self._soon()

    def back(self, permit: Permit, *, answered: bool | None) -> None:
        """A call has ended. Said twice, or of a call of a worker id that is dead, it means nothing."""
        if permit not in self._out:
            return
        self._out.discard(permit)
        if permit.leased:
            self._leases.end(time.monotonic())
        self._tally.count(permit.era, answered=answered, trial=permit.trial)
        self._soon()

    async def close(self) -> None:
        """Give back what is not in use, and report what is known."""
        self._closed = True
        self._set_timer(None)
        if self._turn is not None:
            await asyncio.gather(self._turn, return_exceptions=True)
        self._new, self._timed, self._ready = [], [], deque()
        if self._trial_ours:
            self._tally.unsent, self._trial_ours = True, False
        if self._tally.pending or not self._leases.settled(0):
            await self._take_turn()

    def _begin_anew(self, worker: int) -> None:
        """This process has another worker id: what it held under the old one is not its own any more."""
        self._worker, self._number = worker, 0
        self._leases, self._out = Leases(), set()
        self._trying, self._trial_ours = None, False

    # One step: whatever can be decided now ----------------------------------------------------------------------------

    def _soon(self) -> None:
        """Step when the loop gets to it: all who ask in one round of the loop are one batch, and nobody is re-entered."""
        if not self._stepping and not self._closed:
            self._stepping = True
            self._loop.call_soon(self._step)

    def _step(self) -> None:
        self._stepping = False
        if self._closed:
            return
        now = time.monotonic()
        if self._terms is not None and self._terms.tells_time(now):
            self._admit(self._terms, now)
            self._ripen(now)
            self._serve(self._terms, now)
        self._plan(now)

    def _admit(self, terms: Terms, now: float) -> None:
        """From *new*: to those who have a slot that is near, or away until it is."""
        asking, self._new = self._new, []
        for asker in asking:
            slot = asker.slot
            if terms.declared.spacing_s is None:
                asker.slot, asker.patient_until = None, now + NEAR_S
                self._ready.append(asker)
            elif slot is None or terms.lapses(slot) <= now:
                asker.slot = None
                self._new.append(asker)
            elif (opens := terms.opens(slot)) <= now + NEAR_S:
                heapq.heappush(self._timed, (opens, next(self._arrivals), asker))
            else:
                self._tell(asker, Wait(slot - LEAD_S, self._why_slot(terms, now), slot))

    def _why_slot(self, terms: Terms, now: float) -> str:
        if terms.open_until is not None and self._pausing(terms, now):
            return why_open(self.name, terms.open_until)
        return why_rate(self.name, terms.declared)

    def _ripen(self, now: float) -> None:
        """From *timed* to *ready*: its slot has come."""
        while self._timed and self._timed[0][0] <= now:
            self._ready.append(heapq.heappop(self._timed)[2])

    def _serve(self, terms: Terms, now: float) -> None:
        """From *ready*: those who may call are told so, and those who would wait for long. What stops one stops all behind."""
        while self._ready:
            asker = self._ready[0]
            said = self._decide(terms, asker, now)
            if said is not None:
                self._ready.popleft()
                self._tell(asker, said)
            elif asker.slot is None and terms.declared.spacing_s is not None:
                self._ready.popleft()
                self._new.append(asker)
            else:
                break
        if self._trying is not None and self._trying not in self._ready:
            self._trying = None
        if self._trial_ours and self._trying is None:
            self._trial_ours, self._tally.unsent = False, True
        limit = terms.declared.concurrency
        while limit and len(self._ready) > self._leases.pace(now, limit) * NEAR_S:
            self._tell(self._ready.pop(), self._queue_elsewhere(terms, limit, now))

    def _decide(self, terms: Terms, asker: Asker, now: float) -> Permit | Wait | None:
        """What to tell one whose slot has come. None: nothing yet, or, if its slot was taken away, nothing before another."""
        if asker.worker != self._worker:
            return self._fenced(asker)
        if not self._fresh(terms, asker, now):
            return None
        state = state_of(terms, terms.database_time(now))
        if state is State.CLOSED or self._may_try(state, asker):
            return self._at_leases(terms, asker, now, state)
        if state is State.OPEN and terms.declared.spacing_s is not None:
            asker.slot = None  # the next one lies after the pause
            return None
        return self._turn_away(terms, now, state)

    def _at_leases(
        self, terms: Terms, asker: Asker, now: float, state: State
    ) -> Permit | Wait | None:
        """The breaker would let it through. Last of all, does its slot still live?"""
        if (limit := terms.declared.concurrency) is not None and self._leases.free <= 0:
            if now < _patient_until(terms, asker):
                return None
            return self._queue_elsewhere(terms, limit, now)
        if asker.slot is not None and terms.lapses(asker.slot) <= now:
            asker.slot = None  # this worker was too slow
            return None
        if state is State.HALF_OPEN:
            self._trying, self._trial_ours = asker, False
            return None
        return self._permit(terms, asker, now, trial=state is State.ON_TRIAL)

    def _may_try(self, state: State, asker: Asker) -> bool:
        """Is it this one that may be, or may ask to be, the trial?"""
        if state is State.ON_TRIAL:
            return self._trial_ours and self._trying is asker
        return state is State.HALF_OPEN and self._trying in {None, asker}

    def _queue_elsewhere(self, terms: Terms, limit: int, now: float) -> Wait:
        wait_s = self._leases.again_s(now, limit)
        return Wait(terms.database_time(now) + wait_s, why_busy(self.name, limit))

    def _turn_away(self, terms: Terms, now: float, state: State) -> Wait:
        """The breaker lets it through at no time that is known: come again."""
        at = terms.database_time(now)
        until = at + wait_s(terms, at, self._turned_away, self._draw())
        self._turned_away += 1
        if state is State.OPEN and terms.open_until is not None:
            return Wait(until, why_open(self.name, terms.open_until))
        return Wait(until, why_trial(self.name))

    def _fenced(self, asker: Asker) -> Wait:
        """Its run belongs to others by now; should it still be here, it may ask under the new id."""
        return Wait(self._clock.now(), "its worker was declared dead", asker.slot)

    def _permit(self, terms: Terms, asker: Asker, now: float, *, trial: bool) -> Permit:
        leased = terms.declared.concurrency is not None
        if leased:
            self._leases.use(now)
        if trial:
            self._trying, self._trial_ours = None, False
        self._called_since = True
        expires = now + BRIEFLY_S if asker.slot is None else terms.lapses(asker.slot)
        permit = Permit(self.name, expires, terms.era, trial=trial, leased=leased)
        self._out.add(permit)
        return permit

    def _tell(self, asker: Asker, said: Permit | Wait) -> None:
        """As an event of its own: what it does about it may come back to us, and must not fail here."""
        self._loop.call_soon(asker.told, said)

    # When to take a turn ----------------------------------------------------------------------------------------------

    def _fresh(self, terms: Terms, asker: Asker, now: float) -> bool:
        """Do we know enough to let it call?"""
        if terms.declared.concurrency is not None and asker.in_flight_s > self._leases.in_flight_s:
            return False
        if self._tally.decides(terms) or self._said.decides(terms):
            return False  # what this worker has seen moves the breaker, and is being told
        return terms.declared.breaker_failures is None or now - terms.read_at < _FRESH_S

    def _pausing(self, terms: Terms, now: float) -> bool:
        """The breaker is open: new slots are reserved for later anyway, so many at once."""
        return state_of(terms, terms.database_time(now)) is State.OPEN

    def _plan(self, now: float) -> None:
        """Take a turn now, or look again when something is due."""
        due = [opens for opens, _, _ in self._timed[:1]]
        if self._turn is None:
            urgent = self._urgent(now)
            if urgent and now >= self._retry_at:
                self._turn = self._loop.create_task(self._take_turn(), name=f"turn {self.name}")
                self._turn.add_done_callback(self._turned)
            elif urgent or self._wants_turn():
                due.append(max(self._turned_at + POLL_S, self._retry_at))
        if self._terms is not None and self._ready:
            due.append(_patient_until(self._terms, self._ready[0]))
        # What is overdue waits for a turn, and its end is a step.
        self._set_timer(min((at for at in due if at > now), default=None))

    def _urgent(self, now: float) -> bool:
        """Does somebody wait for a turn, or will others suffer without one?"""
        terms = self._terms
        if terms is None or not terms.tells_time(now):
            return bool(self._new or self._ready or self._timed)
        demand = min(self._leases.used + len(self._ready), terms.declared.concurrency or 0)
        return (
            (bool(self._new) and not self._pausing(terms, now))
            or (bool(self._ready) and not self._fresh(terms, self._ready[0], now))
            or (self._trying is not None and not self._trial_ours)
            or self._tally.decides(terms)
            or demand > self._leases.demanded
            or self._leases.owes(len(self._ready))
            or (self._wants_turn() and now >= self._turned_at + POLL_S)
        )

    def _wants_turn(self) -> bool:
        """Is there something to say that may wait a little?"""
        if self._terms is None:
            return False
        declared = self._terms.declared
        breaks, shares = declared.breaker_failures is not None, declared.concurrency is not None
        return (
            bool(self._new)
            or (breaks and self._tally.pending)
            or (shares and not self._leases.settled(len(self._ready)))
            or ((breaks or shares) and self._called_since)
        )

    # The turn ---------------------------------------------------------------------------------------------------------

    async def _take_turn(self) -> None:
        """Say and ask all there is; a failure is logged, and the next turn says and asks it again."""
        terms, askers = self._terms, [asker for asker in self._new if asker.slot is None]
        spacing = self.declaration.spacing_s if terms is None else terms.declared.spacing_s
        waiting = len(self._ready)
        if spacing is None:
            waiting += len(self._new)
        else:
            askers = askers[: slots_at_once(spacing)]
        self._said = tally = self._tally
        self._tally = Tally(tally.era)
        longest = max((asker.in_flight_s for asker in self._everybody()), default=0.0)
        kept, demand = self._leases.keep(waiting, spare=not self._closed)
        self._number += 1
        self._called_since = False
        turn = store.Turn(
            self.name,
            self._worker,
            self._number,
            len(askers),
            tally,
            trial=self._trying is not None and not self._trial_ours,
            in_flight_s=max(longest, self._leases.in_flight_s),
            kept=kept,
            demand=demand,
        )
        try:
            async with asyncio.timeout(_TURN_LIMIT_S), self._line.turn() as connection:
                if not self._declared:
                    await store.declare(
                        connection, self._line.q, self.name, turn.worker, self.declaration
                    )
                    self._declared = True
                answer = await store.take_turn(connection, self._line.q, turn)
        except (DatabaseError, StoreError, OSError) as error:
            self._said = Tally(tally.era)
            self._not_answered(turn, error)
        else:
            self._said = Tally(tally.era)
            self.turns += 1
            if answer is None:  # somebody has deleted the row
                self._declared, self._failures = False, 0
            else:
                self._answered(answer, turn, askers)

    def _answered(self, answer: store.Answer, turn: store.Turn, askers: list[Asker]) -> None:
        older = self._terms.reading if self._terms and self._failures == 0 else None
        terms = dataclasses.replace(answer.terms, reading=answer.terms.reading.better(older))
        self._terms, self._failures = terms, 0
        if terms.era != self._tally.era:
            self._tally, self._turned_away = Tally(terms.era), 0
        if answer.first_slot is not None and terms.declared.spacing_s is not None:
            for place, asker in enumerate(askers):
                asker.slot = answer.first_slot + place * terms.declared.spacing_s
        if turn.worker == self._worker:
            self._trial_ours = self._trial_ours or answer.trial
            if terms.declared.concurrency is not None:
                self._leases.exchanged(
                    answer.held,
                    answer.share,
                    answer.lacking,
                    turn.demand,
                    turn.in_flight_s,
                    terms.read_at,
                )

    def _not_answered(self, turn: store.Turn, error: BaseException) -> None:
        """Nobody gets permission, and nobody is forgotten."""
        self._tally.merge(turn.tally)
        self._leases.unsure()
        wait_s = _RETRY_S[min(self._failures, len(_RETRY_S) - 1)]
        self._failures += 1
        self._retry_at = time.monotonic() + wait_s
        if failure_of(error) is Failure.FENCED:
            for asker in self._everybody():
                if asker.worker == turn.worker:
                    self._tell(asker, self._fenced(asker))
            self._new = [asker for asker in self._new if asker.worker != turn.worker]
            self._ready = deque(asker for asker in self._ready if asker.worker != turn.worker)
            self._timed = [entry for entry in self._timed if entry[2].worker != turn.worker]
            heapq.heapify(self._timed)
        elif self._failures == 1:
            log.warning("calls to %s wait for the database: %s", self.name, error)
        else:
            log.info("calls to %s still wait for the database: %s", self.name, error)

    def _everybody(self) -> list[Asker]:
        return [*self._new, *self._ready, *(asker for _, _, asker in self._timed)]

    def _turned(self, task: asyncio.Task[None]) -> None:
        self._turn = None
        self._turned_at = time.monotonic()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._retry_at = self._turned_at + _RETRY_S[-1]
            log.error("a bug in troth: the traffic to %s", self.name, exc_info=error)
        self._soon()

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(at, self._step)


def _patient_until(terms: Terms, asker: Asker) -> float:
    """How long it waits in memory for a lease: for as long as its slot lives, or a moment."""
    return asker.patient_until if asker.slot is None else terms.lapses(asker.slot)
