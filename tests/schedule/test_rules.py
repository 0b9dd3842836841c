"""When schedules fire, against a look at every minute of a year; and what is done when they are due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from troth.base.errors import UsageError
from troth.schedule import rules
from troth.schedule.model import CronError, Declaration, Recorded, Step, Terms

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "UTC")
YEAR = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


# Against every minute -------------------------------------------------------------------------------------------------


@cache
def shown(tz: str) -> list[tuple[datetime, datetime]]:
    """Each minute of the year, and what the clock on the wall shows."""
    where, found = rules.zone(tz), []
    for quarter in range(365 * 96):
        begin = YEAR + quarter * 15 * MINUTE
        reading = begin.astimezone(where).replace(tzinfo=None)
        found += [(begin + n * MINUTE, reading + n * MINUTE) for n in range(15)]
    return found


def jumps(tz: str) -> list[int]:
    """Where the clock is set."""
    return [n for n, ((_, a), (_, b)) in enumerate(pairwise(shown(tz)), start=1) if b - a != MINUTE]


def expected(
    tz: str, minutes: set[int], hours: set[int], days: set[int], stretch: slice, *, named: bool
) -> list[datetime]:
    """The specification, minute by minute. *days*: of the week, 0 is Sunday."""

    def fits(reading: datetime) -> bool:
        return (
            reading.minute in minutes
            and reading.hour in hours
            and (reading.weekday() + 1) % 7 in days
        )

    seen: set[datetime] = set()
    found: list[datetime] = []
    last: datetime | None = None
    for moment, reading in shown(tz)[stretch]:
        if not named:
            if fits(reading):
                found.append(moment)
            continue
        skipped = last is not None and any(
            fits(last + n * MINUTE) for n in range(1, int((reading - last) / MINUTE))
        )
        if skipped or (fits(reading) and reading not in seen):
            found.append(moment)
        seen.add(reading)
        last = reading if last is None else max(last, reading)
    return found


def text(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))


def stretches(tz: str) -> Iterator[slice]:
    """Some days around each change of the clock, and a week without one."""
    for n in jumps(tz):
        yield slice(n - 3 * 1440, n + 3 * 1440)
    yield slice(200 * 1440, 203 * 1440)


some = st.sets(st.integers(0, 59), min_size=1, max_size=3)
early = st.sets(st.sampled_from([0, 1, 2, 3, 4, 12, 23]), min_size=1, max_size=4)
weekdays = st.one_of(st.just(set(range(7))), st.sets(st.integers(0, 6), min_size=1))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(ZONES), some, early, weekdays)
def test_named_times_fire_once_each(tz, minutes, hours, days):
    cron = f"{text(minutes)} {text(hours)} * * {'*' if len(days) == 7 else text(days)}"
    compare(tz, cron, minutes, hours, days, named=True)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(ZONES), st.sampled_from([1, 7, 15, 30]), early, weekdays)
def test_stars_follow_what_the_clock_shows(tz, step, hours, days):
    cron = f"*/{step} {text(hours)} * * {'*' if len(days) == 7 else text(days)}"
    compare(tz, cron, set(range(0, 60, step)), hours, days, named=False)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(ZONES), some, st.sampled_from([1, 2, 5]))
def test_every_few_hours(tz, minutes, step):
    cron = f"{text(minutes)} */{step} * * *"
    compare(tz, cron, minutes, set(range(0, 24, step)), set(range(7)), named=False)


def compare(tz, cron, minutes, hours, days, *, named):
    for stretch in stretches(tz):
        begin = shown(tz)[stretch][0][0]
        end = shown(tz)[stretch][-1][0]
        wanted = expected(tz, minutes, hours, days, stretch, named=named)
        assert list(rules.times(cron, tz, begin - timedelta(seconds=1), end)) == wanted


@pytest.mark.parametrize("tz", ZONES)
@pytest.mark.parametrize(
    ("cron", "minutes", "hours", "days", "named"),
    [
        ("30 2 * * *", {30}, {2}, set(range(7)), True),
        ("0 0,9 * * MON-FRI", {0}, {0, 9}, {1, 2, 3, 4, 5}, True),
        ("15 * * * *", {15}, set(range(24)), set(range(7)), False),
    ],
)
def test_a_whole_year(tz, cron, minutes, hours, days, named):
    end = shown(tz)[-1][0]
    wanted = expected(tz, minutes, hours, days, slice(None), named=named)
    assert list(rules.times(cron, tz, YEAR - timedelta(seconds=1), end)) == wanted


def test_the_night_of_the_change_in_berlin():
    def around(cron: str, *day: int) -> list[str]:
        begin = datetime(*day, tzinfo=rules.zone("Europe/Berlin"))
        found = rules.times(cron, "Europe/Berlin", begin, begin + timedelta(hours=20))
        return [at.astimezone(rules.zone("Europe/Berlin")).isoformat() for at in found]

    assert around("30 2 * * *", 2026, 3, 29) == ["2026-03-29T03:00:00+02:00"]
    assert around("30 2 * * *", 2026, 10, 25) == ["2026-10-25T02:30:00+02:00"]
    assert around("0 2,3 * * *", 2026, 3, 29) == ["2026-03-29T03:00:00+02:00"]  # not twice
    assert len(around("*/30 2 * * *", 2026, 10, 25)) == 4
    assert around("*/30 2 * * *", 2026, 3, 29) == []


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(ZONES), st.integers(0, 365 * 86400 - 1))
def test_asked_from_anywhere_it_is_the_next_one(tz, second):
    """The answer does not depend on where one begins: after any moment it is the first that is later."""
    at = YEAR + timedelta(seconds=second)
    for cron in ("30 2 * * *", "*/20 * * * *"):
        found = rules.next_after(cron, tz, at)
        assert found is not None
        assert found > at
        assert found in list(rules.times(cron, tz, at - timedelta(days=2), found))


def test_asked_within_the_hour_that_comes_twice_nothing_fires_again():
    for minutes in (10, 40):
        second = datetime(
            2026, 10, 25, 1, minutes, tzinfo=UTC
        )  # 2:10 and 2:40 in Berlin, the second time
        found = rules.next_after("30 2 * * *", "Europe/Berlin", second)
        assert found == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


# What can be ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cron", ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 31 2 *", "x", 5])
def test_expressions_that_cannot_be(cron):
    with pytest.raises(CronError):
        rules.check(Terms(cron))


@pytest.mark.parametrize("tz", ["Berlin", "", "../etc/passwd", "Europe/Nowhere", "/etc/passwd"])
def test_zones_that_cannot_be(tz):
    with pytest.raises(CronError, match="no time zone"):
        rules.check(Terms("0 9 * * *", tz))


def test_terms_that_cannot_be():
    for wrong in (
        {"overlap": "never"},
        {"missed": "some"},
        {"catch_up": -HOUR},
        {"jitter": 24 * HOUR},
        {"jitter": 5},
        {"catch_up": 5},
    ):
        with pytest.raises(UsageError):
            rules.check(Terms("0 9 * * *", **wrong))
    for name in ("", "x" * 201, "a\nb"):
        with pytest.raises(UsageError):
            rules.check_name(name)


def test_words():
    assert rules.words("0 9 * * MON-FRI") == "At 09:00 on Monday through Friday"


def test_jitter_is_the_same_everywhere_and_spread():
    delays = [rules.delay(f"s{n}", YEAR, HOUR) for n in range(200)]
    assert delays == [rules.delay(f"s{n}", YEAR, HOUR) for n in range(200)]
    assert all(timedelta(0) <= each < HOUR for each in delays)
    assert min(delays) < HOUR / 4 < 3 * HOUR / 4 < max(delays)


# What to do -----------------------------------------------------------------------------------------------------------

NINE = datetime(2025, 6, 2, 9, tzinfo=UTC)
HOURLY = "0 * * * *"


def decide(now, *, held=None, alive=False, next_at=NINE, **terms):
    return rules.decide("s", Terms(HOURLY, **terms), next_at, held, now, alive=alive)


def hours(*steps: tuple[str, int]) -> tuple[Step, ...]:
    return tuple(Step(result, NINE.replace(hour=hour)) for result, hour in steps)


def test_what_is_due_is_started_and_the_next_is_in_the_future():
    found = decide(NINE)
    assert found.steps == hours(("started", 9))
    assert found.next_at == found.look_at == NINE + HOUR


def test_what_is_not_due_is_left_alone():
    found = decide(NINE - MINUTE)
    assert (found.steps, found.next_at) == ((), NINE)


def test_late_but_in_time_is_made_up_for():
    assert decide(NINE + 50 * MINUTE).steps == hours(("started", 9))


def test_of_several_the_latest_or_all():
    late = NINE + 2 * HOUR + MINUTE
    latest = decide(late, catch_up=5 * HOUR)
    assert latest.steps == (Step("missed", NINE, NINE + HOUR), *hours(("started", 11)))
    every = decide(late, catch_up=5 * HOUR, missed="all", overlap="allow")
    assert every.steps == hours(("started", 9), ("started", 10), ("started", 11))
    assert every.next_at == latest.next_at == NINE + 3 * HOUR


def test_too_late_is_recorded_and_left_out():
    found = decide(NINE + 30 * HOUR + 2 * MINUTE, catch_up=timedelta(0))
    assert [each.result for each in found.steps] == ["missed"]
    assert found.steps[0].at == NINE
    assert found.next_at == NINE + 31 * HOUR


def test_a_month_of_minutes_is_one_entry_and_at_most_an_hour_of_starts():
    found = rules.decide(
        "s", Terms("* * * * *", missed="all", overlap="allow"), NINE, None,
        NINE + timedelta(days=30), alive=False,
    )  # fmt: skip
    assert found.steps[0].result == "missed"
    assert [each.result for each in found.steps[1:]] == ["started"] * rules.FIRES_AT_ONCE
    assert found.look_at is not None
    assert found.look_at <= NINE + timedelta(days=30)  # the rest at once


def test_overlap():
    assert decide(NINE, alive=True).steps == hours(("overlapped", 9))
    assert decide(NINE, alive=True, overlap="allow").steps == hours(("started", 9))
    cancelling = decide(NINE, alive=True, overlap="cancel_previous")
    assert (cancelling.steps, cancelling.cancel) == (hours(("started", 9)), True)
    assert not decide(NINE, overlap="cancel_previous").cancel
    waiting = decide(NINE, alive=True, overlap="queue")
    assert (waiting.steps, waiting.next_at) == ((), NINE)
    assert waiting.look_at is not None
    assert NINE < waiting.look_at <= NINE + timedelta(seconds=15)


def test_one_that_skips_does_not_overlap_itself_when_it_makes_up():
    found = decide(NINE + HOUR, missed="all", catch_up=5 * HOUR)
    assert found.steps == hours(("started", 9), ("overlapped", 10))


def test_what_waited_for_a_run_is_not_late_and_none_is_lost():
    """The run of 8 took until 13: 9 to 13 follow one by one, although an hour is the longest that a firing may be late."""
    held: datetime | None = None
    now, at = NINE, NINE
    while now < NINE + 4 * HOUR:
        found = decide(now, next_at=at, held=held, alive=True, overlap="queue")
        assert (found.steps, found.next_at) == ((), NINE)
        assert found.look_at is not None
        at, held, now = NINE, found.held_until, now + 10 * MINUTE
    started = []
    while at <= now:
        found = decide(now, next_at=at, held=held, alive=False, overlap="queue")
        started += [each.at.hour for each in found.steps if each.result == "started"]
        assert len([each for each in found.steps if each.result == "started"]) <= 1
        assert found.next_at is not None
        at, held = found.next_at, found.held_until
    assert started == [9, 10, 11, 12, 13]


def test_jitter_delays_the_look_and_not_the_time():
    found = decide(NINE + HOUR, jitter=HOUR / 2, next_at=NINE)
    assert found.next_at is not None
    assert found.look_at == found.next_at + rules.delay("s", found.next_at, HOUR / 2)


def test_a_key_names_schedule_and_time():
    assert rules.start_key("a", NINE) == "schedule:a:2025-06-02T09:00:00Z"
    assert rules.start_key("a", NINE.astimezone(rules.zone("Asia/Tokyo"))) == rules.start_key(
        "a", NINE
    )


# Who declares ---------------------------------------------------------------------------------------------------------


def declared(digest: bytes) -> Declaration:
    return Declaration("s", "w", Terms(HOURLY), None, 0, digest)


def found(digest: bytes, *lost: bytes, seen_s: float | None = 1.0) -> Recorded:
    return Recorded("s", True, digest, lost, HOURLY, "UTC", seen_s)


def test_the_newest_deployment_wins_until_it_is_gone():
    assert rules.wins(declared(b"2"), found(b"1"))  # a new one
    assert rules.superseded(declared(b"2"), found(b"1")) == [b"1"]
    assert not rules.wins(declared(b"1"), found(b"2", b"1"))  # the old one comes back
    assert rules.wins(declared(b"1"), found(b"2", b"1", seen_s=61.0))  # a rollback
    assert rules.superseded(declared(b"1"), found(b"2", b"1")) == [b"2"]
    assert not rules.wins(declared(b"2"), found(b"2"))
    assert not rules.wins(declared(b"2"), Recorded("s", False, None, (), HOURLY, "UTC", None))
