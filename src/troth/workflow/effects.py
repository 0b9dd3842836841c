"""Effects: an intent is durable, then the call is made, then its outcome is recorded.

What may be done when there is no answer is decided by `troth.effect.rules`; here it is carried out.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from troth.base import codec
from troth.effect.model import SEND_WITHIN_S, Call, Outcome
from troth.effect.rules import History, Move, next_move, outcome_of
from troth.journal.model import Entry, Kind, Reason
from troth.workflow.definition import StepDefinition
from troth.workflow.engine import Engine
from troth.workflow.failures import is_answer
from troth.workflow.run import ActiveRun, PendingCall, forgiven

if TYPE_CHECKING:
    from troth.workflow.perform import StepPerformer

log = logging.getLogger("troth.workflow")

_LONGEST_KEY = 200  # characters; Stripe takes 255


class Effects:
    """Performs the effects of one engine."""

    def __init__(self, engine: Engine, bodies: StepPerformer) -> None:
        self._engine = engine
        self._bodies = bodies

    def go_on(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any]
    ) -> None:
        """Do what the record of this effect allows now."""
        history = history_of(run, call, definition)
        now_s = self._engine.clock.now()
        match next_move(definition.effect, history, now_s):
            case Move.SEND:
                self._intend(run, call, definition, history.attempts + 1)
            case Move.WAIT:
                again = functools.partial(self.go_on, run, call, definition)
                self._engine.wait(run, call, history.due_s, again)
            case Move.WAIT_OUT:
                # Its sender's clock is not ours: count the time in which it can be on its way from
                # now, when the sender has provably lost the run, and stay in memory meanwhile.
                lost = functools.partial(self._lost, run, call, definition, history.attempts)
                due_s = now_s + definition.effect.in_flight_s
                self._engine.wait(run, call, due_s, lost, pinned=True)
            case Move.DOUBT:
                self._park(run, call, definition, Reason.IN_DOUBT)
            case Move.GIVE_UP:
                self._park(run, call, definition, Reason.RETRIES_EXHAUSTED)

    def _intend(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], attempt: int
    ) -> None:
        send_by = time.monotonic() + SEND_WITHIN_S
        self._engine.note(run, call, Kind.INTENT, attempt, call.encoded)
        self._engine.when_durable(
            run,
            functools.partial(
                self._bodies.spawn, call, self._send, run, call, definition, attempt, send_by
            ),
        )

    async def _send(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        attempt: int,
        send_by: float,
    ) -> None:
        rules = definition.effect
        info = Call(
            key=key_of(run, call),
            attempt=attempt,
            fence=run.claim,
            deadline=self._engine.clock.now() + rules.timeout_s,
            first_sent=min(entry.at for entry in run.entries(call.path, Kind.INTENT)),
        )
        departure = _Departure(send_by)
        try:
            async with asyncio.timeout(rules.timeout_s):
                value = await self._bodies.invoke(run, call, definition, info, departure.begin)
        except Exception as error:  # noqa: BLE001  (decided by the table of outcomes)
            if departure.withdrawn():
                self._no_answer(run, call, definition, attempt, Outcome.NOT_DONE, "held up")
            elif is_answer(error, definition.fails_on):
                self._bodies.answered_no(run, call, definition, error)
            else:
                self._no_answer(run, call, definition, attempt, outcome_of(error), repr(error))
        else:
            self._bodies.succeeded(run, call, definition, value)

    def _lost(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], attempt: int
    ) -> None:
        message = "its worker was lost before it recorded an outcome"
        self._no_answer(run, call, definition, attempt, Outcome.UNKNOWN, message)

    def _no_answer(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        attempt: int,
        outcome: Outcome,
        message: str,
    ) -> None:
        """Record how the attempt ended, and decide anew."""
        log.warning("%s of run %s: %s: %s", call.path, run.id, outcome.value, message)
        detail: dict[str, Any] = {"outcome": outcome.value, "message": message}
        wait_s = definition.retry.wait_s(attempt - forgiven(run, call))
        if wait_s is not None:
            detail["due"] = self._engine.clock.now() + wait_s
        self._engine.note(run, call, Kind.ATTEMPT, attempt, codec.encode(detail))
        self.go_on(run, call, definition)

    def _park(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        reason: Reason,
    ) -> None:
        """Only a person can go on: tell them what was sent, when, to whom, and what came back."""
        intents = run.entries(call.path, Kind.INTENT)
        attempts = run.entries(call.path, Kind.ATTEMPT)
        said = [codec.decode(entry.payload or b"{}").get("message") for entry in attempts]
        verdict = "may or may not have happened" if reason is Reason.IN_DOUBT else "did not happen"
        provider = definition.effect.provider
        detail = {
            "at": call.path,
            "message": f"{call.path} {verdict}: {said[-1] if said else 'no answer'}",
            "provider": provider.name if provider else None,
            "key": key_of(run, call),
            "sent": codec.decode(call.encoded),
            "sent_at": [entry.at for entry in intents],
            "answers": said,
        }
        self._engine.park(run, reason, detail)
        self._bodies.settled_without_answer(run, call)


class _Departure:
    """May this attempt still be sent? Asked at the last moment: a `def` body may have waited for its thread."""

    def __init__(self, send_by: float) -> None:
        self._send_by = send_by
        self._lock = threading.Lock()
        self._begun = False
        self._withdrawn = False

    def begin(self) -> None:
        """In the thread of the body, just before it. Raises if it is not to run any more."""
        with self._lock:
            # This process was held up: a successor may be counting the time in which we could send.
            if self._withdrawn or time.monotonic() > self._send_by:
                raise TimeoutError
            self._begun = True

    def withdrawn(self) -> bool:
        """True if the body has not begun; then it never will."""
        with self._lock:
            self._withdrawn = not self._begun
            return self._withdrawn


def history_of(run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any]) -> History:
    """What the journal says of an effect, as the rules want it."""
    intents = run.entries(call.path, Kind.INTENT)
    if not intents:
        return History()
    # A person who said "it did not happen" has settled every attempt before.
    decided_at = max((e.at for e in run.entries(call.path, Kind.DECISION)), default=0.0)
    ended = {
        entry.attempt: codec.decode(entry.payload or b"{}")
        for entry in run.entries(call.path, Kind.ATTEMPT)
    }
    unknown = any(
        ended[entry.attempt].get("outcome") == Outcome.UNKNOWN.value
        for entry in run.entries(call.path, Kind.ATTEMPT)
        if entry.at > decided_at
    )
    last = max(intents, key=_attempt)
    said = ended.get(last.attempt)
    return History(
        attempts=last.attempt,
        first_sent_s=min(entry.at for entry in intents),
        last_outcome=Outcome(said["outcome"]) if said else None,
        unknown=unknown,
        due_s=said.get("due") if said else None,
        exhausted=definition.retry.wait_s(last.attempt - forgiven(run, call)) is None,
    )


def _attempt(entry: Entry) -> int:
    return entry.attempt


def key_of(run: ActiveRun, call: PendingCall) -> str:
    """The idempotency key of an effect: of its run and path, so the same for every attempt and worker."""
    key = f"{run.id}/{call.path}"
    if len(key) <= _LONGEST_KEY:
        return key
    return f"{run.id}/{hashlib.blake2b(call.path.encode(), digest_size=20).hexdigest()}"
