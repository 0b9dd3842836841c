"""One body alone, with what troth would give it: arguments and result go through JSON, resources are open."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, TypeVar

from troth.base import resources
from troth.base.errors import UsageError
from troth.effect.model import Call
from troth.store.tx import BlockingTx, Tx
from troth.workflow.decorators import Definitions
from troth.workflow.definition import StepDefinition, StepKind

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class FakeCall(Call):
    """A `Call` with values that a test need not care about."""

    key: str = "a-key"
    attempt: int = 1
    fence: int = 1
    deadline: float = field(default_factory=lambda: time.time() + 60)
    first_sent: float = field(default_factory=time.time)


async def call_step(
    step: StepDefinition[Any, R],
    *args: Any,
    tx: Tx | BlockingTx | None = None,
    troth: Definitions | None = None,
    **kwargs: Any,
) -> R:
    """Run the body of a step or, in the open transaction *tx*, of a transaction; give back its result.

    Arguments and result take the way that they take in production, so what cannot be stored fails here too. Resources are
    those of *troth*, without it those of the `Troth` that has the step, opened for this call alone. Raises what the body
    raises, `PayloadError`, and `UsageError` for a call that cannot be.
    """
    if step.kind is StepKind.EFFECT:
        msg = f"{step.name} is an effect: call_effect({step.name}, call=FakeCall(), …)"
        raise UsageError(msg)
    if (step.kind is StepKind.TRANSACTION) is (tx is None):
        given = "needs tx=" if tx is None else "takes no tx="
        msg = f"{step.name} is a {step.kind.value}: it {given}"
        raise UsageError(msg)
    return await _run(step, () if tx is None else (tx,), args, kwargs, troth)


async def call_effect(
    effect: StepDefinition[Any, R],
    *args: Any,
    call: Call | None = None,
    troth: Definitions | None = None,
    **kwargs: Any,
) -> R:
    """Run the body of an effect once, as `call_step` does; *call* is what it is told about the attempt."""
    if effect.kind is not StepKind.EFFECT:
        msg = f"{effect.name} is a {effect.kind.value}: use call_step"
        raise UsageError(msg)
    return await _run(effect, (call or FakeCall(),), args, kwargs, troth)


async def _run(
    step: StepDefinition[Any, R],
    first: tuple[Any, ...],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    troth: Definitions | None,
) -> R:
    args, kwargs = step.arguments.decode(step.arguments.encode(args, kwargs))
    home = troth or step.home
    registry = home.program.resources if home else resources.ResourceRegistry()
    opened = resources.OpenResources(registry)
    before = resources.current.set(opened)
    try:
        await opened.open_for(step.function)
        if step.is_async:
            value = await step.function(*first, *args, **kwargs)
        else:
            value = await asyncio.to_thread(step.function, *first, *args, **kwargs)
    finally:
        resources.current.reset(before)
        await opened.close()
    result: R = step.result.decode(step.result.encode(value))
    return result
