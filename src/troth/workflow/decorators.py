"""The decorators: what makes functions workflows and steps, and where their definitions are kept."""

from __future__ import annotations

import functools
from collections import ChainMap
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast, overload

from troth.base.backoff import NO_RETRY, Retry
from troth.base.errors import RunTimedOutError, UsageError
from troth.base.resources import ResourceRegistry
from troth.effect.model import Delivery, Provider
from troth.store.tx import BlockingTx, Tx
from troth.workflow import lint
from troth.workflow.consequences import (
    EFFECT_RETRY,
    EffectDefinition,
    TransactionDefinition,
    effect_rules,
)
from troth.workflow.definition import (
    Errors,
    Isolation,
    StepDefinition,
    StepKind,
    Workflow,
    check_call,
    check_handle,
    check_workflow,
)
from troth.workflow.given import check_queue, timeout_s
from troth.workflow.problems import is_collecting, tolerant
from troth.workflow.queue import Queue
from troth.workflow.signatures import (
    BlockingHandleDecorator,
    EffectDecorator,
    HandleDecorator,
    StepDecorator,
    TransactionDecorator,
    WorkflowDecorator,
)

if TYPE_CHECKING:
    from troth.store.sources import BlockingSource, Source  # at run time they would load the driver

H = TypeVar("H")
P = ParamSpec("P")
R = TypeVar("R")
ResourceT = TypeVar("ResourceT", bound=Callable[..., Any])


def _with_arguments(method: Callable[P, R]) -> Callable[P, R]:
    """Without its arguments a decorator is called with the function: say what is missing, rather than how Python calls it."""

    @functools.wraps(method)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > 1:
            name = getattr(args[1], "__name__", args[1])
            msg = f"effect {name}: it must be said how it may be sent: @troth.effect(timeout=…, provider=… or delivery=…)"
            raise UsageError(msg)
        return method(*args, **kwargs)

    return called


class Definitions:
    """The workflows and steps of a program, by name."""

    def __init__(self) -> None:
        self.workflows: dict[str, Workflow[Any, Any]] = {}
        self.steps: dict[str, StepDefinition[Any, Any]] = {}
        self.queues: dict[str, Queue] = {}
        self.resources = ResourceRegistry()

    @overload
    def workflow(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def workflow(self, function: Callable[P, R], /) -> Workflow[P, R]: ...
    @overload
    def workflow(
        self,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        queue: Queue | None = None,
        timeout: float | timedelta | None = None,
        version: int = 1,
    ) -> WorkflowDecorator: ...
    def workflow(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        queue: Queue | None = None,
        timeout: float | timedelta | None = None,
        version: int = 1,
    ) -> Any:
        """Make a function a workflow: its steps are recorded, and it goes on where it stopped.

        An `async def` awaits its steps; a `def` waits for them with `troth.wait`, and needs the extra `sync`.

        *fails_on*: exceptions of its own that are business answers. *queue*: where its runs wait until a worker may take
        them. *timeout* (seconds): a run that has not ended so long after its start time fails with `RunTimedOutError`, and is
        undone. *version*: a program may have several of one name; `start` starts the one that it is given, and a run stays
        with the version that it was started in. Raises `UsageError` for a signature that cannot be stored and for a name
        that is taken.
        """

        @tolerant
        def decorate(function: Callable[..., Any]) -> Workflow[Any, Any]:
            check_workflow(function)
            if not is_collecting():  # else it is asked for all that it finds, later
                lint.check(function)
            made: Workflow[Any, Any] = Workflow(
                function, name=name, fails_on=fails_on, version=version
            )
            check_queue(made.name, queue)
            made.queue = self.know(queue) if queue else None
            made.timeout_s = None if timeout is None else timeout_s(made.name, timeout, "workflow")
            self._add_workflow(made)
            return made

        return decorate if function is None else decorate(function)

    @overload
    def step(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> StepDefinition[P, R]: ...
    @overload
    def step(self, function: Callable[P, R], /) -> StepDefinition[P, R]: ...
    @overload
    def step(
        self, /, *, name: str | None = None, fails_on: Errors = (), retry: Retry = NO_RETRY
    ) -> StepDecorator: ...
    def step(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
    ) -> Any:
        """Make a function a recorded step that is pure or only reads: after a crash it may run again."""

        @tolerant
        def decorate(function: Callable[..., Any]) -> StepDefinition[Any, Any]:
            return self._add(
                StepDefinition(function, StepKind.STEP, name=name, fails_on=fails_on, retry=retry)
            )

        return decorate if function is None else decorate(function)

    @overload
    def transaction(
        self, function: Callable[Concatenate[Tx, P], Coroutine[Any, Any, R]], /
    ) -> TransactionDefinition[P, R]: ...
    @overload
    def transaction(
        self, function: Callable[Concatenate[BlockingTx, P], R], /
    ) -> TransactionDefinition[P, R]: ...
    @overload
    def transaction(
        self,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
        isolation: Isolation = "read committed",
        pivot: bool = False,
    ) -> TransactionDecorator: ...
    @overload
    def transaction(
        self,
        /,
        *,
        via: Source[H],
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
        isolation: Isolation = "read committed",
        pivot: bool = False,
    ) -> HandleDecorator[H]: ...
    @overload
    def transaction(
        self,
        /,
        *,
        via: BlockingSource[H],
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
        isolation: Isolation = "read committed",
        pivot: bool = False,
    ) -> BlockingHandleDecorator[H]: ...
    def transaction(
        self,
        function: Any = None,
        /,
        *,
        via: Any = None,
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
        isolation: Isolation = "read committed",
        pivot: bool = False,
    ) -> Any:
        """Make a function a step whose database work and journal entry commit together: exactly once.

        It gets an open transaction first (`Tx` in an `async def`, `BlockingTx` in a `def`). Serialization failures and
        deadlocks run it again; *fails_on* exceptions roll it back and are its answer. *via*: where its transactions come
        from instead, and so what it gets first: a session of SQLAlchemy, a connection of asyncpg's or Django's; to the
        same database. *pivot*: the point of no return, see `effect`.
        """

        @tolerant
        def decorate(function: Callable[..., Any]) -> StepDefinition[Any, Any]:
            check_handle(function, via)
            return self._add(
                TransactionDefinition(
                    function,
                    StepKind.TRANSACTION,
                    name=name,
                    fails_on=fails_on,
                    retry=retry,
                    isolation=isolation,
                    pivot=pivot,
                    via=via,
                )
            )

        return decorate if function is None else decorate(function)

    @_with_arguments
    def effect(
        self,
        *,
        timeout: float | timedelta,
        provider: Provider | None = None,
        delivery: Delivery | None = None,
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = EFFECT_RETRY,
        stands: bool = False,
        pivot: bool = False,
        stake: Callable[..., object] | None = None,
        settled_by: int = 1,
    ) -> EffectDecorator:
        """Make a function a step with consequences outside the database. It gets a `Call` first.

        Its intent is durable before it runs. Whatever is not known to be harmless leaves it *unknown*: then it is sent
        again while the *provider* recognises its key, else probed, if a probe is attached, else sent again with
        `delivery="at_least_once"`; otherwise the run stands in attention, in doubt, until *settled_by* people (1 or 2)
        have said what happened. *stake* makes of the arguments what is at stake, for them.

        If the run fails later, it is undone. If it has no undo, that asks for a person, unless *stands*: what it did may
        stand. *pivot*: once it is done nothing of the run is undone any more, nor is the run cancelled; if it fails, it
        asks for a person. Raises `UsageError` if neither a provider nor a delivery is given, or nothing at all.
        """

        @tolerant
        def decorate(function: Callable[..., Any]) -> Any:
            check_call(function)
            return self._add(
                EffectDefinition(
                    function,
                    StepKind.EFFECT,
                    name=name,
                    fails_on=fails_on,
                    retry=retry,
                    pivot=pivot,
                    effect=effect_rules(
                        name or function.__name__,
                        provider=provider,
                        delivery=delivery,
                        timeout=timeout,
                        stands=stands
                        and not pivot,  # whether a pivot was passed is always found out
                        stake=stake,
                        settled_by=settled_by,
                    ),
                )
            )

        return cast("EffectDecorator", decorate)

    def resource(self, function: ResourceT, /) -> ResourceT:
        """Make a generator function a resource of the type that it yields: a client, a pool, settings.

        It is opened once per event loop and process, before the first step that names its type, and closed, the latest
        first, when `worker()` is left. Its parameters are other resources, by type. An `async def` serves `async def`
        steps; a plain `def` is entered in a thread and serves all. Raises `UsageError` if it does not say its type.
        """
        self.resources.add(function)
        return function

    def replaced(self, kind: type[R], value: R) -> AbstractContextManager[R]:
        """`with troth.replaced(StripeClient, fake):` gives *value* to every step that asks for a *kind*, in this process."""
        return self.resources.replaced(kind, value)

    def require_rules(self) -> None:
        """Raise `UsageError` for an effect of which nothing says what to do when its outcome is unknown, and
        `WorkflowCodeError` for what workflow code must not call.

        A probe is attached after the effect is decorated, and what a workflow calls may be defined after it: so this is
        asked when the definitions are first used.
        """
        for workflow in self.workflows.values():
            lint.check(workflow.function, follow=True)
        for step in self.steps.values():
            for effect in (step, step.undoing):
                if isinstance(effect, EffectDefinition):
                    effect.require_rules()

    def know(self, queue: Queue) -> Queue:
        """Have this queue. Raises `UsageError` if there is another one of its name."""
        if self.queues.setdefault(queue.name, queue) != queue:
            msg = f"there are two queues named {queue.name}, with different limits: {queue} and {self.queues[queue.name]}"
            raise UsageError(msg)
        return queue

    def _add(self, made: StepDefinition[Any, Any]) -> StepDefinition[Any, Any]:
        if made.name in self.steps:
            msg = f"there are two steps named {made.name}; give one of them name="
            raise UsageError(msg)
        self.steps[made.name] = made
        made.home = made.home or self
        return made

    def _add_workflow(self, made: Workflow[Any, Any]) -> None:
        if made.name in self.workflows:
            msg = f"there are two workflows named {made.name}; give one of them name="
            raise UsageError(msg)
        self.workflows[made.name] = made
        made.home = made.home or self

    def require_known_to(self, workflow: Workflow[Any, Any]) -> None:
        """Raise `UsageError` if the program that runs *workflow* does not have these definitions."""

    @property
    def program(self) -> Definitions:
        """What is run with these definitions."""
        return self

    @cached_property
    def own_workflows(self) -> dict[str, Workflow[Any, Any]]:
        """What a program has beside what its author wrote; made when it is first asked for."""
        return {}

    @property
    def every_workflow(self) -> Mapping[str, Workflow[Any, Any]]:
        """The workflows with those that every program has (of `troth.map`). It follows what is defined later."""
        return ChainMap(self.workflows, self.own_workflows)

    @property
    def answers(self) -> set[type[Exception]]:
        """Every exception type that some definition declares as a business answer."""
        definitions = [*self.steps.values(), *self.every_workflow.values()]
        declared = {kind for definition in definitions for kind in definition.fails_on}
        return {RunTimedOutError, *declared}
