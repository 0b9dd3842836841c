"""One run in memory: its tasks, the calls they have made, and what the journal says of them.

The order of things is always the same. The workflow runs until nothing is ready; then ONE result is delivered, and it
runs again. While there are recorded results, those are delivered, in their recorded order; only afterwards do new calls
go out. So a replay takes the same way as the first execution, whatever was concurrent in it.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from troth.base import codec
from troth.base.errors import PayloadError
from troth.journal.model import CANCEL_TOPIC, Batch, ClaimedRun, Entry, Kind, Reason
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.failures import restore_answer
from troth.workflow.runloop import Branch, RunLeftMemoryError, RunLoop, current_branch


class TimedOut:
    """What `receive` returns when nothing came in time. It is false, so `if not message` reads well."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "TimedOut()"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimedOut)

    def __hash__(self) -> int:
        return hash(TimedOut)


class CallState(Enum):
    """Where a call is between being made and being answered."""

    NEW = "new"  # not looked at yet
    BUSY = "busy"  # its intent, its body or its look-up is under way
    WAITING = "waiting"  # until a time or a message
    SETTLED = "settled"  # answered; the answer may still have to be delivered


class PendingCall:
    """A call that workflow code has made and that has not been answered. Base of sleeping and receiving, too."""

    __slots__ = (
        "args",
        "definition",
        "digest",
        "due",
        "encoded",
        "future",
        "path",
        "pinned",
        "resume",
        "state",
        "task",
        "timer",
    )

    def __init__(
        self,
        path: str,
        definition: StepDefinition[Any, Any] | None,
        encoded: bytes,
        loop: RunLoop,
        args: tuple[Any, ...] | None = None,
    ) -> None:
        self.path = path
        self.definition = definition
        self.encoded = encoded
        self.args = args  # if they are plain, and so need not be decoded
        self.digest = codec.digest(encoded)
        self.future = loop.create_future()
        self.state = CallState.NEW
        self.due: float | None = None  # database time; None: only a message
        self.pinned = False  # waits on this process's own clock: the run must stay in memory
        self.resume: Callable[[], None] | None = None  # what to do when it is due
        self.timer: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None  # its body, while that runs

    def drop(self) -> None:
        """Nobody waits for it any more."""
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()

    def restore(self, entry: Entry) -> Any:
        """The value of a recorded answer; raises it if it is a business answer."""
        assert self.definition is not None
        if entry.ok:
            return self.definition.result.decode(entry.payload or b"null")
        raise restore_answer(entry.payload or b"{}", self.definition.fails_on)


class SleepCall(PendingCall):
    """`troth.sleep`."""

    __slots__ = ("seconds",)

    def __init__(self, path: str, seconds: float, loop: RunLoop) -> None:
        super().__init__(path, None, codec.encode(seconds), loop)
        self.seconds = seconds

    def restore(self, entry: Entry) -> Any:
        """Nothing: time has passed."""


class ReceiveCall(PendingCall):
    """`troth.receive`."""

    __slots__ = ("kind", "looked", "message", "timeout_s", "topic")

    def __init__(
        self, path: str, topic: str, kind: codec.Codec, timeout_s: float | None, loop: RunLoop
    ) -> None:
        super().__init__(path, None, codec.encode([topic, timeout_s]), loop)
        self.topic = topic
        self.kind = kind
        self.timeout_s = timeout_s
        self.looked = False  # a look for messages that came before it was asked for
        self.message: bytes | None = None  # what it was answered with

    @property
    def wants_mail(self) -> bool:
        """It has no message yet, and somebody still waits for one."""
        return self.state is not CallState.SETTLED and not self.future.done()

    def restore(self, entry: Entry) -> Any:
        """The message, or `TimedOut`."""
        return TimedOut() if entry.ok is False else self.kind.decode(entry.payload or b"null")


_Answer = tuple[PendingCall, Any, BaseException | None, float]


class Parked(Exception):
    """The run cannot go on without a person."""

    def __init__(self, reason: Reason, detail: dict[str, Any]) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


class ActiveRun:
    """A run that this process owns and has in memory."""

    def __init__(
        self, claimed: ClaimedRun, workflow: Workflow[Any, Any], wake: Callable[[ActiveRun], None]
    ) -> None:
        self.id = claimed.id
        self.key = claimed.key
        self.claim = claimed.claim
        self.input = claimed.input
        self.workflow = workflow
        self.loop = RunLoop()  # type: ignore[abstract]  # what is missing is refused by name
        self.main: asyncio.Task[Any] | None = None
        self.now_s = claimed.starts_at
        self._wake = wake

        recorded = claimed.entries
        self.order = deque(e for e in recorded if e.kind == Kind.RESULT)
        self.recorded: dict[str, list[Entry]] = {}
        for entry in recorded:
            if entry.kind != Kind.RESULT:
                self.recorded.setdefault(entry.path, []).append(entry)
        answered = {entry.path for entry in self.order}
        # Effects that may have been sent, and that the code has not called yet.
        self._owed = {
            entry.path: entry
            for entry in recorded
            if entry.kind == Kind.INTENT and entry.path not in answered
        }
        last = max((e.seq for e in self.order if e.seq is not None), default=0)
        self._seqs = itertools.count(last + 1)
        self._next_delivery = last + 1
        # By place in the order: the answer to a call, a cancellation (its time), or nothing after all.
        self._settled: dict[int, _Answer | float | None] = {}

        # By topic: messages whose receiver was given up before it was told. The next one gets them.
        self.returned: dict[str, deque[bytes]] = {}

        self.calls: dict[str, PendingCall] = {}  # made and not delivered yet
        self.new: list[PendingCall] = []  # made and not dispatched yet
        self.last_batch: Batch | None = None  # the flush that carries the latest entry
        self.parked: Parked | None = None
        self.cancelled = False  # a cancellation was delivered
        self.releasing = False  # a release or an end is in a flush
        self.dirty = False  # is on the engine's list
        self.disposed = False

    # What workflow code does -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Call the workflow function. Raises `PayloadError` if its input does not fit its signature any more."""
        args, kwargs = self.workflow.arguments.decode(self.input)
        context = contextvars.copy_context()
        context.run(current_branch.set, Branch(self))
        self.main = self.loop.task(self.workflow.function(*args, **kwargs), context)

    def call(
        self,
        path: str,
        definition: StepDefinition[Any, Any],
        encoded: bytes,
        args: tuple[Any, ...] | None,
    ) -> Coroutine[Any, Any, Any]:
        """A step is called: its path is fixed, its work begins when the coroutine is awaited."""
        if self.disposed:
            raise RunLeftMemoryError
        return self.awaited(PendingCall(path, definition, encoded, self.loop, args))

    async def awaited(self, call: PendingCall) -> Any:
        """Register a call, and wait for its answer."""
        self.calls[call.path] = call
        self.new.append(call)
        return await call.future

    def dispose(self) -> None:
        """Leave memory, with all timers and bodies."""
        self.disposed = self.releasing = True
        for call in self.calls.values():
            call.drop()
        self.loop.dispose()
        # The task knows its context, that its branch, and that this run: cut here, all of it is freed at once, and
        # nothing is left for the garbage collector.
        self.main = None

    # Moving on -------------------------------------------------------------------------------------------------------

    def advance(self) -> list[PendingCall]:
        """Run, deliver, run, until neither is possible; the calls that must go out now. Raises `Parked`."""
        self.loop.drain()
        while self.order:
            self._replay(self.order[0])
            self.order.popleft()
            self.loop.drain()
        while self._next_delivery in self._settled:
            delivery = self._settled.pop(self._next_delivery)
            self._next_delivery += 1
            if delivery is not None:
                if isinstance(delivery, float):
                    self._cancel_main(delivery)
                else:
                    self._deliver(*delivery)
                self.loop.drain()
        made, self.new = self.new, []
        self._require_same_requests(made)
        return [
            call
            for call in made
            if call.state is CallState.NEW and (not call.future.done() or self.was_sent(call))
        ]

    def _replay(self, entry: Entry) -> None:
        if entry.path == CANCEL_TOPIC:
            self._cancel_main(entry.at)
            return
        call = self.calls.get(entry.path)
        if call is None or call.digest != entry.digest:
            raise Parked(Reason.CODE_CHANGED, self._difference(entry, call))
        if isinstance(call, ReceiveCall) and entry.ok is not False:
            call.message = entry.payload
            if entry.ok is None:  # one that was returned, see `Engine.pass_on`
                self.returned[call.topic].popleft()
        try:
            value, error = call.restore(entry), None
        except PayloadError as changed:
            raise Parked(
                Reason.CODE_CHANGED, {"at": entry.path, "message": str(changed)}
            ) from changed
        except Exception as answer:  # noqa: BLE001  (a recorded business answer)
            value, error = None, answer
        self._deliver(call, value, error, entry.at)

    def _require_same_requests(self, made: list[PendingCall]) -> None:
        """What was begun and not answered must be what the code asks for now. Raises `Parked`."""
        for call in made:
            for entry in self.recorded.get(call.path, ()):
                if entry.digest not in {None, call.digest}:
                    raise Parked(Reason.CODE_CHANGED, self._difference(entry, call))
            self._owed.pop(call.path, None)
        if self._owed and self.main is not None and self.main.done():
            raise Parked(Reason.CODE_CHANGED, self._difference(min(self._owed.values()), None))

    def _deliver(
        self, call: PendingCall, value: Any, error: BaseException | None, at: float
    ) -> None:
        self.now_s = at
        self.calls.pop(call.path, None)
        call.state = CallState.SETTLED
        if call.future.done():  # its task was cancelled
            if isinstance(call, ReceiveCall) and call.message is not None:
                self.returned.setdefault(call.topic, deque()).append(call.message)
            return
        if error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(value)

    # Answers ---------------------------------------------------------------------------------------------------------

    def take_seq(self) -> int:
        """The next place in the order of deliveries. Safe from any thread."""
        return next(self._seqs)

    def settle(
        self, seq: int, call: PendingCall, value: Any, error: BaseException | None, at: float
    ) -> None:
        """The answer to a call, to be delivered when its turn comes."""
        call.state = CallState.SETTLED
        if call.timer is not None:
            call.timer.cancel()
        self._settled[seq] = (call, value, error, at)
        self._wake(self)

    def void(self, seq: int) -> None:
        """Nothing will be delivered at this place after all."""
        self._settled[seq] = None
        self._wake(self)

    def cancel(self, at: float) -> int:
        """Cancel the main task when its turn in the order comes; the place that it takes."""
        self.cancelled = True
        seq = self.take_seq()
        self._settled[seq] = at
        self._wake(self)
        return seq

    def _cancel_main(self, at: float) -> None:
        self.now_s = at
        self.cancelled = True
        if self.main is not None:
            self.main.cancel()

    # Where it stands -------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """The workflow has returned or raised, and nothing that it began is under way."""
        return (
            self.main is not None
            and self.main.done()
            and not self.order
            and not self._settled
            and not any(
                call.state is CallState.BUSY
                or (call.state is not CallState.SETTLED and self.was_sent(call))
                for call in self.calls.values()
            )
        )

    def was_sent(self, call: PendingCall) -> bool:
        """Is it an effect that may have happened? Then its outcome is owed, whoever still wants it."""
        recorded = self.recorded.get(call.path)
        return recorded is not None and any(entry.kind == Kind.INTENT for entry in recorded)

    @property
    def resting(self) -> bool:
        """Nothing will happen but by time or by a message."""
        if self._settled or self.new:
            return False
        for call in self.calls.values():  # noqa: SIM110  (asked at every turn: a generator costs more)
            if call.state is not CallState.WAITING:
                return False
        return True

    @property
    def stuck(self) -> bool:
        """The code waits for something that no call will bring: a future, event or lock that nobody touches."""
        return all(call.future.done() and not self.was_sent(call) for call in self.calls.values())

    @property
    def quiet(self) -> bool:
        """No body is running and no answer is under way."""
        return not any(call.state is CallState.BUSY for call in self.calls.values())

    def receivers(self, topic: str) -> list[ReceiveCall]:
        """Who waits for a message of this topic, in the order in which they began."""
        return [
            call
            for call in self.calls.values()
            if isinstance(call, ReceiveCall) and call.topic == topic and call.wants_mail
        ]

    def listens_to(self) -> str:
        """The topics whose messages would wake this run, separated by commas."""
        return ",".join(
            {
                CANCEL_TOPIC,
                *(
                    c.topic
                    for c in self.calls.values()
                    if isinstance(c, ReceiveCall) and c.wants_mail
                ),
            }
        )

    def unread(self) -> bool:
        """Has a receive begun whose message may be waiting already? Answers yes once for each."""
        unread = False
        for call in self.calls.values():
            if type(call) is ReceiveCall and not call.looked:
                call.looked = unread = True
        return unread

    def entries(self, path: str, kind: Kind) -> list[Entry]:
        """What was recorded of a call, other than its answer, by attempt."""
        return [entry for entry in self.recorded.get(path, ()) if entry.kind == kind]

    def _difference(self, entry: Entry, call: PendingCall | None) -> dict[str, Any]:
        """The readable difference between the journal and what the code did."""
        if call is not None:
            message = (
                f"{entry.path} was recorded with other arguments than the code passes now. Finish such runs with the "
                "old code, or bring it back and resume."
            )
        else:
            message = (
                f"the journal goes on with {entry.path}, which the code did not call. Finish such runs with the old "
                "code, or bring it back and resume."
            )
        return {
            "message": message,
            "recorded": [e.path for e in self.order],
            "called": sorted(self.calls),
            "arguments_now": codec.decode(call.encoded) if call is not None else None,
        }


def forgiven(run: ActiveRun, call: PendingCall) -> int:
    """How many attempts a person has forgiven, by resuming the run after them."""
    decisions = [entry.at for entry in run.entries("!resume", Kind.DECISION)]
    if not decisions:
        return 0
    return sum(1 for entry in run.entries(call.path, Kind.ATTEMPT) if entry.at <= max(decisions))
