"""When to try again. Pure."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth import Retry, UsageError
from troth.base.backoff import NO_RETRY

draws = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("failed", "longest_wait_s"), [(1, 1.0), (2, 3.0), (3, 9.0), (4, 10.0), (5, 10.0)]
)
def test_waits_grow_by_the_factor_up_to_the_longest(failed: int, longest_wait_s: float) -> None:
    retry = Retry(attempts=6, first=timedelta(seconds=1), factor=3, longest=timedelta(seconds=10))
    assert retry.wait_s(failed, draw=0.0) == longest_wait_s / 2
    assert retry.wait_s(failed, draw=0.5) == longest_wait_s * 0.75


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_attempts_count_the_first_try(attempts: int) -> None:
    retry = Retry(attempts=attempts)
    waits = [retry.wait_s(failed) for failed in range(1, attempts + 1)]
    assert waits[-1] is None
    assert None not in waits[:-1]


def test_without_a_policy_nothing_is_tried_again() -> None:
    assert NO_RETRY.wait_s(1) is None


@given(
    failed=st.integers(1, 5000),
    first_ms=st.integers(0, 10_000),
    factor=st.floats(1, 100),
    longest_s=st.integers(10, 100_000),
    draw=draws,
)
def test_a_wait_is_between_half_and_all_of_its_top(
    failed: int, first_ms: int, factor: float, longest_s: int, draw: float
) -> None:
    retry = Retry(5001, timedelta(milliseconds=first_ms), factor, timedelta(seconds=longest_s))
    wait_s = retry.wait_s(failed, draw=draw)
    assert wait_s is not None
    highest = retry.wait_s(failed, draw=1.0)
    assert highest is not None
    assert highest / 2 <= wait_s <= highest <= longest_s
    assert highest >= min(first_ms / 1000, longest_s)


def test_jitter_is_drawn() -> None:
    assert len({Retry().wait_s(1) for _ in range(50)}) > 1


def test_no_try_begins_after_the_total_deadline() -> None:
    retry = Retry(attempts=100, first=timedelta(seconds=2), within=timedelta(seconds=10))
    assert retry.wait_s(1, elapsed_s=8.0, draw=1.0) == 2.0
    assert retry.wait_s(1, elapsed_s=8.1, draw=1.0) is None


def test_who_asks_not_to_be_called_sooner_is_not() -> None:
    retry = Retry(attempts=3, first=timedelta(seconds=2), within=timedelta(seconds=10))
    assert retry.wait_s(1, at_least_s=9.0, draw=1.0) == 9.0
    assert retry.wait_s(1, at_least_s=1.0, draw=1.0) == 2.0
    assert retry.wait_s(1, at_least_s=11.0) is None
    assert retry.wait_s(3, at_least_s=1.0) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"factor": 0.5},
        {"first": timedelta(seconds=-1)},
        {"longest": timedelta(seconds=-1)},
        {"within": timedelta(0)},
    ],
)
def test_values_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="Retry needs"):
        Retry(**wrong)  # type: ignore[arg-type]
