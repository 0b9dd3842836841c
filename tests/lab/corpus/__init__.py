"""The golden corpus: small ordinary handlers whose truth is known.

A *trap* is wrong, though it may look right; many of them fooled an earlier explorer. A trap is never called HOLDS: it is
VIOLATED or REFUSED; if the dimension in which it hides is not explored, the verdict names that dimension. A *correct* handler is
never VIOLATED, and its graph closes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from troth.lab import Lab

Describe = Callable[[Lab], None]


@dataclass(frozen=True)
class Case:
    """A handler with its scenario.

    `word` is the verdict. `faults`: the fewest that it takes, in the words of the report. `hides_in` is the dimension that must be
    explored to see the trap; a verdict that did not has to admit it.
    """

    name: str
    describe: Describe
    word: str
    faults: tuple[str, ...] = ()
    hides_in: str = ""
    large: bool = False
    """Whether its graph takes more than a few seconds, so that only a soak searches it."""
    keeps: bool = False
    """Whether it keeps memory, so that attempts beside each other are closed for separate processes only, and the verdict says so."""


TRAPS: list[Case] = []
CORRECT: list[Case] = []


def trap(word: str, *faults: str, hides_in: str = "") -> Callable[[Describe], Describe]:
    """Register a scenario of a wrong handler."""

    def register(describe: Describe) -> Describe:
        TRAPS.append(Case(describe.__name__, describe, word, faults, hides_in))
        return describe

    return register


def correct(describe: Describe) -> Describe:
    """Register a scenario of a correct handler."""
    CORRECT.append(Case(describe.__name__, describe, "BOUNDED"))
    return describe


def correct_and_keeping(describe: Describe) -> Describe:
    """The same, of one that keeps memory."""
    CORRECT.append(Case(describe.__name__, describe, "BOUNDED", keeps=True))
    return describe


def correct_and_large(describe: Describe) -> Describe:
    """The same, with a graph that is searched in soaks only."""
    CORRECT.append(Case(describe.__name__, describe, "BOUNDED", large=True))
    return describe


def parameters(cases: list[Case], *, slow: frozenset[str] = frozenset()) -> list[object]:
    """The cases as parameters of a test; those that are large, or named, are for soaks."""
    return [
        pytest.param(
            one, id=one.name, marks=[pytest.mark.slow] if one.large or one.name in slow else []
        )
        for one in cases
    ]


from tests.lab.corpus import correct_handlers, traps, unseen  # noqa: E402  (they register themselves)
from tests.lab.corpus import hooks as hooks  # noqa: E402
from tests.lab.corpus import queues as queues  # noqa: E402
from tests.lab.corpus import with_redis as with_redis  # noqa: E402


def forget() -> None:
    """What handlers keep in this process: a test begins without it."""
    for memory in (traps.in_flight, traps.seen_at, correct_handlers.prices, unseen.kept):
        memory.clear()
