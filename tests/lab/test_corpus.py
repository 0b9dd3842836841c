"""Truth first: no trap is ever called HOLDS, no correct handler is ever VIOLATED."""

from __future__ import annotations

import pytest

from tests.lab.corpus import CORRECT, TRAPS, Case
from troth.lab import Lab


@pytest.mark.parametrize("case", TRAPS, ids=lambda case: case.name)
def test_a_trap_is_never_called_sound(lab: Lab, case: Case):
    case.describe(lab)
    verdict = lab.explore(budget=30)
    assert verdict.word == case.word, str(verdict)
    if verdict.counterexamples:
        assert verdict.counterexamples[0].faults == case.faults, str(verdict)
    if case.hides_in:
        assert any(line.startswith(case.hides_in) for line in verdict.unexplored)
    elif verdict.word == "BOUNDED":
        assert not verdict.closed, (
            "a closed graph that does not name what it left out is a false proof"
        )


@pytest.mark.parametrize("case", CORRECT, ids=lambda case: case.name)
def test_a_correct_handler_is_never_violated(lab: Lab, case: Case):
    case.describe(lab)
    verdict = lab.explore(budget=30)
    assert verdict.word == "BOUNDED", str(verdict)
    assert not verdict.counterexamples, str(verdict)
    assert verdict.closed == case.closes, str(verdict)
    assert verdict.counts.repeated > 0, "a closed graph is one whose histories were run twice"


def test_the_corpus_is_large_enough():
    assert len(TRAPS) >= 12
    assert len(CORRECT) >= 10
