"""The example signup under the lab: whatever dies, and whichever answer is lost, it is made once, or not at all."""

from __future__ import annotations

import pytest

from tests.lab.engine import signup
from troth.lab import Lab


@pytest.mark.parametrize(
    "card", ["pm_card_visa", pytest.param(signup.DECLINED, marks=pytest.mark.slow)]
)
def test_the_core_of_the_signup(lab: Lab, database_url, card):
    """Any number of deaths, at every commit and every call of the provider's: with what has happened then, and what has not."""
    signup.describe(lab, database_url, card, workers=1, lost_commits=False)
    verdict = lab.explore(budget=100, overlap=1, survived=0, in_flight=0, expiry=False)
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples, str(verdict)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("card", ["pm_card_visa", signup.DECLINED])
def test_the_core_when_answers_are_lost_and_keys_expire(lab: Lab, database_url, card):
    signup.describe(lab, database_url, card, workers=1)
    verdict = lab.explore(budget=1500, overlap=1, survived=1, in_flight=0)
    assert not verdict.counterexamples, str(verdict)
