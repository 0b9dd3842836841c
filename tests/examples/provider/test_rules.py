"""The pure parts: billing periods, signatures and the fates of deliveries, for any values."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from examples.signup.provider.fates import Fates, Rules
from examples.signup.provider.resources.periods import boundary, next_boundary, same_rhythm
from examples.signup.provider.resources.states import RETRY_AFTER, next_attempt
from examples.signup.provider.signing import signature

MOMENTS = st.integers(0, 4_000_000_000)
RECURRING = st.builds(
    lambda interval, count: {"interval": interval, "interval_count": count},
    st.sampled_from(["day", "week", "month", "year"]),
    st.integers(1, 12),
)


@given(MOMENTS, RECURRING, st.integers(0, 20))
def test_periods_follow_each_other_without_gap_or_overlap(anchor, recurring, number):
    start = boundary(anchor, number, recurring)
    assert next_boundary(anchor, start, recurring) == boundary(anchor, number + 1, recurring)
    assert start < boundary(anchor, number + 1, recurring)


@given(MOMENTS, st.integers(1, 48))
def test_a_month_ends_on_the_day_of_the_anchor_or_the_last_of_the_month(anchor, number):
    recurring = {"interval": "month", "interval_count": 1}
    first = datetime.fromtimestamp(anchor, UTC)
    then = datetime.fromtimestamp(boundary(anchor, number, recurring), UTC)
    assert then.time() == first.time()
    following = datetime.fromtimestamp(then.timestamp() + 86_400, UTC)
    assert then.day == first.day or (then.day < first.day and following.day == 1)
    assert (then.year - first.year) * 12 + then.month - first.month == number


def test_the_31st_comes_back_after_february():
    anchor = int(datetime(2027, 1, 31, tzinfo=UTC).timestamp())
    recurring = {"interval": "month", "interval_count": 1}
    days, at = [], anchor
    for _ in range(3):
        at = next_boundary(anchor, at, recurring)
        days.append(datetime.fromtimestamp(at, UTC).day)
    assert days == [28, 31, 30]


@given(RECURRING, RECURRING)
def test_rhythms_are_the_same_if_they_give_the_same_periods(one, other):
    if same_rhythm(one, other):
        assert boundary(0, 5, one) == boundary(0, 5, other)
    assert same_rhythm(one, dict(one))


def test_there_are_as_many_attempts_as_retries_and_one():
    tries = [next_attempt(count, 1000) for count in range(1, 6)]
    assert tries == [*(1000 + after for after in RETRY_AFTER), None, None]


@given(st.text(min_size=1).filter(str.strip), st.text(), st.integers(0, 4_000_000_000))
def test_the_sdk_accepts_the_signature_and_no_other(secret, body, timestamp):
    header = signature(secret, body.encode(), timestamp)
    check = stripe.WebhookSignature.verify_header
    assert check(body, header, secret, tolerance=None)
    for other, key in ((body + "x", secret), (body, secret + "x")):
        with pytest.raises(stripe.SignatureVerificationError):
            check(other, header, key, tolerance=None)


@given(
    st.integers(),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 100),
)
def test_fates_stay_within_the_rules(seed, duplicate, drop, reorder):
    fates = Fates(Rules(seed=seed, duplicate=duplicate, drop=drop, reorder=reorder))
    drawn = [fates.draw().delays for _ in range(30)]
    for delays in drawn:
        assert len(delays) <= 3
        assert all(0 <= delay <= reorder for delay in delays)
        assert len(delays) == 1 or duplicate > 0 or (drop > 0 and not delays)
    assert any(drawn) or drop > 0
    assert not any(drawn) or drop < 1


@given(st.integers())
def test_one_rule_does_not_shift_anothers_draws(seed):
    plain, doubled = (
        Fates(Rules(seed=seed, drop=0.5)),
        Fates(Rules(seed=seed, drop=0.5, duplicate=1)),
    )
    for _ in range(20):
        assert bool(plain.draw().delays) == bool(doubled.draw().delays)
