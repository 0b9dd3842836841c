"""Billing periods. Pure: times are seconds since 1970, a price's `recurring` says how long."""

import calendar
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any


def boundary(anchor: int, number: int, recurring: Mapping[str, Any]) -> int:
    """`number` intervals after the anchor; in a month without that day, its last day."""
    interval, count = recurring["interval"], recurring["interval_count"] * number
    begin = datetime.fromtimestamp(anchor, UTC)
    if interval in ("day", "week"):
        return int((begin + timedelta(days=count * (7 if interval == "week" else 1))).timestamp())
    months = begin.year * 12 + begin.month - 1 + count * (12 if interval == "year" else 1)
    year, month = divmod(months, 12)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return int(begin.replace(year=year, month=month + 1, day=day).timestamp())


def next_boundary(anchor: int, start: int, recurring: Mapping[str, Any]) -> int:
    """The end of the period that begins at `start`: the first boundary after it.

    Counted from the anchor, so that a subscription of the 31st returns to the 31st after February.
    """
    number = 1
    while (end := boundary(anchor, number, recurring)) <= start:
        number += 1
    return end


def same_rhythm(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two prices are billed at the same times."""
    return all(one[name] == other[name] for name in ("interval", "interval_count"))
