"""Steps with consequences: how the other side is asked what became of them, and how they are undone.

Probes and undos are attached by method, so that a type checker compares them with the step that they belong to.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from troth.base.backoff import Retry
from troth.base.errors import Refused, UsageError
from troth.effect.model import (
    Call,
    Delivery,
    Done,
    EffectRules,
    Found,
    Missing,
    Provider,
    Unknown,
)
from troth.store.tx import BlockingTx, Tx
from troth.workflow.definition import StepDefinition, StepKind, check_handle
from troth.workflow.given import check_delivery, check_provider, timeout_s

P = ParamSpec("P")
R = TypeVar("R")
U = TypeVar("U")
H_co = TypeVar("H_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

EFFECT_RETRY = Retry(attempts=8, first=timedelta(seconds=1), longest=timedelta(minutes=1))
PROBE_RETRY = Retry(attempts=10, first=timedelta(seconds=1), longest=timedelta(minutes=5))


class Probe:
    """How to ask what happened. *retry*: how often and how soon, counting from when the answer can settle it."""

    def __init__(self, function: Callable[..., Any], timeout_s: float, retry: Retry) -> None:
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.timeout_s = timeout_s
        self.retry = retry


class ProbeDecorator(Protocol[P, R]):
    """The type of `@effect.probe(...)`."""

    @overload
    def __call__(
        self,
        function: Callable[Concatenate[Call, P], Coroutine[Any, Any, Found[R] | Missing]],
        /,
    ) -> Callable[Concatenate[Call, P], Coroutine[Any, Any, Found[R] | Missing]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, P], Found[R] | Missing], /
    ) -> Callable[Concatenate[Call, P], Found[R] | Missing]: ...


class UndoDecorator(Protocol[P, R]):
    """The type of `@effect.undo(...)`."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, R, P], Coroutine[Any, Any, U]], /
    ) -> UndoDefinition[R, P, U]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, R, P], U], /
    ) -> UndoDefinition[R, P, U]: ...


class EffectDefinition(StepDefinition[P, R]):
    """A step with consequences outside the database."""

    asks: Probe | None = None

    @overload
    def probe(
        self,
        function: Callable[Concatenate[Call, P], Coroutine[Any, Any, Found[R] | Missing]],
        /,
    ) -> Callable[Concatenate[Call, P], Coroutine[Any, Any, Found[R] | Missing]]: ...
    @overload
    def probe(
        self, function: Callable[Concatenate[Call, P], Found[R] | Missing], /
    ) -> Callable[Concatenate[Call, P], Found[R] | Missing]: ...
    @overload
    def probe(
        self, /, *, timeout: float | timedelta | None = None, retry: Retry = PROBE_RETRY
    ) -> ProbeDecorator[P, R]: ...
    def probe(
        self,
        function: Any = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        retry: Retry = PROBE_RETRY,
    ) -> Any:
        """Attach the function that asks the other side what happened; gives back the function itself.

        It takes a `Call` and the effect's arguments, and returns `Found(result)` or `Missing()`; whatever it raises means
        that it could not find out. It is asked after an unknown outcome, again and again with *retry*'s waits. *timeout*:
        of one question; the effect's own if it is not given. Raises `UsageError` for another number of parameters.
        """

        def attach(function: Callable[..., Any]) -> Callable[..., Any]:
            self._require_parameters("probe", function, 1)
            limit_s = self.effect.timeout_s if timeout is None else timeout_s(self.name, timeout)
            self.asks = Probe(function, limit_s, retry)
            self._effect = dataclasses.replace(self.effect, probed=True)
            return function

        return attach if function is None else attach(function)

    @overload
    def undo(
        self, function: Callable[Concatenate[Call, R, P], Coroutine[Any, Any, U]], /
    ) -> UndoDefinition[R, P, U]: ...
    @overload
    def undo(
        self, function: Callable[Concatenate[Call, R, P], U], /
    ) -> UndoDefinition[R, P, U]: ...
    @overload
    def undo(
        self,
        /,
        *,
        timeout: float | timedelta | None = None,
        provider: Provider | None = None,
        delivery: Delivery | None = None,
        retry: Retry = EFFECT_RETRY,
        stake: Callable[..., object] | None = None,
        settled_by: int = 1,
    ) -> UndoDecorator[P, R]: ...
    def undo(
        self,
        function: Any = None,
        /,
        *,
        timeout: float | timedelta | None = None,
        provider: Provider | None = None,
        delivery: Delivery | None = None,
        retry: Retry = EFFECT_RETRY,
        stake: Callable[..., object] | None = None,
        settled_by: int = 1,
    ) -> Any:
        """Attach the compensation: an effect of its own, called when the run fails or is cancelled after this one was done.

        It takes a `Call`, this effect's result and its arguments. *provider*, *delivery* and *timeout* are this effect's
        unless they are given; it may have a probe of its own. What cannot be undone asks for a person. Raises `UsageError`
        for an effect that `stands`, and for other parameters.
        """
        if self.effect.stands:
            msg = f"{self.name} has stands=True, so what it did is left as it is: leave that out, or the undo"
            raise UsageError(msg)

        def attach(function: Callable[..., Any]) -> UndoDefinition[Any, Any, Any]:
            self._require_parameters("undo", function, 2)
            made: UndoDefinition[Any, Any, Any] = UndoDefinition(
                function,
                StepKind.EFFECT,
                retry=retry,
                effect=effect_rules(
                    function.__name__,
                    provider=provider or self.effect.provider,
                    delivery=delivery or self.effect.delivery,
                    timeout=self.effect.timeout_s if timeout is None else timeout,
                    stands=True,
                    stake=stake,
                    settled_by=settled_by,
                ),
            )
            self.undoing = made
            return made

        return attach if function is None else attach(function)

    def outcome(
        self, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Done[R] | Refused | Unknown]:
        """As a call, but what became of it is given as a value: nothing is raised, and nobody is asked.

        `Refused` is also what a declared `fails_on` exception becomes (its `__cause__`), and an effect that provably did
        not happen after all attempts. What is unknown then is the workflow's to decide about; a run that fails later finds
        it out before it undoes anything.
        """
        from troth.workflow.calls import OutcomeCall

        branch, encoded, plain = self._prepared(args, kwargs)
        run = branch.run
        call = OutcomeCall(branch.path(self.name), self, encoded, run.loop, plain, branch.scope)
        return cast("Coroutine[Any, Any, Done[R] | Refused | Unknown]", run.awaited(call))

    def require_rules(self) -> None:
        """Raise `UsageError` if nothing says what to do when the outcome is unknown."""
        rules = self.effect
        if rules.key_lifetime_s is None and rules.delivery is None and not rules.probed:
            raise UsageError(_silent(self.name))

    def _require_parameters(self, what: str, function: Callable[..., Any], injected: int) -> None:
        given = "a Call" if injected == 1 else "a Call, the result"
        require_parameters(self, what, function, injected, given)


class UndoProbeDecorator(Protocol[R, P, U]):
    """The type of `@effect.undo` functions' `.probe(...)`."""

    @overload
    def __call__(
        self,
        function: Callable[Concatenate[Call, R, P], Coroutine[Any, Any, Found[U] | Missing]],
        /,
    ) -> Callable[Concatenate[Call, R, P], Coroutine[Any, Any, Found[U] | Missing]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Call, R, P], Found[U] | Missing], /
    ) -> Callable[Concatenate[Call, R, P], Found[U] | Missing]: ...


class UndoDefinition(EffectDefinition[Concatenate[R, P], U], Generic[R, P, U]):
    """The effect that undoes one which returned R and took P.

    It differs in its types alone: pyright does not accept a function for parameters that were concatenated twice.
    """

    @overload
    def probe(
        self,
        function: Callable[Concatenate[Call, R, P], Coroutine[Any, Any, Found[U] | Missing]],
        /,
    ) -> Callable[Concatenate[Call, R, P], Coroutine[Any, Any, Found[U] | Missing]]: ...
    @overload
    def probe(
        self, function: Callable[Concatenate[Call, R, P], Found[U] | Missing], /
    ) -> Callable[Concatenate[Call, R, P], Found[U] | Missing]: ...
    @overload
    def probe(
        self, /, *, timeout: float | timedelta | None = None, retry: Retry = PROBE_RETRY
    ) -> UndoProbeDecorator[R, P, U]: ...
    def probe(self, function: Any = None, /, **how: Any) -> Any:
        """As of every effect: the function takes a `Call`, what was returned, and the arguments."""
        return super().probe(function, **how)


class TransactionUndoDecorator(Protocol[P, R_co]):
    """The type of `@transaction.undo(...)`."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[Tx, R_co, P], Coroutine[Any, Any, U]], /
    ) -> StepDefinition[Concatenate[R_co, P], U]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[BlockingTx, R_co, P], U], /
    ) -> StepDefinition[Concatenate[R_co, P], U]: ...


class HandleUndoDecorator(Protocol[H_co, P, R_co]):
    """The type of `@transaction.undo(...)` of a transaction with a source of its own."""

    @overload
    def __call__(
        self, function: Callable[Concatenate[H_co, R_co, P], Coroutine[Any, Any, U]], /
    ) -> StepDefinition[Concatenate[R_co, P], U]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[H_co, R_co, P], U], /
    ) -> StepDefinition[Concatenate[R_co, P], U]: ...


class HandleTransaction(Protocol[H_co, P, R_co]):
    """The type of a transaction step on a handle of another library: as `TransactionDefinition`, with that handle."""

    @property
    def name(self) -> str:
        """Its name among the steps."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        """Make a recorded call."""

    @overload
    def undo(
        self, function: Callable[Concatenate[H_co, R_co, P], Coroutine[Any, Any, U]], /
    ) -> StepDefinition[Concatenate[R_co, P], U]: ...
    @overload
    def undo(
        self, function: Callable[Concatenate[H_co, R_co, P], U], /
    ) -> StepDefinition[Concatenate[R_co, P], U]: ...
    @overload
    def undo(self, /, *, retry: Retry) -> HandleUndoDecorator[H_co, P, R_co]: ...


class TransactionDefinition(StepDefinition[P, R]):
    """A step whose database work commits together with its journal entry."""

    @overload
    def undo(
        self, function: Callable[Concatenate[Tx, R, P], Coroutine[Any, Any, U]], /
    ) -> StepDefinition[Concatenate[R, P], U]: ...
    @overload
    def undo(
        self, function: Callable[Concatenate[BlockingTx, R, P], U], /
    ) -> StepDefinition[Concatenate[R, P], U]: ...
    @overload
    def undo(self, /, *, retry: Retry) -> TransactionUndoDecorator[P, R]: ...
    def undo(self, function: Any = None, /, *, retry: Retry | None = None) -> Any:
        """Attach the compensation: a transaction of its own, called when the run fails or is cancelled after this one.

        It takes a transaction, this one's result and its arguments.
        """

        def attach(function: Callable[..., Any]) -> StepDefinition[Any, Any]:
            check_handle(function, self.via)
            require_parameters(self, "undo", function, 2, "a transaction, the result")
            made: StepDefinition[Any, Any] = StepDefinition(
                function,
                StepKind.TRANSACTION,
                retry=retry or self.retry,
                isolation=self.isolation,
                via=self.via,
            )
            self.undoing = made
            return made

        return attach if function is None else attach(function)


def require_parameters(
    step: StepDefinition[Any, Any],
    what: str,
    function: Callable[..., Any],
    injected: int,
    given: str,
) -> None:
    """Raise `UsageError` unless *function* takes what troth fills in, and then what the step takes."""
    wanted, have = len(step.arguments), len(inspect.signature(function).parameters)
    if have != wanted + injected:
        msg = (
            f"the {what} {function.__name__} must take {given} and the {wanted} parameters of {step.name}: "
            f"{wanted + injected} parameters, not {have}"
        )
        raise UsageError(msg)


def effect_rules(
    name: str,
    *,
    provider: Provider | None,
    delivery: Delivery | None,
    timeout: float | timedelta,
    stands: bool = False,
    stake: Callable[..., object] | None = None,
    settled_by: int = 1,
) -> EffectRules:
    """The rules of one effect. Raises `UsageError` when nothing says, or will say, whether it may be repeated."""
    check_delivery(name, delivery)
    if provider is None and delivery is None:
        raise UsageError(_silent(name))
    check_provider(name, provider)
    if settled_by not in {1, 2}:
        msg = f"effect {name}: settled_by is 1 or 2 people, not {settled_by}"
        raise UsageError(msg)
    return EffectRules(
        provider,
        delivery,
        timeout_s(name, timeout),
        stands=stands,
        stake=stake,
        settled_by=settled_by,
    )


def _silent(name: str) -> str:
    return (
        f"effect {name}: when its outcome is unknown, may it be sent again? Give a provider with a key_lifetime, or "
        f'attach a probe (@{name}.probe, with a provider that says lands_within), or say delivery="at_most_once" (never '
        'again; in doubt instead) or delivery="at_least_once" (twice does no harm)'
    )
