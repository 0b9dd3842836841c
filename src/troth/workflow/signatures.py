"""The types of the decorators with arguments: what they take and what they make, for `async def` and `def` alike."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from troth.effect.model import Call
from troth.store.tx import BlockingTx, Tx
from troth.workflow.consequences import (
    EffectDefinition,
    HandleTransaction,
    TransactionDefinition,
)
from troth.workflow.definition import StepDefinition, Workflow

H_co = TypeVar("H_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


class WorkflowDecorator(Protocol):
    """The type of `@troth.workflow(...)`: takes an `async def` or a `def`."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Workflow[P, R]: ...


class StepDecorator(Protocol):
    """The type of `@troth.step(...)`: takes an `async def` or a `def`."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> StepDefinition[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> StepDefinition[P, R]: ...


class TransactionDecorator(Protocol):
    """The type of `@troth.transaction(...)`."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Tx, P], Coroutine[Any, Any, R]], /
    ) -> TransactionDefinition[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[BlockingTx, P], R], /
    ) -> TransactionDefinition[P, R]: ...


class HandleDecorator(Protocol[H_co]):
    """The type of `@troth.transaction(via=source)` for a source that serves coroutines."""

    def __call__(
        self, function: Callable[Concatenate[H_co, P], Coroutine[Any, Any, R]], /
    ) -> HandleTransaction[H_co, P, R]: ...


class BlockingHandleDecorator(Protocol[H_co]):
    """The type of `@troth.transaction(via=source)` for a source that serves threads."""

    def __call__(
        self, function: Callable[Concatenate[H_co, P], R], /
    ) -> HandleTransaction[H_co, P, R]: ...


class EffectDecorator(Protocol):
    """The type of `@troth.effect(...)`."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, P], Coroutine[Any, Any, R]], /
    ) -> EffectDefinition[P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, P], R], /
    ) -> EffectDefinition[P, R]: ...
