"""Child runs of one engine's runs: started, waited for, cancelled.

A start travels in the flush that records it. The end of a run leaves a message for every call that waits for it, in
the same commit; what is here hears it. So a run that waits costs a row, as one that waits for a message does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec

from troth.base import codec, ids
from troth.base.errors import KeyConflictError, PayloadError
from troth.journal.model import (
    CANCEL_TOPIC,
    Await,
    Batch,
    Entry,
    Kind,
    Message,
    Reason,
    Reply,
    RunState,
    Send,
    Start,
)
from troth.journal.starts import deadline_of, start_digest
from troth.workflow.calls import CallState, PendingCall
from troth.workflow.definition import Workflow
from troth.workflow.failures import encode_answer
from troth.workflow.family import ChildCall, EndCall, Ended, Order, StartCall, UndoChild, is_going
from troth.workflow.run import ActiveRun

if TYPE_CHECKING:
    from troth.workflow.engine import Engine

_AGAIN_S = 0.02  # a key or a row is locked: ask again


class _Starting(NamedTuple):
    run: ActiveRun
    call: StartCall | ChildCall
    start: Start
    workflow: Workflow[Any, Any]


class Children:
    """Starts, hears and cancels the children of one engine's runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._starting: dict[UUID, _Starting] = {}  # by the id of the child
        self._cancelling: dict[UUID, tuple[ActiveRun, EndCall]] = {}  # by the id of the message
        self._tasks: set[asyncio.Task[None]] = set()

    # Asking -----------------------------------------------------------------------------------------------------------

    def perform(self, run: ActiveRun, call: PendingCall) -> None:
        """Begin a call that is about another run."""
        if isinstance(call, StartCall):
            self._start_run(run, call)
        elif isinstance(call, ChildCall):
            self._start_child(run, call)
        elif isinstance(call, EndCall):
            self._await(run, call)

    def _start_run(self, run: ActiveRun, call: StartCall) -> None:
        begun = run.past.entries(call.path, Kind.CHILD)
        child = _child_of(begun[-1]) if begun else self._new_id(run)
        if not begun:
            self._engine.note(run, call, Kind.CHILD, 1, codec.encode({"run": str(child)}))
            call.begun = True
        if call.order.key is not None:
            # Sent again if it is not known what the key said: the key makes it the same start.
            self._send_start(run, call, call.order, child, call.end_path)
            return
        if not begun:
            self._send_start(run, call, call.order, child, call.end_path)
        self._answer_start(run, call, child, own=True)

    def _start_child(self, run: ActiveRun, call: ChildCall) -> None:
        begun = run.past.entries(call.path, Kind.CHILD)
        failed = run.past.entries(call.path, Kind.ATTEMPT)  # only of an undo, which is tried again
        if len(begun) > len(failed):
            call.child = _child_of(begun[-1])
            self._await(run, call)
            return
        number = run.past.next_number(call.path, Kind.CHILD)
        call.child = self._new_id(run)
        call.asked = True
        said = codec.encode({"run": str(call.child)})
        self._engine.note(run, call, Kind.CHILD, number, said)
        self._send_start(run, call, call.order, call.child, call.path)
        self._await(run, call)

    def _send_start(
        self,
        run: ActiveRun,
        call: StartCall | ChildCall,
        order: Order,
        child: UUID,
        path: str | None,
    ) -> None:
        now = self._engine.now()
        starts_at = now if order.at is None else order.at
        name = order.workflow.name
        trace = self._engine.tell.telemetry.starting(child, name, run.id)
        start = Start(
            id=child,
            workflow=name,
            key=order.key,
            input=order.payload,
            digest=start_digest(name, order.payload),
            starts_at=starts_at,
            claim=starts_at <= now and self._engine.host.reserve(order.workflow),
            place=order.place(run),
            parent=run.id,
            path=path,
            deadline=deadline_of(starts_at, order.deadline, order.within),
            trace=trace or run.trace,
        )
        self._starting[child] = _Starting(run, call, start, order.workflow)
        self._engine.writer.touch().starts.append(start)

    def _await(self, run: ActiveRun, call: EndCall) -> None:
        if not call.asked:
            call.asked = True
            call.unsure += 1
            self._ask(run, call)
        self._engine.wait(run, call, None, _nothing)

    def _ask(self, run: ActiveRun, call: EndCall) -> None:
        assert call.child is not None
        self._engine.writer.touch().awaits.append(Await(call.child, run.id, call.path))

    def stop(self, run: ActiveRun) -> None:
        """Cancel the children that nobody wants any more."""
        calls, run.stopping = run.stopping, []
        for call in calls:
            if is_going(call):
                self.cancel(run, call)

    def cancel(self, run: ActiveRun, call: EndCall) -> None:
        """Ask a child to stop. The run stays in memory until that is durable."""
        call.unsure += 1
        self._send_cancel(run, call)

    def _send_cancel(self, run: ActiveRun, call: EndCall) -> None:
        send = Send(self._new_id(run), call.child, None, CANCEL_TOPIC, b"null")
        self._cancelling[send.id] = (run, call)
        self._engine.writer.touch().sends.append(send)

    def keeps(self, call: PendingCall) -> bool:
        """Must, or should, the run stay in memory for this call: what it asked is not durable, or its child is here, too."""
        if not isinstance(call, EndCall):
            return False
        is_here = call.child in self._engine.runs or call.child in self._starting
        return call.unsure > 0 or (call.supervises and is_here)

    # Being answered ---------------------------------------------------------------------------------------------------

    def flushed(self, batch: Batch, reply: Reply) -> None:
        """A batch is durable: what it did for children."""
        if self._starting:
            for start in batch.starts:
                if start.id in self._starting:
                    self._started(start, reply)
        if self._cancelling:
            for send in batch.sends:
                if send.id in self._cancelling:
                    self._cancelled(send, reply.sent[send.id])
        for asked in batch.awaits:
            self._awaited(asked, again=(asked.waiter, asked.path) in reply.busy_waits)

    def _started(self, start: Start, reply: Reply) -> None:
        run, call, _, workflow = self._starting[start.id]
        if start.key is not None and start.key in reply.busy_keys:
            self._later(self._start_again, start)
            return
        del self._starting[start.id]
        existing = reply.known.get(start.id)
        self._engine.tell.telemetry.started(
            start.id, existing[0] if existing else start.id, start.workflow, start.key, "child",
            start.trace, run.id,
        )  # fmt: skip
        self._engine.host.started(start, workflow, fresh=existing is None)
        if start.key is not None and isinstance(call, StartCall):
            if existing is None or existing[1]:
                found = existing[0] if existing else start.id
                self._answer_start(run, call, found, own=found == start.id)
            else:
                task = self._loop.create_task(self._compare(run, call, start, existing[0]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        self._look_at(run)

    def _answer_start(self, run: ActiveRun, call: StartCall, child: UUID, *, own: bool) -> None:
        payload = codec.encode({"run": str(child), "own": own})
        self._engine.answer(run, call, payload, (child, own))

    async def _compare(self, run: ActiveRun, call: StartCall, start: Start, found: UUID) -> None:
        """The key belongs to another request; say in what they differ."""
        try:
            await self._engine.host.require_same(start, found)
        except KeyConflictError as conflict:
            payload = encode_answer(conflict, (KeyConflictError,))
            self._refuse(run, call, payload)
        else:
            self._answer_start(run, call, found, own=False)

    def _refuse(self, run: ActiveRun, call: PendingCall, payload: bytes) -> None:
        try:
            call.restore(Entry(run.id, call.path, Kind.RESULT, 0, 0, False, None, payload, 0.0))
        except Exception as restored:  # noqa: BLE001  (what a replay will raise)
            self._engine.answer(run, call, payload, None, restored, ok=False)

    def _cancelled(self, send: Send, status: str) -> None:
        run, call = self._cancelling.pop(send.id)
        if status in {"sent", "ended"} or call.state is CallState.SETTLED:
            call.unsure -= 1
            self._look_at(run)
        else:  # its row is locked, or its start is in the next flush
            self._later(self._cancel_again, run, call)

    def _awaited(self, asked: Await, *, again: bool) -> None:
        run = self._engine.runs.get(asked.waiter)
        call = run.calls.get(asked.path) if run is not None else None
        if run is None or not isinstance(call, EndCall):
            return
        if again:
            self._later(self._ask_again, run, call)
        else:
            call.unsure -= 1
            self._look_at(run)

    def hear(self, run: ActiveRun, message: Message) -> bool:
        """A run has ended that this one waits for. False: nobody knows yet for whom this is."""
        ended = msgspec.json.decode(message.payload, type=Ended)
        call = run.calls.get(ended.path)
        if not isinstance(call, EndCall) or call.state is not CallState.WAITING:
            # Before the replay has come so far nobody waits. After it, it was heard before, or nobody wants it any more.
            return run.caught_up and (call is None or call.state is CallState.SETTLED)
        if isinstance(call, UndoChild) and ended.state != RunState.SUCCEEDED:
            self._undo_failed(run, call, ended)
            return True
        recorded = Entry(
            run.id, call.path, Kind.RESULT, 0, 0, ended.state == RunState.SUCCEEDED, None, message.payload, 0.0
        )  # fmt: skip
        value, error = None, None
        try:
            value = call.restore(recorded)
        except PayloadError as unfit:
            self._engine.park(run, Reason.POISON, {"at": call.path, "message": str(unfit)})
            return False
        except Exception as answer:  # noqa: BLE001  (the child's)
            error = answer
        self._engine.answer(run, call, message.payload, value, error, ok=recorded.ok)
        return True

    def _undo_failed(self, run: ActiveRun, call: UndoChild, ended: Ended) -> None:
        number = run.past.next_number(call.path, Kind.ATTEMPT)
        said = f"run {ended.run}, which was to undo this, has {ended.state}"
        detail = {"at": call.path, "message": said, "run": str(ended.run)}
        self._engine.note(run, call, Kind.ATTEMPT, number, codec.encode(detail))
        self._engine.park(run, Reason.UNDO_FAILED, detail)
        call.state = CallState.SETTLED
        self._engine.schedule(run)

    def left(self, run: ActiveRun) -> None:
        """A run is not here any more: who stayed for it may go, too."""
        if run.parent is not None and (parent := self._engine.runs.get(run.parent)) is not None:
            self._engine.schedule(parent)

    def forget(self, run: ActiveRun | None = None) -> None:
        """Nothing of this run counts any more; None: of none."""
        for child, starting in list(self._starting.items()):
            if run is None or starting.run is run:
                del self._starting[child]
                self._engine.tell.telemetry.not_started(child)
                self._engine.host.started(starting.start, starting.workflow, fresh=False)
        if run is None:
            self._cancelling.clear()

    # Again ------------------------------------------------------------------------------------------------------------

    def _later(self, act: Any, *args: Any) -> None:
        self._loop.call_later(_AGAIN_S, self._now, self._engine.writer.worker, act, *args)

    def _now(self, worker: int, act: Any, *args: Any) -> None:
        if self._engine.writer.worker == worker:
            act(*args)

    def _start_again(self, start: Start) -> None:
        if start.id in self._starting:
            self._engine.writer.touch().starts.append(start)

    def _cancel_again(self, run: ActiveRun, call: EndCall) -> None:
        if run.id in self._engine.runs:
            self._send_cancel(run, call)

    def _ask_again(self, run: ActiveRun, call: EndCall) -> None:
        if run.id in self._engine.runs:
            self._ask(run, call)

    def _look_at(self, run: ActiveRun) -> None:
        if run.id in self._engine.runs:
            self._engine.schedule(run)

    @staticmethod
    def _new_id(run: ActiveRun) -> UUID:
        return ids.new_id(ids.cell_of(run.id))


def _child_of(entry: Entry) -> UUID:
    return UUID(codec.decode(entry.payload or b"null")["run"])


def _nothing() -> None:
    """A wait without a time comes to no end by itself."""
