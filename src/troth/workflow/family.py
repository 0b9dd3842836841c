"""Runs that start runs, as workflow code sees them: `await other(…)`, `troth.start` inside a run, and going on as a new run.

A child is begun in the commit that records it. Its outcome is owed from then on, as that of an effect: whoever still
wants it, the run that has started it ends after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeGuard
from uuid import UUID

import msgspec

from troth.base import codec
from troth.base.errors import (
    KeyConflictError,
    NotInRunError,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    UnknownWorkflowError,
    UsageError,
)
from troth.journal.model import Entry, Place, RunState
from troth.workflow.calls import CallState, PendingCall
from troth.workflow.definition import Workflow
from troth.workflow.failures import as_answer, message_of, name_of, restore_answer
from troth.workflow.racing import Limit
from troth.workflow.runloop import Branch, RunLoop, current_branch

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun
    from troth.workflow.saga import Scope


class Ended(msgspec.Struct, frozen=True):
    """What a waiting call is told of the end of a run, and what is recorded of it. Written by the database."""

    path: str
    run: UUID  # the last one, if it went on as others
    state: str
    owes: bool
    outcome: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for when a run is started: everything but who asks. *deadline*: absolute; times in seconds."""

    workflow: Workflow[Any, Any]
    payload: bytes
    key: str | None = None
    at: float | None = None
    priority: int | None = None
    partition: str | None = None
    deadline: float | None = None
    within: float | None = None
    detached: bool = False

    def place(self, parent: ActiveRun) -> Place | None:
        """Where it stands in line: as its parent, unless it was said."""
        queue = self.workflow.queue
        if queue is None:
            return None
        partition = parent.partition if self.partition is None else self.partition
        priority = parent.priority if self.priority is None else self.priority
        return Place(queue.name, partition or "", priority or 0)


class EndCall(PendingCall):
    """Waits for the end of a run, whoever has started it."""

    supervises: ClassVar[bool] = False  # it is a child of this run

    __slots__ = ("asked", "child", "given", "owes", "unsure", "workflow")

    def __init__(
        self,
        path: str,
        child: UUID | None,
        workflow: Workflow[Any, Any] | None,
        encoded: bytes,
        loop: RunLoop,
        scope: Scope | None = None,
    ) -> None:
        super().__init__(path, None, encoded, loop, scope=scope)
        self.given = encoded  # the arguments of a child
        self.child = child  # None: not started yet
        self.workflow = workflow
        self.asked = False  # the database knows that it waits
        self.unsure = 0  # what was asked of the database for it, and is not durable yet
        self.owes = False  # a run that fails must undo what the other did
        self.future.add_done_callback(_seen)

    def restore(self, entry: Entry) -> Any:
        """What the run returned; raises its business answer, `RunCancelledError` or `RunNotFoundError`."""
        ended = msgspec.json.decode(entry.payload or b"null", type=Ended)
        self.child, self.owes = ended.run, ended.owes
        outcome = bytes(ended.outcome)
        if ended.state == RunState.SUCCEEDED:
            return codec.decode(outcome) if self.workflow is None else self._decoded(outcome)
        if ended.state == RunState.CANCELLED:
            raise RunCancelledError(ended.run)
        if ended.state == RunState.FAILED:
            home = self.workflow.home if self.workflow else None
            raise restore_answer(outcome, home.program.answers if home else ())
        raise RunNotFoundError(f"there is no run {ended.run}")

    def _decoded(self, outcome: bytes) -> Any:
        assert self.workflow is not None
        return self.workflow.result.decode(outcome)

    def follow(self, run: ActiveRun, value: Any, error: BaseException | None) -> None:
        """What a child has done is remembered, to be undone if the run fails."""
        if not self.supervises or error is not None or self.workflow is None:
            return
        if self.owes or self.workflow.undoing is not None:
            run.confirm(self, self.workflow, self.given, value, self.child)


class OwnEnd(EndCall):
    """Waits for the end of a child that was started with `troth.start`."""

    supervises = True
    binding = True
    __slots__ = ()


class ChildCall(EndCall):
    """Starts a child and waits for its end: `await other(…)`."""

    supervises = True
    __slots__ = ()

    def __init__(
        self, path: str, workflow: Workflow[Any, Any], encoded: bytes, loop: RunLoop, scope: Scope
    ) -> None:
        super().__init__(path, None, workflow, encoded, loop, scope)

    @property
    def order(self) -> Order:
        """What to start."""
        assert self.workflow is not None
        return Order(self.workflow, self.encoded)


class UndoChild(ChildCall):
    """Undoes what a child has done, by another child."""

    undoes = True
    __slots__ = ()

    def restore(self, entry: Entry) -> Any:
        """Nothing: what an undo returns goes nowhere. It may have been settled by a person."""

    def follow(self, run: ActiveRun, value: Any, error: BaseException | None) -> None:
        """It is done."""


class StartCall(PendingCall):
    """Starts a run: `troth.start` in workflow code. Its answer is the id."""

    __slots__ = ("begun", "end", "order")

    def __init__(self, path: str, order: Order, loop: RunLoop, scope: Scope) -> None:
        name = order.workflow.name
        asked = [name, order.payload.decode(), order.key, order.at, order.deadline, order.within]
        super().__init__(path, None, codec.encode(asked), loop, scope=scope)
        self.order = order
        self.begun = False  # in this life, so that the database knows who waits
        self.end: OwnEnd | None = None  # of a child that is not detached

    @property
    def end_path(self) -> str | None:
        """The call that waits for the end of the child; None: nobody."""
        return None if self.order.detached else f"{self.path}/end"

    def restore(self, entry: Entry) -> Any:
        """The id of the run, and whether it was started here; raises `KeyConflictError`."""
        if entry.ok:
            said = codec.decode(entry.payload or b"null")
            return UUID(said["run"]), said["own"]
        error = restore_answer(entry.payload or b"null", [KeyConflictError])
        if isinstance(error, KeyConflictError):
            error.run_id = UUID(str(error.run_id))
        raise error

    def follow(self, run: ActiveRun, value: Any, error: BaseException | None) -> None:
        """From now on its end is waited for, also if nobody looks at the handle."""
        if error is not None or self.end_path is None or not value[1]:
            return
        child, scope = value[0], self.scope
        assert scope is not None
        workflow, encoded = self.order.workflow, codec.encode(str(child))
        self.end = OwnEnd(self.end_path, child, workflow, encoded, run.loop, scope)
        self.end.given = self.order.payload
        self.end.asked = self.begun
        run.begin_call(self.end)
        if self.future.cancelled() or scope.is_failing():
            run.stopping.append(self.end)


class ContinuedError(BaseException):
    """Ends the code of a run that goes on as another. Not an `Exception`: nobody is to handle it."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__("this run goes on as another one")
        self.encoded = encoded


# What workflow code asks for ------------------------------------------------------------------------------------------


def call_here(
    workflow: Workflow[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Coroutine[Any, Any, Any]:
    """`await other(…)`: a child whose result is given. Raises `UsageError` outside workflow code."""
    branch = current_branch.get()
    if branch is None:
        msg = f"{workflow.name} is a workflow: start it with troth.start({workflow.name}, …)"
        raise UsageError(msg)
    require_known(branch, workflow)
    encoded = workflow.arguments.encode(args, kwargs)
    if not workflow.arguments.are_plain(args, kwargs):
        workflow.arguments.decode(encoded)  # a wrong type is told to the caller, not to the child
    run = branch.run
    return joined(
        run, ChildCall(branch.path(workflow.name), workflow, encoded, run.loop, branch.scope)
    )


async def joined(run: ActiveRun, call: ChildCall) -> Any:
    """Wait for the end of a child. Who is cancelled meanwhile cancels it, and goes on when it has ended."""
    assert call.scope is not None
    if call.scope.is_failing():
        raise asyncio.CancelledError
    run.begin_call(call)
    cancelled: asyncio.CancelledError | None = None
    while not call.future.done():
        try:
            await _done(call.future)
        except asyncio.CancelledError as again:
            if not run.stop_child(call):
                raise
            cancelled = again
    if cancelled is not None:
        raise cancelled
    return call.future.result()


async def start_here(branch: Branch, order: Order) -> StartCall:
    """Start a run; the call knows its id, and waits for its end if it is a child."""
    run = branch.run
    require_known(branch, order.workflow)
    call = StartCall(branch.path(f"start.{order.workflow.name}"), order, run.loop, branch.scope)
    await run.awaited(call)
    return call


async def result_here(
    branch: Branch,
    run_id: UUID,
    workflow: Workflow[Any, Any] | None,
    end: OwnEnd | None,
    seconds: float | None,
) -> Any:
    """What a run returned. Who is cancelled meanwhile waits no more, and the run goes on."""
    if seconds is not None:
        async with Limit(branch, seconds):
            return await result_here(branch, run_id, workflow, end, None)
    run = branch.run
    try:
        if end is not None:
            await _done(end.future)
            return end.future.result()
        encoded = codec.encode(str(run_id))
        return await run.awaited(
            EndCall(branch.path("result"), run_id, workflow, encoded, run.loop)
        )
    except (RunCancelledError, RunNotFoundError):
        raise
    except Exception as answer:
        failed = RunFailedError(run_id, name_of(type(answer)), message_of(answer))
        raise as_answer(failed) from answer


def continue_here(args: tuple[Any, ...]) -> NoReturn:
    """Go on as a new run of the same workflow. Raises `UsageError` while something of this one is under way."""
    branch = current_branch.get()
    if branch is None:
        msg = "troth.continue_as belongs into workflow code: it ends the run that calls it"
        raise NotInRunError(msg)
    run = branch.run
    if not branch.is_main:
        msg = "troth.continue_as ends the whole run: call it in no task, but in the workflow"
        raise UsageError(msg)
    open_calls = [
        call.path for call in run.calls.values() if not call.future.done() or run.was_sent(call)
    ]
    if open_calls:
        msg = (
            f"troth.continue_as while {', '.join(open_calls)} is under way: what this run has begun ends with it, "
            "so await it first (or start a child with detached=True)"
        )
        raise UsageError(msg)
    encoded = run.workflow.arguments.encode(args, {})
    if not run.workflow.arguments.are_plain(args, {}):
        run.workflow.arguments.decode(encoded)
    raise ContinuedError(encoded)


def require_known(branch: Branch, workflow: Workflow[Any, Any]) -> None:
    """Raise `UnknownWorkflowError` unless the program of this run has the workflow, so that somebody executes it."""
    home = branch.run.workflow.home
    if home is not None and home.program.every_workflow.get(workflow.name) is not workflow:
        msg = f"{workflow.name} is a workflow of another program than {branch.run.workflow.name}"
        raise UnknownWorkflowError(msg)


def is_going(call: PendingCall) -> TypeGuard[EndCall]:
    """Does it wait for the end of a child that has begun?"""
    return (
        isinstance(call, EndCall)
        and call.supervises
        and call.child is not None
        and call.state is not CallState.SETTLED
    )


async def _done(future: asyncio.Future[Any]) -> None:
    """Wait for a future, without giving it up if the waiting is given up."""
    if future.done():
        return
    waiting = asyncio.get_running_loop().create_future()

    def wake(_: asyncio.Future[Any]) -> None:
        if not waiting.done():
            waiting.set_result(None)

    future.add_done_callback(wake)
    try:
        await waiting
    finally:
        future.remove_done_callback(wake)


def _seen(future: asyncio.Future[Any]) -> None:
    """A child whose end nobody looks at is no accident."""
    if not future.cancelled():
        future.exception()
