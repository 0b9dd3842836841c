from __future__ import annotations

from msgspec.structs import replace

from tests.lab.show.samples import STEPS
from troth.lab.show.brief import MOST, brief

CALM = replace(STEPS[0], irreversible=False)
FAULT = STEPS[1]


def test_a_short_history_is_told_whole():
    assert brief(STEPS) == STEPS


def test_a_long_one_is_told_in_eight_steps():
    steps = (*[CALM] * 12, FAULT, STEPS[2])
    told = brief(steps)
    shown = [one for one in told if not isinstance(one, int)]
    assert len(shown) == MOST
    assert sum(one for one in told if isinstance(one, int)) == len(steps) - MOST
    assert FAULT in shown
    assert told[-1] == STEPS[2]


def test_no_fault_is_left_out():
    told = brief((*[FAULT] * 10, CALM))
    assert sum(one == FAULT for one in told) == 10
