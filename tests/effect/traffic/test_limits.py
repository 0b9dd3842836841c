"""Slots: the proof that no span holds too many, tried with hostile senders and hostile clocks."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.harness.traffic import most_in_any
from troth.effect.limits import (
    Reading,
    Terms,
    declaration_of,
    slots_at_once,
    spacing_s,
    tolerance_s,
    why_rate,
)
from troth.effect.model import Breaker, Provider, Rate

rates = st.builds(
    Rate,
    limit=st.integers(1, 200),
    per=st.floats(0.05, 3600).map(lambda seconds: timedelta(seconds=seconds)),
)
EPOCH_S = 1_800_000_000.0


def terms_of(rate: Rate, reading: Reading) -> Terms:
    return Terms(declaration_of(Provider("p", rate=rate)), 0, 0, None, None, reading, 0.0)


@given(rates, st.lists(st.floats(0, 1), min_size=1, max_size=400), st.integers(1, 50))
def test_whatever_moment_of_its_slot_a_sender_chooses_no_span_has_too_many(rate, draws, batch):
    """Slots are reserved in batches, as the database does it: each batch begins where the last one ended, rounded."""
    slots, next_at = [], EPOCH_S
    while len(slots) < len(draws):
        slots += [next_at + place * spacing_s(rate) for place in range(batch)]
        next_at += batch * spacing_s(rate)
    sent = [slot + draw * tolerance_s(rate) for slot, draw in zip(slots, draws, strict=False)]

    assert most_in_any(rate.per.total_seconds(), sent) <= rate.limit


@given(rates, st.floats(0, 0.04), st.floats(0, 1), st.floats(0, 5))
def test_what_is_certain_of_a_slot_is_so_wherever_in_the_round_trip_the_clock_was_read(
    rate, round_trip_s, share, later_s
):
    """The true offset of the clocks is anything that the reading allows."""
    asked_at = 100.0
    read_at = asked_at + share * round_trip_s
    terms = terms_of(rate, Reading(EPOCH_S, asked_at, asked_at + round_trip_s))
    slot = EPOCH_S + later_s

    def true(local: float) -> float:
        return EPOCH_S + local - read_at

    assert true(terms.opens(slot)) >= slot - 1e-6
    assert true(terms.lapses(slot)) <= slot + tolerance_s(rate) + 1e-6
    assert abs(true(asked_at) - terms.database_time(asked_at)) <= round_trip_s / 2 + 1e-6


def test_a_tenth_of_the_span_is_the_price_and_less_of_long_ones():
    by_second = Rate(100, per=timedelta(seconds=1))
    assert tolerance_s(by_second) == 0.1
    assert 90 < 1 / spacing_s(by_second) < 91
    assert tolerance_s(Rate(1, per=timedelta(milliseconds=20))) == 0.05
    by_hour = Rate(3600, per=timedelta(hours=1))
    assert tolerance_s(by_hour) == 2.0
    assert 0.999 < 1 / spacing_s(by_hour) < 1


def test_the_narrower_reading_is_used_but_not_for_long():
    wide, narrow = Reading(0.0, 10.0, 10.2), Reading(0.0, 11.0, 11.001)
    assert narrow.better(None) is narrow
    assert narrow.better(wide) is narrow
    assert Reading(0.0, 12.0, 12.5).better(narrow) is narrow
    late = Reading(0.0, 17.0, 17.5)
    assert late.better(narrow) is late


def test_what_is_declared():
    everything = declaration_of(
        Provider(
            "p",
            rate=Rate(10),
            breaker=Breaker(failures=3, pause=timedelta(minutes=1)),
            concurrency=7,
        )
    )
    assert (everything.rate_limit, everything.rate_per_s) == (10, 1.0)
    assert (everything.breaker_failures, everything.breaker_pause_s) == (3, 60.0)
    assert everything.concurrency == 7
    nothing = declaration_of(Provider("p"))
    assert nothing == type(nothing)(None, None, None, None, None, None, None)


def test_a_turn_reserves_seconds_not_hours():
    assert slots_at_once(0.001) == 10_000
    assert slots_at_once(60.0) == 100


def test_what_people_read():
    def why(rate):
        return why_rate("stripe", declaration_of(Provider("stripe", rate=rate)))

    assert why(Rate(100)) == "rate of stripe: 100 per 1 s"
    assert why(Rate(5, per=timedelta(milliseconds=250))) == "rate of stripe: 5 per 0.25 s"
    assert why(Rate(5, per=timedelta(hours=1))) == "rate of stripe: 5 per 1:00:00"
