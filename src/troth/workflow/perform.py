"""Performs calls: runs the bodies of steps, sleeps and receives, and tells the engine what came out.

Transactions and effects have files of their own. An attempt that ended without an answer is a row,
and the wait until the next one is kept by the journal, not by memory: it survives the worker.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from troth.base import codec, resources
from troth.base.errors import PayloadError, Refused
from troth.effect.traffic import Traffic
from troth.journal.model import Entry, Kind, Reason
from troth.workflow.calls import (
    CallState,
    PendingCall,
    ReceiveCall,
    SettledCall,
    SleepCall,
    TimedOut,
    UndoCall,
)
from troth.workflow.consequences import EffectDefinition
from troth.workflow.context import StepContext, step_context
from troth.workflow.definition import StepDefinition, StepKind
from troth.workflow.effects import Effects
from troth.workflow.engine import Engine
from troth.workflow.failures import describe, describe_briefly, encode_answer, is_answer
from troth.workflow.family import is_going
from troth.workflow.minutes import STEP
from troth.workflow.run import ActiveRun
from troth.workflow.telling import ABANDONED
from troth.workflow.transact import Transactor

log = logging.getLogger("troth.workflow")


class StepPerformer:
    """Performs every kind of call for one engine."""

    def __init__(
        self,
        engine: Engine,
        transactor: Transactor,
        traffic: Traffic,
        threads: ThreadPoolExecutor,
        opened: resources.OpenResources | None = None,
    ) -> None:
        self.resources = opened or resources.OpenResources(resources.ResourceRegistry())
        self._engine = engine
        self._transactor = transactor
        self._effects = Effects(engine, self, traffic)
        self._threads = threads
        self._loop = asyncio.get_running_loop()

    def perform(self, run: ActiveRun, call: PendingCall) -> None:
        """Begin a call. Whatever it does to the world, it does when the journal is durable up to here."""
        definition = call.definition
        if definition is not None:
            kind = definition.kind
            if kind is StepKind.STEP:
                self._next_attempt(run, call, definition, self._step)
            elif kind is StepKind.TRANSACTION:
                self._next_attempt(run, call, definition, self._transaction)
            else:
                assert isinstance(definition, EffectDefinition)
                self._effects.go_on(run, call, definition)
        elif isinstance(call, SleepCall):
            self._sleep(run, call)
        elif isinstance(call, ReceiveCall):
            self._receive(run, call)
        elif isinstance(call, SettledCall):
            self._settle(run, call)
        elif isinstance(call, UndoCall):
            self._cannot_undo(run, call)
        else:
            self._engine.children.perform(run, call)

    # Time and messages -----------------------------------------------------------------------------------------------

    def _sleep(self, run: ActiveRun, call: SleepCall) -> None:
        due = self._deadline(run, call, call.seconds)
        assert due is not None
        self._engine.wait(run, call, due, lambda: self._engine.answer(run, call, b"null", None))

    def _receive(self, run: ActiveRun, call: ReceiveCall) -> None:
        due = self._deadline(run, call, call.timeout_s)
        self._engine.wait(run, call, due, lambda: self._timed_out(run, call))

    def _timed_out(self, run: ActiveRun, call: ReceiveCall) -> None:
        def nothing_came() -> None:
            if call.state is not CallState.SETTLED and run.id in self._engine.runs:
                self._engine.answer(run, call, b"null", TimedOut(), ok=False)

        # A last look: a message that came in time counts, even if nobody rang.
        self._engine.look([run.id]).after.append(nothing_came)

    def _deadline(self, run: ActiveRun, call: PendingCall, seconds: float | None) -> float | None:
        """When the wait ends, in database time; fixed when it begins, and kept."""
        for entry in run.past.entries(call.path, Kind.WAIT):
            deadline: float | None = codec.decode(entry.payload or b"null")
            return deadline
        due = None if seconds is None else self._engine.clock.now() + seconds
        self._engine.note(run, call, Kind.WAIT, 0, codec.encode(due))
        return due

    # Sagas -----------------------------------------------------------------------------------------------------------

    def _settle(self, run: ActiveRun, call: SettledCall) -> None:
        """Wait until all that was sent has an outcome; what waits for its next attempt is looked at anew, since nobody
        wants it any more.
        """
        call.state = CallState.WAITING
        run.settling.append(call)
        for other in run.unsettled(call):
            if is_going(other):
                if not other.undoes:
                    run.stopping.append(other)
            elif not other.pinned and not other.undoes and self._engine.interrupt(run, other):
                self.perform(run, other)
        self._engine.schedule(run)

    def hurry(self, run: ActiveRun) -> None:
        """A cancellation waits for the point of no return: what was sent there is found out now, and what was not is not."""
        for call in list(run.calls.values()):
            hurries = call.path not in run.hurried and not call.pinned and run.is_on_the_way(call)
            if hurries and self._engine.interrupt(run, call):
                run.hurried.add(call.path)
                self.perform(run, call)

    def settled(self, run: ActiveRun, marker: SettledCall) -> None:
        """Everything that was sent in a scope has an outcome: undo it, unless the point of no return was passed."""
        assert marker.scope is not None
        pivot = next((d.path for d in marker.scope.to_undo() if d.definition.pivot), None)
        if pivot is None:
            self._engine.answer(run, marker, b"null", None)
            return
        said = (
            f"{pivot} is the point of no return, and the run failed after it: it can only go forward. Correct what made "
            f"it fail and resume from that step; or undo {pivot} by hand and settle {marker.path}: the rest is undone then."
        )
        self._engine.park(run, Reason.UNDO_FAILED, {"at": marker.path, "message": said})
        self.settled_without_answer(run, marker)

    def _cannot_undo(self, run: ActiveRun, call: UndoCall) -> None:
        child = call.target.run
        done = f"{call.target.path} (run {child})" if child else call.target.path
        said = (
            f"{done} was done and nobody has said how it is undone. Undo it by hand and settle it, or give it "
            "an undo and resume."
        )
        detail = {"at": call.path, "message": said}
        self._engine.park(run, Reason.UNDO_FAILED, detail | ({"run": str(child)} if child else {}))
        self.settled_without_answer(run, call)

    # Attempts --------------------------------------------------------------------------------------------------------

    def _next_attempt(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        body: Callable[[ActiveRun, PendingCall, StepDefinition[Any, Any], int], Any],
    ) -> None:
        """Begin an attempt, or wait until it is time for it."""
        failed = run.past.entries(call.path, Kind.ATTEMPT)
        if not run.wants(call):
            unwanted = Refused(f"nobody wants {call.path} any more")
            self.answered_no(run, call, definition, unwanted)
            return
        number = run.past.next_number(call.path, Kind.ATTEMPT)

        def begin() -> None:
            self.spawn(call, body(run, call, definition, number))

        due = _due_of(failed)
        if due is not None and due > self._engine.clock.now():
            self._engine.wait(run, call, due, begin)
        else:
            self._engine.when_durable(run, begin)

    def spawn(self, call: PendingCall, body: Coroutine[Any, Any, None]) -> bool:
        """Run a body as a task of the real loop, unless the call was given up while its intent was being written."""
        if call.state is not CallState.BUSY:
            body.close()
            return False
        context = contextvars.copy_context()
        context.run(resources.current.set, self.resources)
        call.task = asyncio.Task(body, loop=self._loop, context=context)
        return True

    async def _step(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], attempt: int
    ) -> None:
        self._engine.tell.begin(run, call, attempt)
        try:
            value = await self.invoke(run, call, definition, attempt)
        except Exception as error:  # noqa: BLE001  (decided by what the author declared)
            self._failed(run, call, definition, attempt, error)
        else:
            self._engine.tell.end(call, "done")
            self.succeeded(run, call, definition, value)

    async def _transaction(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], attempt: int
    ) -> None:
        self._engine.tell.begin(run, call, attempt)
        try:
            await self.resources.open_for(definition.function)
            await self._transactor.transact(run, call, definition, attempt)
        except Exception as error:  # noqa: BLE001  (decided by what the author declared)
            self._failed(run, call, definition, attempt, error)
        else:
            done = call.state is CallState.SETTLED
            self._engine.tell.end(call, "done" if done else ABANDONED)
            if done:
                self._engine.tell.minutes.add(run.workflow.name, STEP)

    def succeeded(
        self, run: ActiveRun, call: PendingCall, definition: StepDefinition[Any, Any], value: Any
    ) -> None:
        try:
            payload = definition.result.encode(value)
            value = definition.result.echo(value, payload)
        except PayloadError as error:
            self._engine.park(run, Reason.POISON, {"at": call.path, "message": str(error)})
            self.settled_without_answer(run, call)
        else:
            self._engine.answer(run, call, payload, value)

    def _failed(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        attempt: int,
        error: Exception,
    ) -> None:
        """A body raised: a business answer, a reason to try again, or a bug."""
        answer = is_answer(error, definition.fails_on)
        self._engine.tell.end(call, "refused" if answer else "failed", error)
        if answer and not isinstance(call, UndoCall):
            self.answered_no(run, call, definition, error)
            return
        since = min((e.at for e in run.past.entries(call.path, Kind.ATTEMPT)), default=None)
        elapsed_s = 0.0 if since is None else self._engine.clock.now() - since
        wait_s = definition.retry.wait_s(
            attempt - run.past.forgiven(call.path), elapsed_s=elapsed_s
        )
        self._engine.tell.retry(run, call, attempt, wait_s, describe_briefly(error))
        detail = {"at": call.path, "attempt": attempt, **describe(error)}
        if wait_s is not None:
            due = self._engine.clock.now() + wait_s
            self._engine.note(
                run, call, Kind.ATTEMPT, attempt, codec.encode({**detail, "due": due})
            )
            log.warning("%s of run %s failed, attempt %d: %r", call.path, run.id, attempt, error)
            self.perform(run, call)
            return
        exhausted = definition.retry.attempts > 1
        if exhausted:
            self._engine.note(run, call, Kind.ATTEMPT, attempt, codec.encode(detail))
        reason = Reason.RETRIES_EXHAUSTED if exhausted else Reason.BUG
        self._engine.park(run, Reason.UNDO_FAILED if isinstance(call, UndoCall) else reason, detail)
        self.settled_without_answer(run, call)

    def answered_no(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        error: Exception,
    ) -> None:
        self.refuse(run, call, encode_answer(error, definition.fails_on))

    def refuse(self, run: ActiveRun, call: PendingCall, payload: bytes) -> None:
        """Answer with a recorded refusal."""
        entry = Entry(run.id, call.path, Kind.RESULT, 0, 0, False, None, payload, 0.0)
        try:
            call.restore(entry)
        except Exception as restored:  # noqa: BLE001  (what a replay will raise)
            self._engine.answer(run, call, payload, None, restored, ok=False)

    def settled_without_answer(self, run: ActiveRun, call: PendingCall) -> None:
        call.state = CallState.SETTLED
        self._engine.schedule(run)

    async def invoke(
        self,
        run: ActiveRun,
        call: PendingCall,
        definition: StepDefinition[Any, Any],
        attempt: int,
    ) -> Any:
        """Run a body with its arguments restored from what is recorded of them."""
        await self.resources.open_for(definition.function)
        body, args, kwargs = self.prepare(call, definition, ())
        self.enter(run, call, attempt)
        if definition.is_async:
            return await body(*args, **kwargs)
        return await self.in_thread(functools.partial(body, *args, **kwargs))

    def enter(self, run: ActiveRun, call: PendingCall, attempt: int) -> None:
        """From here on this context is that of a body."""
        worker = self._engine.writer.worker
        step_context.set(StepContext(run.id, call.path, run.workflow.name, attempt, worker))

    @staticmethod
    def prepare(
        call: PendingCall, definition: StepDefinition[Any, Any], first: tuple[Any, ...]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """A body and all of its arguments."""
        if call.args is not None:
            return definition.function, (*first, *call.args), {}
        args, kwargs = definition.arguments.decode(call.encoded)
        return definition.function, (*first, *args), kwargs

    def in_thread(self, body: Callable[[], Any]) -> asyncio.Future[Any]:
        """Run a function in a thread of the steps', in the context of whoever asks."""
        context = contextvars.copy_context()
        return self._loop.run_in_executor(self._threads, context.run, body)


def _due_of(failed: list[Entry]) -> float | None:
    due: float | None = codec.decode(failed[-1].payload or b"{}").get("due") if failed else None
    return due
