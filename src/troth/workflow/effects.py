"""Effects: an intent is durable, then the call is made, then its outcome is recorded.

What may be done when there is no answer is decided by `troth.effect.rules`; here it is carried out.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from troth.base import codec
from troth.base.errors import PayloadError, Refused, UsageError
from troth.base.resources import ResourceError
from troth.effect.clients import has_answered, judge
from troth.effect.model import SEND_WITHIN_S, Call, Found, Judgement, Outcome, Unknown
from troth.effect.rules import Move, key_is_known, next_move
from troth.effect.traffic import Permit, Traffic, Wait
from troth.journal.model import Kind, Reason
from troth.workflow.calls import CallState, OutcomeCall, PendingCall, UndoCall
from troth.workflow.consequences import EffectDefinition
from troth.workflow.departure import Departure
from troth.workflow.engine import Engine
from troth.workflow.failures import describe_briefly, encode_answer, is_answer
from troth.workflow.record import (
    evidence_found,
    first_sent,
    history_of,
    key_of,
    probe_record,
    refusal_of,
    reserved_slot,
    story,
)
from troth.workflow.run import ActiveRun

if TYPE_CHECKING:
    from troth.workflow.perform import StepPerformer

log = logging.getLogger("troth.workflow")

LONGEST_RETRY_AFTER_S = 86_400.0  # whoever asks for more time than a day is asked again after a day

_Effect = EffectDefinition[Any, Any]


class Effects:
    """Performs the effects of one engine."""

    def __init__(self, engine: Engine, bodies: StepPerformer, traffic: Traffic) -> None:
        self._engine = engine
        self._tell = engine.tell
        self._bodies = bodies
        self._traffic = traffic
        # Attempts whose time is over, and whose thread may still be at work.
        self._threads: set[tuple[PendingCall, int]] = set()

    def go_on(self, run: ActiveRun, call: PendingCall, definition: _Effect) -> None:
        """Do what the record of this effect allows now."""
        history = history_of(run, call)
        now_s = self._engine.clock.now()
        again = functools.partial(self.go_on, run, call, definition)
        # A thread that is still at work may yet tell what happened: stay in memory for it.
        pinned = self._at_work(call)
        match next_move(definition.effect, history, now_s, wanted=run.wants(call)):
            case Move.SEND:
                self._depart(run, call, definition, run.past.next_number(call.path, Kind.INTENT))
            case Move.WAIT:
                self._tell.sent_again(run, call, history, now_s)
                self._engine.wait(run, call, history.due_s, again, pinned=pinned)
            case Move.WAIT_OUT:
                # Its sender's clock is not ours: count the time in which it can be on its way from
                # now, when the sender has provably lost the run, and stay in memory meanwhile.
                lost = functools.partial(self._lost, run, call, definition, history.attempts)
                due_s = now_s + definition.effect.in_flight_s
                self._engine.wait(run, call, due_s, lost, pinned=True)
            case Move.PROBE:
                self._bodies.spawn(call, self._ask(run, call, definition))
            case Move.WAIT_TO_PROBE:
                self._engine.wait(run, call, history.probe_due_s, again, pinned=pinned)
            case Move.ACCEPT:
                self._accept(run, call, definition)
            case Move.REFUSE:
                self._bodies.refuse(run, call, refusal_of(run, call))
            case Move.DROP | Move.DOUBT | Move.GIVE_UP as end:
                self._leave(run, call, definition, end)

    def _leave(self, run: ActiveRun, call: PendingCall, definition: _Effect, end: Move) -> None:
        """Nothing more will be tried: whoever waits is told, or a person is."""
        history = history_of(run, call)
        lost = history.attempts > 0 and history.last_outcome is None
        if end is Move.DROP and not (history.unknown or lost):
            message = f"nobody wants {call.path} any more, and it did not happen"
            self._bodies.answered_no(run, call, definition, Refused(message))
        elif end is Move.DROP:
            self._leave_unknown(run, call, f"{call.path} may have happened, and may stand")
        elif isinstance(call, OutcomeCall) and run.wants(call):
            message = story(run, call, definition)["message"]
            if end is Move.GIVE_UP:
                self._bodies.answered_no(run, call, definition, Refused(message))
            else:
                self._leave_unknown(run, call, message)
        elif end is Move.GIVE_UP:
            self._park(run, call, definition, Reason.RETRIES_EXHAUSTED)
        else:
            self._park(run, call, definition, Reason.IN_DOUBT)

    def _leave_unknown(self, run: ActiveRun, call: PendingCall, message: str) -> None:
        said = codec.encode({"message": message})
        self._engine.answer(run, call, said, Unknown(message), ok=None)

    # Sending ----------------------------------------------------------------------------------------------------------

    def _depart(self, run: ActiveRun, call: PendingCall, definition: _Effect, attempt: int) -> None:
        """Send it, when its provider may be called: that is asked before the intent, so that what waits is not in doubt."""
        if not self._bodies.resources.is_ready_for(definition.function):
            self._bodies.spawn(call, self._open(run, call, definition, attempt))
            return
        provider = definition.effect.provider
        if provider is None or not provider.limited:
            self._intend(run, call, definition, attempt, None)
            return
        self._traffic.ask(
            provider,
            functools.partial(self._may_depart, run, call, definition, attempt),
            worker=self._engine.writer.worker,
            in_flight_s=definition.effect.in_flight_s,
            slot=reserved_slot(run, call),
        )

    async def _open(
        self, run: ActiveRun, call: PendingCall, definition: _Effect, attempt: int
    ) -> None:
        """Open what its body needs, before the intent. If that fails, so has the attempt, and it is known not to be sent."""
        try:
            await self._bodies.resources.open_for(definition.function)
        except (ResourceError, UsageError) as error:
            self._engine.note(run, call, Kind.INTENT, attempt, call.encoded)
            not_sent = Judgement(Outcome.NOT_DONE, f"{error}. It was not sent")
            self._no_answer(run, call, definition, attempt, not_sent)
        else:
            self.go_on(run, call, definition)

    def _may_depart(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        answer: Permit | Wait,
    ) -> None:
        under_way = not run.disposed and call.state is CallState.BUSY
        if not (under_way and run.wants(call)):
            if isinstance(answer, Permit):
                self._traffic.back(answer, answered=None)
            if under_way:
                self.go_on(run, call, definition)
        elif isinstance(answer, Permit):
            self._intend(run, call, definition, attempt, answer)
        else:
            until, number = answer.until, run.past.next_number(call.path, Kind.WAIT)
            wait = {"until": until, "because": answer.because, "slot": answer.slot}
            self._tell.held(run, call, until - self._engine.clock.now(), answer.because)
            self._engine.note(run, call, Kind.WAIT, number, codec.encode(wait))
            again = functools.partial(self.go_on, run, call, definition)
            self._engine.wait(run, call, until, again)

    def _intend(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        permit: Permit | None,
    ) -> None:
        send_by = time.monotonic() + SEND_WITHIN_S
        if permit is not None:
            send_by = min(send_by, permit.expires)
        self._engine.note(run, call, Kind.INTENT, attempt, call.encoded)
        self._tell.intended(run, call, attempt, key_of(run, call))

        def durable() -> None:
            sending = self._send(run, call, definition, attempt, Departure(send_by), permit)
            if not self._bodies.spawn(call, sending) and permit is not None:
                self._traffic.back(permit, answered=None)

        self._engine.when_durable(run, durable)

    async def _send(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        departure: Departure,
        permit: Permit | None,
    ) -> None:
        info = self._call(run, call, attempt, definition.effect.timeout_s)
        late = functools.partial(self._answered_late, run, call, definition, attempt)
        answered: bool | None = None
        self._tell.sent(run, call, info)
        try:
            value = await self._invoke(run, call, definition, info, departure, late)
        except Exception as error:  # noqa: BLE001  (decided by the table of outcomes)
            if departure.withdrawn():
                judged = Judgement(Outcome.NOT_DONE, "this process was held up: it was not sent")
            else:
                answered = has_answered(error)
                judged = self._judge(definition, error)
            self._tell.answered(run, call, attempt, judged, error)
            self._judged(run, call, definition, attempt, error, judged)
        else:
            answered = True
            self._tell.answered(run, call, attempt, Judgement(Outcome.DONE, ""))
            self._bodies.succeeded(run, call, definition, value)
        finally:
            if permit is not None:
                self._traffic.back(permit, answered=answered)

    async def _invoke(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        info: Call,
        departure: Departure,
        late: Callable[[asyncio.Future[Any]], None],
    ) -> Any:
        """Run the body within its time. A coroutine that is late is cancelled; a thread cannot be, and is listened to."""
        body, args, kwargs = self._bodies.prepare(call, definition, (info,))
        self._bodies.enter(run, call, info.attempt)
        async with asyncio.timeout(definition.effect.timeout_s):
            if definition.is_async:
                departure.begin()
                return await body(*args, **kwargs)

            def in_its_thread() -> Any:
                departure.begin()
                return body(*args, **kwargs)

            thread = self._bodies.in_thread(in_its_thread)
            try:
                return await asyncio.shield(thread)
            except asyncio.CancelledError:
                if departure.withdrawn():
                    thread.add_done_callback(_heard)  # that it did not begin
                else:
                    self._threads.add((call, info.attempt))
                    thread.add_done_callback(late)
                raise

    def _at_work(self, call: PendingCall) -> bool:
        return any(late is call for late, _ in self._threads)

    def _call(self, run: ActiveRun, call: PendingCall, attempt: int, limit_s: float) -> Call:
        return Call(
            key=key_of(run, call),
            attempt=attempt,
            fence=run.claim,
            deadline=self._engine.clock.now() + limit_s,
            first_sent=first_sent(run, call),
        )

    @staticmethod
    def _judge(definition: _Effect, error: Exception) -> Judgement:
        """What an exception means."""
        if is_answer(error, definition.fails_on):
            return Judgement(Outcome.REFUSED, describe_briefly(error))
        provider = definition.effect.provider
        return judge(error, provider.judge if provider else None)

    # What came of it --------------------------------------------------------------------------------------------------

    def _judged(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        error: Exception,
        judged: Judgement,
    ) -> None:
        """A refusal answers the workflow, by the exception that its author knows; an undo that is refused asks a person."""
        if judged.outcome is not Outcome.REFUSED:
            self._no_answer(run, call, definition, attempt, judged)
        elif isinstance(call, UndoCall):
            detail = {"outcome": judged.outcome.value, "message": judged.message}
            self._engine.note(run, call, Kind.ATTEMPT, attempt, codec.encode(detail))
            self._park(run, call, definition, Reason.UNDO_FAILED)
        else:
            refusal = error if is_answer(error, definition.fails_on) else Refused(judged.message)
            self._refused(run, call, definition, attempt, refusal)

    def _refused(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        refusal: Exception,
    ) -> None:
        """A refusal is the answer, unless an earlier attempt may have happened: of that one it says nothing.

        If the provider recognises the key, it does: the first definite answer to a key is its answer.
        """
        history = history_of(run, call)
        known = key_is_known(
            definition.effect,
            first_sent_s=first_sent(run, call),
            now_s=self._engine.clock.now(),
        )
        if not history.found and (known or not history.unknown):
            self._bodies.answered_no(run, call, definition, refusal)
            return
        detail = {
            "outcome": Outcome.REFUSED.value,
            "message": describe_briefly(refusal),
            "refusal": codec.decode(encode_answer(refusal, definition.fails_on)),
        }
        self._engine.note(run, call, Kind.ATTEMPT, attempt, codec.encode(detail))
        self.go_on(run, call, definition)

    def _lost(self, run: ActiveRun, call: PendingCall, definition: _Effect, attempt: int) -> None:
        lost = Judgement(Outcome.UNKNOWN, "its worker was lost before it recorded an outcome")
        self._tell.outcome(run, call, attempt, lost.outcome, "takeover", lost.message)
        self._no_answer(run, call, definition, attempt, lost)

    def _no_answer(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        judged: Judgement,
    ) -> None:
        """Record how the attempt ended, and decide anew."""
        outcome, message = judged.outcome.value, judged.message
        log.warning("%s of run %s: %s: %s", call.path, run.id, outcome, message)
        detail: dict[str, Any] = {"outcome": outcome, "message": message}
        now_s = self._engine.clock.now()
        wait_s = definition.retry.wait_s(
            attempt - run.past.forgiven(call.path),
            elapsed_s=now_s - first_sent(run, call),
            at_least_s=min(judged.retry_after_s or 0.0, LONGEST_RETRY_AFTER_S),
        )
        if wait_s is not None:
            detail["due"] = now_s + wait_s
        self._engine.note(run, call, Kind.ATTEMPT, attempt, codec.encode(detail))
        self.go_on(run, call, definition)

    def _answered_late(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: _Effect,
        attempt: int,
        thread: asyncio.Future[Any],
    ) -> None:
        """A thread that could not be stopped has come to an end after its time: what it says is evidence."""
        self._threads.discard((call, attempt))
        detail: dict[str, Any] = {"answer": "late"}
        error = None if thread.cancelled() else thread.exception()
        if error is None and not thread.cancelled():
            try:
                payload = definition.result.encode(thread.result())
            except PayloadError as unstorable:
                detail |= {"outcome": Outcome.UNKNOWN.value, "message": str(unstorable)}
            else:
                detail |= {"outcome": Outcome.DONE.value, "value": codec.decode(payload)}
        elif isinstance(error, Exception):
            judged = self._judge(definition, error)
            detail |= {"outcome": judged.outcome.value, "message": judged.message}
        said = Outcome(detail.get("outcome", Outcome.UNKNOWN))
        self._tell.outcome(run, call, attempt, said, "late", detail.get("message"))
        self._engine.note_late(run, call, Kind.EVIDENCE, -attempt, codec.encode(detail))
        if not run.disposed and self._engine.interrupt(run, call):
            self.go_on(run, call, definition)

    def _accept(self, run: ActiveRun, call: PendingCall, definition: _Effect) -> None:
        """What was found is the answer."""
        payload = codec.encode(evidence_found(run, call))
        try:
            value = definition.result.decode(payload)
        except PayloadError as error:
            self._engine.park(run, Reason.POISON, {"at": call.path, "message": str(error)})
            self._bodies.settled_without_answer(run, call)
        else:
            self._engine.answer(run, call, payload, value)

    # Probing ----------------------------------------------------------------------------------------------------------

    async def _ask(self, run: ActiveRun, call: PendingCall, definition: _Effect) -> None:
        """One question to the other side; its answer is evidence, and may settle the effect."""
        probe = definition.asks
        assert probe is not None
        begun_s = self._engine.clock.now()
        number = run.past.next_number(call.path, Kind.EVIDENCE)
        info = self._call(run, call, number, probe.timeout_s)
        args, kwargs = definition.arguments.by_position(call.encoded)
        self._bodies.enter(run, call, number)
        self._tell.begin(run, call, number, "probe")
        answer: object
        try:
            await self._bodies.resources.open_for(probe.function)
            async with asyncio.timeout(probe.timeout_s):
                if probe.is_async:
                    answer = await probe.function(info, *args, **kwargs)
                else:
                    body = functools.partial(probe.function, info, *args, **kwargs)
                    answer = await self._bodies.in_thread(body)
            found = (
                codec.decode(definition.result.encode(answer.value))
                if isinstance(answer, Found)
                else None
            )
        except Exception as error:  # noqa: BLE001  (it could not find out)
            answer, found = error, None
        failed = answer if isinstance(answer, Exception) else None
        self._tell.end(call, "failed" if failed else "done", failed)
        record = probe_record(
            run, call, definition, answer, found, begun_s, self._engine.clock.now(),
            at_work=self._at_work(call),
        )  # fmt: skip
        log.info("probe %d of %s of run %s: %s", number, call.path, run.id, record["answer"])
        self._tell.probed(run, call, number, self._engine.clock.now() - begun_s, record)
        self._engine.note(run, call, Kind.EVIDENCE, number, codec.encode(record))
        self.go_on(run, call, definition)

    # Asking people ----------------------------------------------------------------------------------------------------

    def _park(self, run: ActiveRun, call: PendingCall, definition: _Effect, reason: Reason) -> None:
        """Only a person can go on: tell them what was sent, when, to whom, what came back, and what is at stake."""
        if isinstance(call, UndoCall) and reason is Reason.RETRIES_EXHAUSTED:
            reason = Reason.UNDO_FAILED
        told = story(run, call, definition)
        if reason is Reason.IN_DOUBT:
            self._tell.in_doubt(run, call, told)
        self._engine.park(run, reason, told)
        self._bodies.settled_without_answer(run, call)


def _heard(thread: asyncio.Future[Any]) -> None:
    if not thread.cancelled():
        thread.exception()
