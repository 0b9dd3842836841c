"""Lengths of time and moments, as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def seconds(text: str) -> float:
    """The seconds of '500ms', '5s', '2m', '1h30m', '90d' or '2w'. Raises `ValueError`."""
    parts = _LENGTH.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        msg = f"{text!r} is not a length of time: write 500ms, 5s, 2m, 1h30m, 90d or 2w"
        raise ValueError(msg)
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if total > 10**10:
        msg = f"{text!r} is longer than anybody can wait"
        raise ValueError(msg)
    return total


def moment(text: str, now: datetime) -> datetime:
    """A time written as in ISO 8601 (UTC, if it names no zone), or how long before *now*. Raises `ValueError`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - timedelta(seconds=seconds(text))
        except ValueError:
            msg = f"{text!r} is not a time: write 2026-11-24T08:00, 2026-11-24, or how long ago (2h, 7d)"
            raise ValueError(msg) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def words(length_s: float) -> str:
    """A length of time for people: 12 ms, 3.4 s, 5 min, 2 h 5 min, 3 d 4 h."""
    if length_s < 1:
        return f"{length_s * 1000:.0f} ms"
    if length_s < 60:
        return f"{length_s:.1f} s"
    for big, small, unit in ((86400, 3600, "d h"), (3600, 60, "h min"), (60, 1, "min s")):
        if length_s >= big:
            whole, rest = divmod(int(length_s), big)
            first, second = unit.split()
            return f"{whole} {first}" + (f" {rest // small} {second}" if rest // small else "")
    return f"{length_s:.1f} s"
