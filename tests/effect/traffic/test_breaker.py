"""The breaker's decisions, without a database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from troth.effect.breaker import State, Tally, state_of, wait_s, why_open
from troth.effect.limits import Reading, Terms, declaration_of
from troth.effect.model import Breaker, Provider

NOW = 1000.0


def terms(open_until=None, trial_until=None, *, failures=0, era=1):
    declared = declaration_of(
        Provider("p", breaker=Breaker(failures=5, pause=timedelta(seconds=10)))
    )
    return Terms(declared, era, failures, open_until, trial_until, Reading(NOW, 0.0, 0.0), 0.0)


@pytest.mark.parametrize(
    ("open_until", "trial_until", "state"),
    [
        (None, None, State.CLOSED),
        (NOW + 1, None, State.OPEN),
        (NOW, None, State.HALF_OPEN),
        (NOW - 1, NOW + 1, State.ON_TRIAL),
        (NOW - 9, NOW, State.HALF_OPEN),
    ],
)
def test_what_the_row_means_now(open_until, trial_until, state):
    assert state_of(terms(open_until, trial_until), NOW) is state


def counted(*ends, trial=False, era=1):
    tally = Tally(era=1)
    for answered in ends:
        tally.count(era, answered=answered, trial=trial)
    return tally.answered, tally.failed, tally.unsent


def test_an_answer_ends_a_row_of_failures():
    assert counted(False, False) == (False, 2, False)
    assert counted(False, True, False) == (True, 1, False)
    assert counted(None, None) == (False, 0, False)
    assert counted(None, trial=True) == (False, 0, True)


def test_calls_of_another_era_are_not_counted():
    assert counted(False, True, era=0) == (False, 0, False)


def test_a_report_that_was_lost_is_said_again_before_what_came_since():
    lost = Tally(1, answered=True, failed=2)
    since = Tally(1, failed=1)
    since.merge(lost)
    assert (since.answered, since.failed) == (True, 3)

    since = Tally(1, answered=True, failed=1)
    since.merge(lost)
    assert (since.answered, since.failed) == (True, 1)

    since = Tally(2)
    since.merge(lost)
    assert (since.answered, since.failed) == (False, 0)


@pytest.mark.parametrize(
    ("tally", "now", "decides"),
    [
        (Tally(1, failed=4), terms(), False),
        (Tally(1, failed=5), terms(), True),
        (Tally(1, failed=2), terms(failures=3), True),
        (Tally(1, answered=True, failed=2), terms(failures=3), False),
        (Tally(1, answered=True), terms(NOW - 1, NOW + 1), True),
        (Tally(1, failed=1), terms(NOW - 1, NOW + 1), True),
        (Tally(1, unsent=True), terms(NOW - 1, NOW + 1), True),
        (Tally(1), terms(NOW - 1, NOW + 1), False),
        (Tally(0, failed=9), terms(), False),
    ],
)
def test_what_moves_the_breaker_is_reported_at_once(tally, now, decides):
    assert tally.decides(now) is decides


def test_those_who_wait_are_spread_by_their_number():
    opened = terms(NOW + 3)
    assert wait_s(opened, NOW, waiting=0, draw=0.9) == 3.0
    assert wait_s(opened, NOW, waiting=500, draw=0.5) == pytest.approx(3 + 2.5)
    assert wait_s(opened, NOW, waiting=10**6, draw=1.0) == pytest.approx(3 + 100)
    assert wait_s(terms(NOW - 1, NOW + 9), NOW, waiting=0, draw=0.5) == 1.0


def test_what_people_read():
    assert why_open("stripe", 0.0) == "stripe is not answering: breaker open until 00:00:00 UTC"
