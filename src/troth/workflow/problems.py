"""Everything that is wrong with a program, rather than the first thing.

While `collecting`, a decorator that would raise notes why, and gives back a stand-in: so the rest is looked at, too.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from troth.base.errors import UsageError
from troth.workflow import lint
from troth.workflow.consequences import EffectDefinition
from troth.workflow.failures import name_of

if TYPE_CHECKING:
    from troth.workflow.decorators import Definitions

_noted: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar(
    "troth_problems", default=None
)


class StandIn:
    """What a decorator makes while problems are collected, of a function that it cannot make a definition of."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__wrapped__ = function

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Nothing is run while problems are collected."""
        raise UsageError(f"{self.__wrapped__.__qualname__} is no definition")

    def __getattr__(self, name: str) -> Any:
        # `@charge.probe` and `@charge.undo(…)`: what is attached is left as it is.
        return lambda *given, **_: given[0] if given and callable(given[0]) else lambda each: each


@contextlib.contextmanager
def collecting() -> Iterator[list[str]]:
    """The problems of whatever is decorated meanwhile."""
    noted: list[str] = []
    before = _noted.set(noted)
    try:
        yield noted
    finally:
        _noted.reset(before)


def is_collecting() -> bool:
    """Is somebody asking for all problems?"""
    return _noted.get() is not None


def tolerant(decorate: Callable[..., Any]) -> Callable[..., Any]:
    """Let a decorator note what it would raise, while problems are collected."""

    @functools.wraps(decorate)
    def attempt(function: Callable[..., Any]) -> Any:
        try:
            return decorate(function)
        except UsageError as error:
            noted = _noted.get()
            if noted is None:
                raise
            code = getattr(function, "__code__", None)
            where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
            noted.append(f"{error}{where}")
            return StandIn(function)

    return attempt


def problems(program: Definitions) -> list[str]:
    """What can be found in definitions that have been made: the lint's findings, effects without rules, unstable names."""
    found: list[str] = []
    for workflow in program.workflows.values():
        found += lint.findings(workflow.function, follow=True)
    for step in program.steps.values():
        for part in (step, step.undoing):
            unfit = None if part is None else program.resources.unfit(part.function)
            if part is not None and unfit is not None:
                found.append(f"{part.name}: {unfit}")
        for effect in (step, step.undoing):
            if isinstance(effect, EffectDefinition):
                try:
                    effect.require_rules()
                except UsageError as error:
                    found.append(str(error))
    for kind in sorted(program.answers, key=name_of):
        if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
            found.append(
                f"{name_of(kind)} is a business answer that is stored by its name, and that is not the same in every "
                "process: define it at the top level of a module"
            )
    return list(dict.fromkeys(found))


def patches(program: Definitions) -> set[str]:
    """The names of the patches that workflow code asks for, as far as they are written there."""
    from troth.workflow.context import patch
    from troth.workflow.words import Words

    asks = {patch, Words.patch}
    return {
        call.given
        for workflow in program.workflows.values()
        for call in lint.calls_in(workflow.function)
        if isinstance(call.target, type(patch)) and call.target in asks and isinstance(call.given, str)
    }  # fmt: skip
