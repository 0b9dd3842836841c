"""Truth first: no trap is ever called HOLDS, no correct handler is ever VIOLATED."""

from __future__ import annotations

from functools import partial

import pytest

from tests.lab.corpus import CORRECT, TRAPS, Case, parameters
from troth.lab import Lab, session
from troth.lab.assumed import TOGETHER
from troth.lab.steps import Limits

OFF = {"overlap": {"overlap": 1}, "late landing": {"in_flight": 0}, "expiry": {"expiry": False}}


SLOW = frozenset({
    "hook_that_accepts_before_it_commits", "job_acknowledged_before_it_is_done", "job_acknowledged_before_the_commit",
    "outbox_that_is_emptied_first",
})  # fmt: skip
"""Traps that have a faster one of their kind."""


@pytest.mark.parametrize("case", parameters(TRAPS, slow=SLOW))
def test_a_trap_is_never_called_sound(lab: Lab, case: Case, monkeypatch):
    monkeypatch.setattr(
        session, "Limits", partial(Limits, aftermath=0.2)
    )  # one broken promise is enough here
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
    assert verdict.open_because == ((TOGETHER,) if case.keeps else ()), str(verdict)
    assert (TOGETHER in verdict.unexplored) == case.keeps
    assert verdict.closed == (not case.keeps)
    assert verdict.counts.repeated > 0, "a closed graph is one whose histories were run twice"


@pytest.mark.parametrize("case", [one for one in CORRECT if one.keeps], ids=lambda case: case.name)
def test_memory_of_one_attempt_after_the_other_is_explored(lab: Lab, case: Case):
    """What is open is only that two attempts are in one process at once: a warm process and a fresh one are not."""
    case.describe(lab)
    verdict = lab.explore(budget=30, overlap=1)
    assert verdict.closed, str(verdict)
    assert any("states of one warm process, and a fresh one" in line for line in verdict.model)


def test_the_corpus_is_large_enough():
    assert len(TRAPS) >= 55
    assert len(CORRECT) >= 25
