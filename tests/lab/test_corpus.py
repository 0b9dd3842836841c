"""Truth first: no trap is ever called HOLDS, no correct handler is ever VIOLATED."""

from __future__ import annotations

import pytest

from tests.lab.corpus import CORRECT, TRAPS, Case, parameters
from troth.lab import Lab
from troth.lab.steps import Limits

OFF = {"overlap": {"overlap": 1}, "late landing": {"in_flight": 0}, "expiry": {"expiry": False}}


SLOW = frozenset({
    "hook_that_accepts_before_it_commits", "job_acknowledged_before_it_is_done", "job_acknowledged_before_the_commit",
    "outbox_that_is_emptied_first",
})  # fmt: skip
"""Traps that have a faster one of their kind."""


@pytest.mark.parametrize("case", parameters(TRAPS, slow=SLOW))
def test_a_trap_is_never_called_sound(lab: Lab, case: Case, monkeypatch):
    monkeypatch.setattr(Limits, "aftermath", 0.02)  # one broken promise is enough here
    case.describe(lab)
    verdict = lab.explore(budget=90)
    assert verdict.word == case.word, str(verdict)
    if verdict.counterexamples:
        assert verdict.counterexamples[0].faults == case.faults, str(verdict)


@pytest.mark.parametrize("case", [one for one in TRAPS if one.hides_in], ids=lambda case: case.name)
def test_what_is_not_explored_is_not_found_and_admitted(lab: Lab, case: Case):
    """So an explorer that left the dimension out, and called it explored, would be noticed by the test above."""
    case.describe(lab)
    verdict = lab.explore(budget=30, **OFF[case.hides_in])
    assert verdict.word == "BOUNDED", str(verdict)
    assert any(line.startswith(case.hides_in) for line in verdict.unexplored)


@pytest.mark.parametrize("case", parameters(CORRECT))
def test_a_correct_handler_is_never_violated(lab: Lab, case: Case):
    case.describe(lab)
    verdict = lab.explore(budget=60)
    assert verdict.word == "BOUNDED", str(verdict)
    assert not verdict.counterexamples, str(verdict)
    # Attempts beside each other in one process that keeps memory are not explored, and that is admitted.
    admitted = any("this code keeps" in line for line in verdict.unexplored)
    assert (verdict.closed, admitted) in {(True, False), (False, True)}, str(verdict)
    assert admitted == (case.describe.__name__ == "cache_of_what_never_changes")
    assert verdict.counts.repeated > 0, "a closed graph is one whose histories were run twice"


def test_the_corpus_is_large_enough():
    assert len(TRAPS) >= 52
    assert len(CORRECT) >= 23
