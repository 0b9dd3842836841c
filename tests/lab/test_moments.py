from __future__ import annotations

import base64
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from troth.lab.moments import TICK, WHOLE_DAYS, Names, instant, marked, ticks

FORMS = {
    "seconds": lambda at: at,
    "whole seconds": int,
    "milliseconds": lambda at: int(at * 1000),
    "nanoseconds": lambda at: int(at) * 1_000_000_000,
    "iso": lambda at: datetime.fromtimestamp(at, UTC).isoformat(),
    "sqlite": lambda at: datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
    "in a text": lambda at: f"order-7-{int(at)}",
    "a month later": lambda at: (datetime.fromtimestamp(at, UTC) + timedelta(days=30)).isoformat(),
    "an hour later": lambda at: at + 3600,
    "a quarter before": lambda at: at - 900,
    "the hour": lambda at: datetime.fromtimestamp(at, UTC).replace(minute=0, second=0).isoformat(),
    "the date": lambda at: datetime.fromtimestamp(at, UTC).date().isoformat(),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_timestamp_is_recognised_and_renumbered(form):
    early, late = form(instant(3)), form(instant(5))
    known = (1, 3, 5, 8)
    assert ticks([early], known) == {3}
    assert ticks([late], known) == {5}
    assert marked([early], {3: 1}) == marked([late], {5: 1}), "the same but for the numbering"
    assert marked([early, late], {3: 1, 5: 2}) != marked([late, early], {3: 1, 5: 2}), (
        "order is kept"
    )


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_the_second_execution_sees_the_same_time_of_day(form):
    first, second = form(instant(2)), form(instant(2 + WHOLE_DAYS))
    assert marked([first], {2: 2}) == marked([second], {2 + WHOLE_DAYS: 2})


def test_what_was_not_given_out_is_no_timestamp():
    data = {"phone": 1893500000, "at": instant(4), "flag": True, "none": None}
    assert marked(data, {}) == data
    assert ticks(data, ()) == set()


def test_whole_days_are_whole_days():
    assert WHOLE_DAYS * TICK % 86_400 == 0


def test_readings_within_a_tick_differ_and_go_on():
    assert instant(1, 0) < instant(1, 1) < instant(1, 2) < instant(2, 0)


def test_a_seed_that_left_a_trace_is_not_fresh():
    names = Names()
    assert names.fresh((b"",)) == 1
    value = names.draw(1, 1, 16)
    forms = (
        value.hex(),
        str(uuid.UUID(bytes=value, version=4)),
        uuid.UUID(bytes=value, version=4).hex,
    )
    for form in forms:
        assert names.fresh((f"key={form};".encode(),)) == 2
    assert names.fresh((b"nothing of it is left",)) == 1


def test_a_short_value_is_not_the_beginning_of_a_long_one():
    names = Names()
    short, long = names.draw(10_001, 1, 8), names.draw(10_001, 1, 32)
    assert not long.startswith(short)
    text = base64.urlsafe_b64encode(long).rstrip(b"=")
    assert names.renamed(text, 10_001, 1) == base64.urlsafe_b64encode(names.draw(1, 1, 32)).rstrip(
        b"="
    )


def test_values_of_two_seeds_can_be_exchanged():
    names = Names()
    mine = uuid.UUID(bytes=names.draw(10_001, 1, 16), version=4)
    theirs = uuid.UUID(bytes=names.draw(1, 1, 16), version=4)
    assert names.renamed(f"key={mine}".encode(), 10_001, 1) == f"key={theirs}".encode()
