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
from typing import Any
from uuid import UUID

from troth.base.errors import PayloadError
from troth.effect.model import Unknown
from troth.journal.model import (
    Batch,
    ClaimedRun,
    Entry,
    Reason,
)
from troth.journal.starts import deadline_of
from troth.workflow.calls import (
    CallState,
    FollowCall,
    PendingCall,
    ReceiveCall,
    SettledCall,
    SleepCall,
)
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.differences import difference
from troth.workflow.failures import describe_briefly
from troth.workflow.family import EndCall, StartCall
from troth.workflow.past import Past
from troth.workflow.patches import Patches
from troth.workflow.progress import Said
from troth.workflow.runloop import Branch, RunLeftMemoryError, RunLoop, current_branch
from troth.workflow.saga import Confirmed, Scope, fails, undo
from troth.workflow.stops import STOPPED, Parked, Stop

_Answer = tuple[PendingCall, Any, BaseException | None, float]


class ActiveRun:
    """A run that this process owns and has in memory."""

    def __init__(
        self, claimed: ClaimedRun, workflow: Workflow[Any, Any], wake: Callable[[ActiveRun], None]
    ) -> None:
        self.id = claimed.id
        self.key, self.claim, self.input = claimed.key, claimed.claim, claimed.input
        self.parent, self.trace = claimed.parent, claimed.trace
        self.taken_at = 0.0  # by this process's clock, if anybody listens
        self.starts_at = claimed.starts_at
        self.partition, self.priority = claimed.partition, claimed.priority
        self.deadline = claimed.deadline
        self.expires_at = deadline_of(claimed.starts_at, claimed.deadline, workflow.timeout_s)
        self.timer: asyncio.TimerHandle | None = None  # until then
        self.workflow = workflow
        self.loop = RunLoop()  # type: ignore[abstract]  # what is missing is refused by name
        self.main: asyncio.Task[Any] | None = None
        self.now_s = claimed.starts_at
        self._wake = wake

        self.root = Scope()  # what is undone if the run fails
        self.undo: asyncio.Task[None] | None = None  # once it has failed
        self.undone: list[str] = []
        self.why: str | None = None  # it is undone
        self.settling: list[SettledCall] = []
        self.shown_undoing = False
        self._confirmations = itertools.count()
        self._pivoted = False  # past the point of no return
        self.held: str | None = (
            None  # a cancellation that came on the way there: the outcome decides
        )
        self.hurried: set[str] = set()  # the calls that were looked at anew for it

        self.past = Past(claimed.entries)
        self.patches = Patches()
        last = self.past.last_seq
        self._seqs = itertools.count(last + 1)
        self._next_delivery = last + 1
        # By place in the order: the answer to a call, a reason to stop, or nothing after all.
        self._settled: dict[int, _Answer | Stop | None] = {}

        # By topic: messages whose receiver was given up before it was told. The next one gets them.
        self.returned: dict[str, deque[bytes]] = {}

        self.calls: dict[str, PendingCall] = {}  # made and not delivered yet
        self.new: list[PendingCall] = []  # made and not dispatched yet
        self.stopping: list[EndCall] = []  # children that nobody wants any more
        self.caught_up = False  # it has come as far as the journal had
        self.recorded = len(claimed.entries)  # entries of its journal
        self.warned = False  # that there are many
        self.last_batch: Batch | None = None  # the flush that carries the latest entry
        self.said = Said()  # how far it is
        self.delivered = 0  # the place of the latest delivery
        self.parked: Parked | None = None
        self.heard: set[str] = set()  # reasons to stop that have a place in the order
        self.stopped: str | None = None  # the one that was delivered, in time
        self.releasing = False  # a release or an end is in a flush
        self.dirty = False  # is on the engine's list
        self.disposed = False

    # What workflow code does -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Call the workflow function. Raises `PayloadError` if its input does not fit its signature any more."""
        args, kwargs = self.workflow.arguments.decode(self.input)
        context = contextvars.copy_context()
        context.run(current_branch.set, Branch(self, self.root))
        self.main = self.loop.task(self.workflow.begin(args, kwargs), context)

    def call(
        self,
        path: str,
        definition: StepDefinition[Any, Any],
        encoded: bytes,
        args: tuple[Any, ...] | None,
        scope: Scope,
    ) -> Coroutine[Any, Any, Any]:
        """A step is called: its path is fixed, its work begins when the coroutine is awaited."""
        if self.disposed:
            raise RunLeftMemoryError
        return self.awaited(PendingCall(path, definition, encoded, self.loop, args, scope))

    async def awaited(self, call: PendingCall) -> Any:
        """Register a call, and wait for its answer. In a scope that is being undone, nothing new begins."""
        if call.scope is not None and not call.undoes and call.scope.is_failing():
            raise asyncio.CancelledError
        self.begin_call(call)
        return await call.future

    def begin_call(self, call: PendingCall) -> None:
        """Register a call. Who does not await it looks at its future."""
        if self.disposed:
            raise RunLeftMemoryError
        self.calls[call.path] = call
        self.new.append(call)

    def dispose(self) -> None:
        """Leave memory, with all timers and bodies."""
        self.disposed = self.releasing = True
        for call in self.calls.values():
            call.drop()
        self.said.drop()
        if self.timer is not None:
            self.timer.cancel()
        self.loop.dispose()
        # The task knows its context, that its branch, and that this run: cut here, all of it is freed at once, and
        # nothing is left for the garbage collector.
        self.main = self.undo = None

    # Moving on -------------------------------------------------------------------------------------------------------

    def advance(self) -> list[PendingCall]:
        """Run, deliver, run, until neither is possible; the calls that must go out now. Raises `Parked`."""
        self._drain()
        while self.past.order:
            self._replay(self.past.order[0])
            self.past.replayed.append(self.past.order.popleft().path)
            self._drain()
        while self._next_delivery in self._settled:
            delivery = self._settled.pop(self._next_delivery)
            self.delivered = self._next_delivery
            self._next_delivery += 1
            if delivery is not None:
                if isinstance(delivery, Stop):
                    self._stop_main(delivery)
                else:
                    self._deliver(*delivery)
                self._drain()
        self.caught_up = True
        made, self.new = self.new, []
        self._require_same_requests(made)
        self._forget_given_up()
        if self.main is not None and self.main.done():
            # Nothing new begins, but what was sent is followed until its outcome is known.
            for call in made:
                if not (call.undoes or self.was_sent(call)):
                    self._drop(call)
            made = [call for call in made if call.path in self.calls]
        return [
            call
            for call in made
            if call.state is CallState.NEW and (not call.future.done() or self.was_sent(call))
        ]

    def _forget_given_up(self) -> None:
        """Waits that were cancelled, and that no answer is on its way to: a long run would gather them until their time."""
        given_up = [
            call
            for call in self.calls.values()
            if call.future.done()
            and isinstance(call, SleepCall | ReceiveCall | EndCall | StartCall)
            and call.state in {CallState.NEW, CallState.WAITING}
            and not self.was_sent(call)
        ]
        for call in given_up:
            self._drop(call)

    def _drain(self) -> None:
        self.loop.drain()
        if self.held:  # the code may have given up what it waits for
            self._decide_held()
            self.loop.drain()
        if self.undo is None and self.main is not None and self.main.done():
            self._undo_if_failed(self.main)

    def _undo_if_failed(self, main: asyncio.Task[Any]) -> None:
        """The workflow has come to its end. If it failed, what it did is undone, and what it still waits for is not."""
        error = asyncio.CancelledError() if main.cancelled() else main.exception()
        if not (self.stopped or fails(error, self.workflow.fails_on)):
            return
        sent = any(self.was_sent(call) or call.undoes for call in self.calls.values())
        if not sent and not any(scope.confirmed or scope.unknown for scope in self.root.family()):
            return
        self.why = STOPPED[self.stopped] if self.stopped else describe_briefly(error)
        # In a replay, what was under way then is not yet begun, and has its answer in the journal.
        answered = {entry.path for entry in self.past.order}
        for call in list(self.calls.values()):
            under_way = call.state in {CallState.BUSY, CallState.SETTLED} or call.path in answered
            if not (call.undoes or under_way or self.was_sent(call)):
                self._drop(call)
        self.undo = self.loop.task(undo(self, self.root), contextvars.copy_context())
        self.loop.drain()

    def _drop(self, call: PendingCall) -> None:
        """It will not be made."""
        call.drop()
        self.calls.pop(call.path, None)

    def _replay(self, entry: Entry) -> None:
        self.delivered = entry.seq or 0
        if entry.path in STOPPED:
            self._stop_main(Stop(entry.at, entry.path))
            return
        call = self.calls.get(entry.path)
        if call is None or (entry.digest is not None and call.digest != entry.digest):
            raise Parked(Reason.CODE_CHANGED, difference(self, entry, call))
        try:
            value, error = call.restore(entry), None
        except PayloadError as changed:
            raise Parked(
                Reason.CODE_CHANGED, {"at": entry.path, "message": str(changed)}
            ) from changed
        except Exception as answer:  # noqa: BLE001  (a recorded business answer)
            value, error = None, answer
        if isinstance(call, ReceiveCall) and entry.ok is None:
            self.returned[call.heard].popleft()  # one that was returned, see `Mail.pass_on`
        self._deliver(call, value, error, entry.at)

    def _require_same_requests(self, made: list[PendingCall]) -> None:
        """What was begun and not answered must be what the code asks for now. Raises `Parked`."""
        for call in made:
            for entry in self.past.by_path.get(call.path, ()):
                if entry.digest not in {None, call.digest}:
                    raise Parked(Reason.CODE_CHANGED, difference(self, entry, call))
            self.past.owed.pop(call.path, None)
        if self.past.owed and self.main is not None and self.main.done():
            owed = self.past.owed_consequence()
            if owed is not None:
                raise Parked(Reason.CODE_CHANGED, difference(self, owed, None))

    def _deliver(
        self, call: PendingCall, value: Any, error: BaseException | None, at: float
    ) -> None:
        self.now_s = at
        self.calls.pop(call.path, None)
        call.state = CallState.SETTLED
        if call.definition is not None and call.definition.remembered:
            self._remember(call, value, error)
        elif call.definition is None:
            call.follow(self, value, error)
        value, error = call.told(value, error)
        if call.future.done():  # its task was cancelled
            if isinstance(call, ReceiveCall) and call.message is not None:
                self.returned.setdefault(call.heard, deque()).append(call.message)
            return
        if error is not None:
            call.future.set_exception(error)
        else:
            call.future.set_result(value)
        if self.held:
            self._decide_held()

    def _remember(self, call: PendingCall, value: Any, error: BaseException | None) -> None:
        """What must be undone, and what must be asked about, if the run fails."""
        assert call.scope is not None
        assert call.definition is not None
        scope = call.scope.home()
        if call.path in self.past.lent:  # another run's: it is not ours to undo
            self._pivoted = self._pivoted or (error is None and call.definition.pivot)
        elif isinstance(value, Unknown):
            self.past.counts_no_more(call.path)
            scope.unknown.append(call)
        elif error is None:
            self._pivoted = self._pivoted or call.definition.pivot
            self.confirm(call, call.definition, call.encoded, value)

    def confirm(
        self,
        call: PendingCall,
        definition: StepDefinition[Any, Any] | Workflow[Any, Any],
        encoded: bytes,
        value: Any,
        child: UUID | None = None,
    ) -> None:
        """This was done, and must be undone if the run fails."""
        assert call.scope is not None
        number = next(self._confirmations)
        done = Confirmed(number, call.path, definition, encoded, value, child)
        call.scope.home().confirmed.append(done)

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

    def stop(self, stop: Stop) -> int:
        """Cancel the main task when its turn in the order comes; the place that it takes."""
        self.heard.add(stop.path)
        seq = self.take_seq()
        self._settled[seq] = stop
        self._wake(self)
        return seq

    def _stop_main(self, stop: Stop) -> None:
        self.now_s = stop.at
        self.heard.add(stop.path)
        if self._pivoted or self.undo is not None or self.stopped or self.held:
            return  # too late: from the point of no return there is only one way; and what is undone stays so
        self.held = stop.path
        self._decide_held()

    def _decide_held(self) -> None:
        """If the point of no return was passed, a stop comes too late; while it may be, that is waited for."""
        if self._pivoted:
            self.held = None
        elif self.main is None or self.main.done() or not self._may_pivot():
            self.stopped, self.held = self.held, None
            if self.main is not None:
                self.main.cancel()

    def _may_pivot(self) -> bool:
        return any(map(self.is_on_the_way, self.calls.values()))

    @staticmethod
    def is_on_the_way(call: PendingCall) -> bool:
        """Would the point of no return be passed if this call is done?"""
        return call.definition is not None and call.definition.pivot and not call.future.done()

    def stop_child(self, call: EndCall) -> bool:
        """Nobody wants this child any more. False if it was not begun, and so will not be."""
        if call.state is CallState.NEW and not self.was_sent(call):
            call.future.cancel()
            return False
        self.stopping.append(call)
        self._wake(self)
        return True

    # Where it stands -------------------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """The workflow has returned or raised, and nothing that it began is under way."""
        return (
            self.main is not None
            and self.main.done()
            and (self.undo is None or self.undo.done())
            and not self.past.order
            and not self._settled
            and not any(
                call.state is CallState.BUSY
                or (call.state is not CallState.SETTLED and self.was_sent(call))
                for call in self.calls.values()
            )
        )

    def was_sent(self, call: PendingCall) -> bool:
        """Is it an effect that may have happened? Then its outcome is owed, whoever still wants it."""
        return call.binding or self.past.was_sent(call.path)

    def wants(self, call: PendingCall) -> bool:
        """Would anybody go on with its result? If not, what became of it matters only for undoing it."""
        if call.future.done() or isinstance(call, FollowCall):
            return False
        if call.undoes:
            return True
        if self.held and self.is_on_the_way(call):
            return False
        failing = call.scope is not None and call.scope.is_failing()
        return not failing and (self.main is None or not self.main.done())

    def unsettled(self, marker: SettledCall) -> list[PendingCall]:
        """What is under way in the scope that is to be undone."""
        assert marker.scope is not None
        return [
            call
            for call in self.calls.values()
            if call is not marker
            and (call.scope or self.root).lies_in(marker.scope)
            and (
                call.undoes
                or call.state is CallState.BUSY
                or (call.state is not CallState.SETTLED and self.was_sent(call))
            )
        ]

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
