"""One worker's bookkeeping of leases, without a database."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from troth.effect.leases import Leases


def leases(held: int, used: int, *, share: int = 9, lacking: int = 0) -> Leases:
    made = Leases()
    made.exchanged(held, share, lacking, held, 1.0, now=0.0)
    for _ in range(used):
        made.use(0.0)
    return made


def test_what_was_used_since_the_last_turn_is_kept_once_more():
    mine = leases(5, 4)
    for _ in range(3):
        mine.end(1.0)
    assert mine.keep(0, spare=True) == (4, 4)
    assert mine.keep(0, spare=True) == (1, 1)


def test_when_others_wait_what_is_unused_goes_at_once():
    mine = leases(5, 2, share=2, lacking=1)
    assert mine.owes(0)
    assert mine.keep(0, spare=True) == (2, 2)
    assert not mine.owes(0)


def test_a_share_is_kept_for_calls_that_are_to_begin():
    mine = leases(5, 1, share=2, lacking=3)
    assert not leases(2, 1, share=2, lacking=3).owes(1)
    assert mine.keep(7, spare=True) == (2, 8)


def test_beyond_its_share_a_lease_ends_with_its_call_but_not_too_soon():
    mine = leases(3, 3, share=1, lacking=1)
    mine.end(0.1)
    assert (mine.held, mine.free) == (3, 1)
    mine.end(0.5)
    assert (mine.held, mine.free) == (2, 1)
    mine.end(0.6)  # nobody lacks one any more
    assert (mine.held, mine.free) == (2, 2)


def test_after_a_turn_without_an_answer_there_is_something_to_say():
    """The row may have given leases that nobody here knows of."""
    mine = leases(0, 0)
    assert mine.settled(0)
    mine.unsure()
    assert not mine.settled(0)


def test_at_the_end_nothing_is_kept_but_what_is_in_use():
    assert leases(5, 2).keep(0, spare=False) == (2, 2)


def test_who_waits_elsewhere_comes_back_one_by_one_at_twice_the_pace_of_the_calls():
    mine = leases(2, 2)
    for n in range(10):
        mine.end(now=0.5 * (n + 1))
        mine.use(0.5 * (n + 1))
    assert mine.pace(5.0, limit=2) == 12 / 5
    waits = [mine.again_s(5.0, 2) for _ in range(5)]
    assert waits[0] > 1
    steps = {round(later - sooner, 6) for sooner, later in itertools.pairwise(waits)}
    assert steps == {round(0.5 / 2.4, 6)}


def test_calls_of_long_ago_say_nothing_about_the_pace():
    mine = leases(1, 1)
    mine.end(60.0)
    assert mine.pace(60.1, limit=1) < 1
    assert mine.pace(90.0, limit=1) == 100


@given(
    st.lists(
        st.one_of(
            st.just("use"),
            st.just("end"),
            st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
        )
    )
)
def test_never_more_in_use_than_the_shared_row_knows(moves):
    """Turns may take effect with or without an answer; the row never says less than is in use."""
    mine, row, now = Leases(), 0, 0.0
    for move in moves:
        now += 0.1
        match move:
            case "use":
                if mine.free > 0:
                    mine.use(now)
            case "end":
                if mine.used:
                    mine.end(now)
            case (waiting, granted, share, lacking):
                kept, demand = mine.keep(waiting, spare=waiting % 2 == 0)
                row = kept + granted
                if waiting == 5:
                    mine.unsure()
                else:
                    mine.exchanged(row, share, lacking, demand, 1.0, now)
        assert mine.used <= mine.held <= row
