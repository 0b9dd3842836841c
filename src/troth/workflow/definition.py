"""What the decorators make: workflows and the three kinds of step, with the types of the functions they wrap.

A definition knows how to store its arguments and result, and what its author promised about failures. It holds no
connection and no run. Called inside a workflow it makes a recorded call; called elsewhere it raises.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

from troth.base.backoff import NO_RETRY, Retry
from troth.base.codec import Arguments, Codec, hints_of
from troth.base.errors import NotInRunError, UsageError
from troth.effect.model import Call, EffectRules
from troth.store.tx import BlockingTx, Tx
from troth.workflow import given
from troth.workflow.queue import Queue
from troth.workflow.runloop import Branch, current_branch

if TYPE_CHECKING:
    from troth.workflow.calls import PendingCall
    from troth.workflow.decorators import Definitions

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")

Isolation = Literal["read committed", "repeatable read", "serializable"]
Errors = type[Exception] | tuple[type[Exception], ...]

_NAME = re.compile(r"[A-Za-z_][\w.\-]{0,119}")


class StepKind(Enum):
    """The three kinds of step."""

    STEP = "step"  # pure or read-only: may run again
    TRANSACTION = "transaction"  # database work: exactly once
    EFFECT = "effect"  # consequences outside the database


class Definition(Generic[P, R]):
    """A function that is recorded: its name, and how its arguments and result are stored."""

    home: Definitions | None = None  # where it was decorated

    def __init__(
        self, function: Callable[..., Any], *, name: str | None, fails_on: Errors, injected: int
    ) -> None:
        self.function = function
        self.name = name or function.__name__
        if not _NAME.fullmatch(self.name):
            msg = f"{self.name!r} cannot name a step or workflow: letters, digits, _ . - only"
            raise UsageError(msg)
        self.fails_on = given.errors(self.name, fails_on)
        self.is_async = inspect.iscoroutinefunction(function)
        self.arguments = Arguments(function, skip=injected)
        self.result = Codec(
            hints_of(function).get("return", Any), where=f"the result of {self.name}"
        )
        self.__wrapped__ = function
        self.__name__ = self.name
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __repr__(self) -> str:
        return f"<{type(self).__name__.lower()} {self.name}>"


class StepDefinition(Definition[P, R]):
    """A step of any of the three kinds. *injected*: how many parameters troth fills in."""

    def __init__(
        self,
        function: Callable[..., Any],
        kind: StepKind,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
        isolation: Isolation = "read committed",
        effect: EffectRules | None = None,
        pivot: bool = False,
        via: Any = None,
    ) -> None:
        super().__init__(
            function, name=name, fails_on=fails_on, injected=0 if kind is StepKind.STEP else 1
        )
        given.check_retry(self.name, retry)
        self.kind = kind
        self.retry = retry
        self.isolation = isolation
        self.pivot = pivot
        self.via = via  # the source of its transactions; None: troth's own pool
        self.undoing: StepDefinition[Any, Any] | None = None
        self._effect = effect

    @property
    def effect(self) -> EffectRules:
        """How it may be sent; only of an effect."""
        assert self._effect is not None
        return self._effect

    @property
    def remembered(self) -> bool:
        """Must a run that fails do something about it, once it is done?"""
        if self.undoing is not None or self.pivot:
            return True
        return self._effect is not None and not self._effect.stands

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """Make a recorded call. Its identity is fixed now, its work begins when it is awaited.

        Raises `NotInRunError` outside a workflow, `UsageError` for wrong arguments and `PayloadError` for arguments
        that cannot be stored.
        """
        branch, encoded, plain = self._prepared(args, kwargs)
        return branch.run.call(branch.path(self.name), self, encoded, plain, branch.scope)

    def _prepared(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Branch, bytes, tuple[Any, ...] | None]:
        """Where a call is made, its arguments as they are recorded, and as they are if decoding would give these."""
        branch = current_branch.get()
        if branch is None:
            msg = (
                f"{self.name} is a {self.kind.value}: it can be called only by workflow code, not from outside or from "
                f"inside another step. To run its body alone, call {self.name}.__wrapped__."
            )
            raise NotInRunError(msg)
        if self.home is not None and self.home is not branch.run.workflow.home:
            self.home.require_known_to(branch.run.workflow)
        encoded = self.arguments.encode(args, kwargs)
        return branch, encoded, args if self.arguments.are_plain(args, kwargs) else None


class Workflow(Definition[P, R]):
    """The function that a run executes."""

    pivot = False
    queue: Queue | None = None  # where its runs wait until a worker may take them
    timeout_s: float | None = None  # a run that takes longer fails
    undoing: Workflow[Any, Any] | None = None  # undoes a run of it whose parent has failed

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        fails_on: Errors = (),
        version: int = 1,
    ) -> None:
        """Raise `UsageError` for a version that is none. From 2 on it is a part of the name that is stored with runs."""
        super().__init__(function, name=name, fails_on=fails_on, injected=0)
        if type(version) is not int or version < 1:
            msg = f"workflow {self.name}: version={version!r} is not a number from 1 on"
            raise UsageError(msg)
        self.version = version
        if version > 1:
            self.name = self.__name__ = f"{self.name}@{version}"

    def begin(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, R]:
        """Its body, for the loop of a run."""
        if self.is_async:
            body: Coroutine[Any, Any, R] = self.function(*args, **kwargs)
            return body
        from troth.workflow.def_bodies import run_body  # needs greenlet, which others need not have

        return run_body(self.function, args, kwargs)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        """In workflow code: start a child run, and wait for its result. Its identity is fixed now.

        Its business answer is raised as what it is, and `RunCancelledError` if it was cancelled. Who is cancelled while
        waiting cancels the child, and goes on when that has ended. Raises `UsageError` outside workflow code.
        """
        from troth.workflow.family import call_here

        return call_here(self, args, kwargs)

    def undo(
        self, function: Callable[Concatenate[R, P], Coroutine[Any, Any, U]], /
    ) -> Workflow[Concatenate[R, P], U]:
        """Attach the compensation: a workflow that is run as a child of a run that fails after a child of this one was done.

        It takes the child's result and its arguments. Raises `UsageError` for another number of parameters.
        """
        assert self.home is not None
        made = function if isinstance(function, Workflow) else self.home.workflow(function)
        wanted, have = len(self.arguments) + 1, len(made.arguments)
        if have != wanted:
            msg = (
                f"the undo {made.name} must take the result and the {wanted - 1} parameters of {self.name}: "
                f"{wanted} parameters, not {have}"
            )
            raise UsageError(msg)
        self.undoing = made
        return made


def commits_alone(call: PendingCall) -> bool:
    """Does its answer become durable in a transaction of its own, rather than with a flush?"""
    return call.definition is not None and call.definition.kind is StepKind.TRANSACTION


def check_workflow(function: Callable[..., Any]) -> None:
    """Raise `UsageError` for what cannot be a workflow: a generator, or a `def` where greenlet is not installed."""
    if inspect.iscoroutinefunction(function):
        return
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise UsageError(f"workflow {function.__name__}: it yields; a workflow returns its result")
    try:
        import troth.workflow.def_bodies  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "greenlet":
            raise
        raise UsageError(
            f"workflow {function.__name__} is a `def`, which needs greenlet: pip install 'troth[sync]'; or make it an "
            "`async def`"
        ) from None


def check_handle(function: Callable[..., Any], via: Any = None) -> None:
    """Raise `UsageError` if a transaction is an `async def` that asks for a `BlockingTx`, or a `def` for a `Tx`.

    With a source of its own, *via* says whether it is to be an `async def`.
    """
    if via is not None:
        _check_via(function, via)
        return
    first = next(iter(inspect.signature(function).parameters), None)
    asked = hints_of(function).get(first) if first else None
    wrong = BlockingTx if inspect.iscoroutinefunction(function) else Tx
    known = asked is None or asked is Any or hasattr(asked, "execute")  # also a connection's type
    if first is None or asked is wrong or not known:
        right = Tx if wrong is BlockingTx else BlockingTx
        msg = f"transaction {function.__name__}: its first parameter must be a {right.__name__}"
        raise UsageError(msg)


def check_call(function: Callable[..., Any]) -> None:
    """Raise `UsageError` unless an effect has a place for its `Call`."""
    first = next(iter(inspect.signature(function).parameters), None)
    asked = hints_of(function).get(first, Any) if first else None
    if asked is not Any and not (isinstance(asked, type) and issubclass(asked, Call)):
        msg = f"effect {function.__name__}: its first parameter must be a Call, which says the key and the attempt"
        raise UsageError(msg)


def _check_via(function: Callable[..., Any], via: Any) -> None:
    is_async = inspect.iscoroutinefunction(function)
    opens = "open" if is_async else "open_blocking"
    other = "open_blocking" if is_async else "open"
    said = "an `async def`" if is_async else "a `def`"
    name = f"transaction {function.__name__}"
    if not hasattr(via, opens):
        what = f"gives its handles to {'a `def`' if is_async else 'an `async def`'}"
        why = what if hasattr(via, other) else "is no source of transactions"
        raise UsageError(f"{name} is {said}, and via={via!r} {why}")
    if not inspect.signature(function).parameters:
        raise UsageError(f"{name}: its first parameter must be a handle of {via!r}")
