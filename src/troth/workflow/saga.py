"""Sagas: what is undone, and in which order, when a run or a part of one fails.

When a run has failed or was cancelled, its undoing is one more task on the run's own loop, and what that asks for are
calls like any other: recorded, replayed, retried, probed. First everything that was sent must have an outcome, since
only then is it known what there is to undo. Then what was done is undone, the last thing first.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from troth.base import codec
from troth.journal.model import SETTLED_PATH, UNDO_PREFIX
from troth.workflow.calls import FollowCall, PendingCall, SettledCall, UndoCall
from troth.workflow.definition import StepDefinition, Workflow
from troth.workflow.failures import is_answer

if TYPE_CHECKING:
    from troth.workflow.run import ActiveRun
    from troth.workflow.runloop import Branch


class Confirmed(NamedTuple):
    """A call that was done, and that must be undone if its scope fails. *number*: the order of completion in the run."""

    number: int
    path: str
    definition: StepDefinition[Any, Any] | Workflow[Any, Any]
    encoded: bytes
    value: Any
    run: UUID | None = None  # of a child: which


class Scope:
    """What is undone together: a whole run, or what happens inside `async with troth.saga()`."""

    def __init__(self, name: str = "", parent: Scope | None = None) -> None:
        self.name = name
        self.parent = parent
        self.children: list[Scope] = []
        self.confirmed: list[Confirmed] = []
        self.unknown: list[PendingCall] = []  # told to the workflow as such
        self.open = True
        self.failing = False  # it is being undone, or will be: nothing new begins in it
        if parent is not None:
            parent.children.append(self)

    def lies_in(self, other: Scope) -> bool:
        """Is it the other one, or a part of it?"""
        scope: Scope | None = self
        while scope is not None and scope is not other:
            scope = scope.parent
        return scope is other

    def is_failing(self) -> bool:
        """Is it, or what it is a part of, being undone?"""
        scope: Scope | None = self
        while scope is not None and not scope.failing:
            scope = scope.parent
        return scope is not None

    def home(self) -> Scope:
        """Where what is done here belongs: itself, or what it was a part of before it closed."""
        scope = self
        while not scope.open and scope.parent is not None:
            scope = scope.parent
        return scope

    def close(self) -> None:
        """It has come to its end: what was done in it is its parent's to undo."""
        self.open = False
        assert self.parent is not None
        self.parent.children.remove(self)
        home = self.home()
        home.confirmed += self.confirmed
        home.unknown += self.unknown
        for child in self.children:
            child.parent = home
            home.children.append(child)

    def family(self) -> list[Scope]:
        """It and everything inside it."""
        return [self, *(scope for child in self.children for scope in child.family())]

    def to_undo(self) -> list[Confirmed]:
        """What was done in it, the last thing first."""
        return sorted((c for scope in self.family() for c in scope.confirmed), reverse=True)


async def undo(run: ActiveRun, scope: Scope) -> None:
    """Undo what was done in a scope. Runs on the run's loop, as a task that nobody cancels."""
    scope.failing = True
    # When all is settled, this asks a person if the point of no return was passed: whoever settles it has undone that.
    await run.awaited(SettledCall(f"{SETTLED_PATH}{scope.name}", scope, run.loop))
    for question in [call for part in scope.family() for call in part.unknown]:
        definition, encoded = question.definition, question.encoded
        # If it did not happen, there is nothing to undo.
        with contextlib.suppress(Exception):
            await run.awaited(
                FollowCall(question.path, definition, encoded, run.loop, scope=question.scope)
            )
    for done in scope.to_undo():
        if not done.definition.pivot:
            await run.awaited(_undoing(run, done, scope))
        run.undone.append(done.path)
    for part in scope.family():
        part.confirmed.clear()
        part.unknown.clear()


def _undoing(run: ActiveRun, done: Confirmed, scope: Scope) -> PendingCall:
    """The call that undoes what was done: a child is undone by another child."""
    from troth.workflow.family import UndoChild

    request, definition = _request(done), done.definition
    if isinstance(definition, Workflow) and definition.undoing is not None:
        path = f"{UNDO_PREFIX}{done.path}"
        return UndoChild(path, definition.undoing, request, run.loop, scope)
    return UndoCall(done, request, scope, run.loop)


def _request(done: Confirmed) -> bytes:
    """The arguments of an undo: the result of what is undone, then its arguments."""
    if done.definition.undoing is None:
        return codec.encode(done.path)
    args, kwargs = done.definition.arguments.by_position(done.encoded)
    return done.definition.undoing.arguments.encode((done.value, *args), kwargs)


class Saga:
    """`async with troth.saga()`: what is done inside is undone if the block fails, and only that. A `def` writes `with`."""

    def __init__(self, branch: Branch) -> None:
        self._branch = branch
        self._outer = branch.scope
        self._scope: Scope | None = None

    async def __aenter__(self) -> None:
        self._begin()

    def __enter__(self) -> None:
        from troth.workflow.def_bodies import require_body

        require_body("saga()")
        self._begin()

    def _begin(self) -> None:
        branch = self._branch
        self._outer = branch.scope
        self._scope = branch.scope = Scope(f"/{branch.path('saga')}", branch.scope)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Undo after a business answer or a cancellation. A bug undoes nothing: the run parks, and goes on after a fix."""
        run, scope = self._branch.run, self._scope
        assert scope is not None
        self._branch.scope = self._outer
        if fails(error, run.workflow.fails_on):
            await _finished(run.loop.task(undo(run, scope), contextvars.copy_context()))
        scope.close()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """The same."""
        from troth.workflow.def_bodies import wait

        wait(self.__aexit__(kind, error, tb))


def fails(error: BaseException | None, declared: tuple[type[Exception], ...]) -> bool:
    """Is this how a business operation fails, rather than how a program does?"""
    return error is not None and (
        isinstance(error, asyncio.CancelledError) or is_answer(error, declared)
    )


async def _finished(task: asyncio.Task[Any]) -> None:
    """Wait for a task that must not be cut short: a cancellation is passed on when it has ended."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as again:
            cancelled = again
    task.result()
    if cancelled is not None:
        raise cancelled


def standing(run: ActiveRun) -> dict[str, Any]:
    """What a person must know of a run that was being undone: why, what stands, and what is undone already."""
    return {
        "because": run.why,
        "stands": [
            {"path": done.path, "value": done.value}
            for done in run.root.to_undo()
            if done.path not in run.undone
        ],
        "undone": list(run.undone),
    }
