"""Verdicts with a closer look, of handlers of the corpus that are quickly explored; each made once."""

from __future__ import annotations

from functools import cache

from tests.lab.corpus import TRAPS
from troth.lab import Lab, Verdict
from troth.lab.verdict import Counterexample

CASES = {case.name: case for case in TRAPS}


@cache
def verdict(name: str) -> Verdict:
    """What the lab says of a trap, in no larger a model than it needs; with as much time as it needs."""
    lab = Lab(name, closer=120)
    case = CASES[name]
    case.describe(lab)
    return lab.explore(
        budget=60,
        confirm=False,
        survived=1,
        overlap=2 if any("caller" in fault for fault in case.faults) else 1,
        in_flight=int(any("under way" in fault or "late" in fault for fault in case.faults)),
        expiry=any("expired" in fault for fault in case.faults),
    )


def example(name: str) -> Counterexample:
    """The first broken promise of a trap."""
    return verdict(name).counterexamples[0]
