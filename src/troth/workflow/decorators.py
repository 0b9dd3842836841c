"""The decorators: what makes functions workflows and steps, and where their definitions are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from troth.base.backoff import NO_RETRY, Retry
from troth.base.errors import UsageError
from troth.effect.model import Delivery, Provider
from troth.store.tx import BlockingTx, Tx
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
    check_handle,
)
from troth.workflow.queue import Queue
from troth.workflow.signatures import EffectDecorator, StepDecorator, TransactionDecorator

P = ParamSpec("P")
R = TypeVar("R")


class Definitions:
    """The workflows and steps of a program, by name."""

    def __init__(self) -> None:
        self.workflows: dict[str, Workflow[Any, Any]] = {}
        self.steps: dict[str, StepDefinition[Any, Any]] = {}
        self.queues: dict[str, Queue] = {}

    @overload
    def workflow(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def workflow(
        self,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        queue: Queue | None = None,
    ) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Workflow[P, R]]: ...
    def workflow(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        queue: Queue | None = None,
    ) -> Any:
        """Make an `async def` function a workflow: its steps are recorded, and it goes on where it stopped.

        *fails_on*: exceptions of its own that are business answers. *queue*: where its runs wait until a worker may take
        them. Raises `UsageError` for a signature that cannot be stored and for a name that is taken.
        """

        def decorate(function: Callable[..., Any]) -> Workflow[Any, Any]:
            if not asyncio.iscoroutinefunction(function):
                msg = f"workflow {function.__name__}: must be `async def`"
                raise UsageError(msg)
            made: Workflow[Any, Any] = Workflow(function, name=name, fails_on=fails_on, injected=0)
            if made.name in self.workflows:
                msg = f"there are two workflows named {made.name}; give one of them name="
                raise UsageError(msg)
            made.queue = self._known(queue) if queue else None
            self.workflows[made.name] = made
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
    def transaction(
        self,
        function: Any = None,
        /,
        *,
        name: str | None = None,
        fails_on: Errors = (),
        retry: Retry = NO_RETRY,
        isolation: Isolation = "read committed",
        pivot: bool = False,
    ) -> Any:
        """Make a function a step whose database work and journal entry commit together: exactly once.

        It gets an open transaction first (`Tx` in an `async def`, `BlockingTx` in a `def`). Serialization failures and
        deadlocks run it again; *fails_on* exceptions roll it back and are its answer. *pivot*: the point of no return,
        see `effect`.
        """

        def decorate(function: Callable[..., Any]) -> StepDefinition[Any, Any]:
            check_handle(function)
            return self._add(
                TransactionDefinition(
                    function,
                    StepKind.TRANSACTION,
                    name=name,
                    fails_on=fails_on,
                    retry=retry,
                    isolation=isolation,
                    pivot=pivot,
                )
            )

        return decorate if function is None else decorate(function)

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
        asks for a person. Raises `UsageError` if neither a provider nor a delivery is given.
        """

        def decorate(function: Callable[..., Any]) -> Any:
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

    def require_rules(self) -> None:
        """Raise `UsageError` for an effect of which nothing says what to do when its outcome is unknown.

        A probe is attached after the effect is decorated, so this is asked when the definitions are first used.
        """
        for step in self.steps.values():
            for effect in (step, step.undoing):
                if isinstance(effect, EffectDefinition):
                    effect.require_rules()

    def _known(self, queue: Queue) -> Queue:
        if self.queues.setdefault(queue.name, queue) != queue:
            msg = f"there are two queues named {queue.name}, with different limits: {queue} and {self.queues[queue.name]}"
            raise UsageError(msg)
        return queue

    def _add(self, made: StepDefinition[Any, Any]) -> StepDefinition[Any, Any]:
        if made.name in self.steps:
            msg = f"there are two steps named {made.name}; give one of them name="
            raise UsageError(msg)
        self.steps[made.name] = made
        return made

    @property
    def answers(self) -> set[type[Exception]]:
        """Every exception type that some definition declares as a business answer."""
        definitions = [*self.steps.values(), *self.workflows.values()]
        return {kind for definition in definitions for kind in definition.fails_on}
