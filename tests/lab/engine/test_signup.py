"""The example signup under the lab: whatever dies, and whichever answer is lost, it is made once, or not at all."""

from __future__ import annotations

import pytest

from tests.lab.engine import signup
from troth.lab import Lab


@pytest.mark.parametrize("card", ["pm_card_visa", signup.DECLINED])
def test_the_core_of_the_signup(lab: Lab, database_url, card):
    signup.describe(lab, database_url, card, workers=1, lost_commits=False)
    verdict = lab.explore(budget=250, overlap=1, survived=1, in_flight=0)
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples, str(verdict)
