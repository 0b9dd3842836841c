"""The golden corpus: small ordinary handlers whose truth is known.

A *trap* is wrong, though it may look right; many of them fooled an earlier explorer. A trap is never called HOLDS: it is
VIOLATED, or REFUSED, or it is BOUNDED and the verdict names the dimension in which the trap hides. A *correct* handler
is never VIOLATED, and its graph closes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from troth.lab import Lab

Describe = Callable[[Lab], None]


@dataclass(frozen=True)
class Case:
    """A handler with its scenario.

    `word` is the verdict of this version. `faults`: the fewest that it takes, in the words of the report. `hides_in` is the dimension that must be explored to see the trap; the verdict has to admit
    that it was not. `closes`: whether the graph closes under the printed model.
    """

    name: str
    describe: Describe
    word: str
    faults: tuple[str, ...] = ()
    hides_in: str = ""
    closes: bool = True


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


from tests.lab.corpus import correct_handlers, traps  # noqa: E402, F401  (they register themselves)
