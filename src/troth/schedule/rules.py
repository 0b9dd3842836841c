"""When a schedule fires, and what is to be done when it is due. Pure.

A time is a reading of the clock on the wall of the schedule's zone. Two kinds of expression are told apart, as in
Debian's cron (its manual, "Notes on daylight saving time"):

* minute and hour name times ("30 2 * * *"): one firing for each such time. If the clock jumps over it, it fires at the
  moment of the jump; if the clock shows it twice, it fires the first time.
* minute or hour begins with a star ("*/15 * * * *"): it fires whenever the clock shows a time that fits, so nothing is made
  up for when the clock jumps, and an hour that comes twice fires twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from troth.base.errors import UsageError
from troth.schedule.model import (
    LATE,
    MISSED,
    OVERLAPPED,
    OVERLAPS,
    STARTED,
    CronError,
    Decision,
    Declaration,
    Recorded,
    Step,
    Terms,
)

if TYPE_CHECKING:
    from cronsim import CronSim

FIRES_AT_ONCE: Final = 20  # firings of one schedule in one look; the rest comes in the next
_LOOKS_AHEAD: Final = 2000  # times of one schedule that are told apart in one look
ORPHANED_S: Final = (
    60.0  # a declared schedule that no program has confirmed for so long does not fire
)
ON_TIME: Final = timedelta(minutes=1)  # so late is not late: a process may have been busy
CONFIRM_S: Final = 20.0
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_LONGEST_NAME: Final = 200
_REMEMBERED: Final = 20  # declarations that lost


# What can be ----------------------------------------------------------------------------------------------------------


def check_name(name: str) -> None:
    """Raise `UsageError` for a name that cannot be part of a start key."""
    if not 1 <= len(name) <= _LONGEST_NAME or not name.isprintable():
        msg = f"a schedule is named by 1 to {_LONGEST_NAME} printable characters, not {name!r}"
        raise UsageError(msg)


def check(terms: Terms) -> None:
    """Raise `UsageError` for terms that cannot be; `CronError` if it is the expression or the zone."""
    _check_types(terms)
    zone(terms.tz)
    if next_after(terms.cron, terms.tz, datetime(2000, 1, 1, tzinfo=UTC)) is None:
        msg = f"cron {terms.cron!r} never fires: no day fits"
        raise CronError(msg)
    if terms.overlap not in OVERLAPS:
        msg = f"overlap is one of {', '.join(OVERLAPS)}, not {terms.overlap!r}"
        raise UsageError(msg)
    if terms.missed not in MISSED:
        msg = f"missed is one of {', '.join(MISSED)}, not {terms.missed!r}"
        raise UsageError(msg)
    if terms.catch_up < timedelta(0) or not timedelta(0) <= terms.jitter < _DAY:
        msg = "catch_up is not less than 0, and jitter from 0 to less than a day"
        raise UsageError(msg)


def _check_types(terms: Terms) -> None:
    given: dict[str, object] = {
        name: getattr(terms, name) for name in ("cron", "tz", "catch_up", "jitter")
    }
    for name in ("cron", "tz"):
        if not isinstance(given[name], str):
            msg = f"{name} is a text, not {given[name]!r}"
            raise CronError(msg)
    for name in ("catch_up", "jitter"):
        if not isinstance(given[name], timedelta):
            msg = f"{name} is a timedelta, like timedelta(minutes=5), not {given[name]!r}"
            raise UsageError(msg)


def zone(name: str) -> tzinfo:
    """The time zone of this name in the IANA database. Raises `CronError`."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise CronError(_no_zone(name)) from error
    except KeyError:
        raise CronError(_no_zone(name)) from None


def _no_zone(name: str) -> str:
    return f"there is no time zone {name!r} here: use a name like Europe/Berlin (pip install tzdata where the system has none)"


def words(cron: str) -> str:
    """An expression in words, as far as it can be said."""
    try:
        return str(_parsed(cron, datetime(2000, 1, 1)).explain())  # noqa: DTZ001  (a reading of a wall clock)
    except UsageError:
        return cron


# When -----------------------------------------------------------------------------------------------------------------


def next_after(cron: str, tz: str, after: datetime) -> datetime | None:
    """The first firing later than *after* (with a zone), in UTC; None if there is none within 50 years.

    Raises `CronError` for an expression or a zone that cannot be.
    """
    where = zone(tz)
    if _names_times(cron):
        return _next_named(cron, where, after.astimezone(UTC))
    return _next_shown(cron, where, after.astimezone(UTC))


def times(cron: str, tz: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """The firings later than *after* and not later than *until*, in UTC."""
    found = next_after(cron, tz, after)
    while found is not None and found <= until:
        yield found
        found = next_after(cron, tz, found)


def _names_times(cron: str) -> bool:
    fields = cron.split()
    return len(fields) == 5 and not fields[0].startswith("*") and not fields[1].startswith("*")


def _next_named(cron: str, where: tzinfo, after: datetime) -> datetime | None:
    # Later readings are never earlier moments, so it is enough to begin at the reading of *after*.
    for reading in _readings(cron, _reading(after, where)):
        moment = _moment_of(reading, where)
        if moment > after:
            return moment
    return None


def _next_shown(cron: str, where: tzinfo, after: datetime) -> datetime | None:
    """Go through the stretches of time between two jumps of the clock, in each of which it runs evenly."""
    begin = after
    reading = _reading(after, where)
    while True:
        found = next(_readings(cron, reading), None)
        if found is None:
            return None
        offset = _offset(begin, where)
        moment = (found - offset).replace(tzinfo=UTC)
        jump = _first_jump(begin, moment, where)
        if jump is None:
            return moment
        begin = jump
        reading = _reading(jump, where) - _SECOND  # the reading right after the jump counts


def _readings(cron: str, after: datetime) -> Iterator[datetime]:
    yield from _parsed(cron, after)


def _parsed(cron: str, after: datetime) -> CronSim:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        raise UsageError(
            "schedules need the package cronsim: pip install 'troth[schedules]'"
        ) from None
    if len(cron.split()) != 5:
        msg = f"cron {cron!r}: write five fields: minute, hour, day of the month, month, day of the week"
        raise CronError(msg)
    try:
        return CronSim(cron, after)
    except CronSimError as error:
        msg = f"cron {cron!r}: {error}"
        raise CronError(msg) from None


def _reading(moment: datetime, where: tzinfo) -> datetime:
    return moment.astimezone(where).replace(tzinfo=None, fold=0)


def _offset(moment: datetime, where: tzinfo) -> timedelta:
    offset = moment.astimezone(where).utcoffset()
    assert offset is not None
    return offset


def _moment_of(reading: datetime, where: tzinfo) -> datetime:
    """When the clock shows *reading* first; the moment of the jump, if it jumps over it."""
    moment = reading.replace(tzinfo=where).astimezone(UTC)
    if _reading(moment, where) == reading:
        return moment
    jump = _first_jump(moment - 2 * _DAY, moment + 2 * _DAY, where)
    while jump is not None and _reading(jump, where) <= reading:
        jump = _first_jump(jump, moment + 2 * _DAY, where)
    return moment if jump is None else jump


def _first_jump(begin: datetime, end: datetime, where: tzinfo) -> datetime | None:
    """The first moment in (begin, end] at which the clock is set, to the second."""
    if where is UTC:
        return None
    offset = _offset(begin, where)
    early = begin
    while early < end:
        late = min(early + _DAY, end)
        if _offset(late, where) != offset:
            return _bisected(early, late, offset, where)
        early = late
    return None


def _bisected(early: datetime, late: datetime, offset: timedelta, where: tzinfo) -> datetime:
    early = early.replace(microsecond=0)
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        middle = middle.replace(microsecond=0)
        if middle <= early:
            middle = early + _SECOND
        if _offset(middle, where) == offset:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)


def delay(name: str, at: datetime, jitter: timedelta) -> timedelta:
    """How long after its time a firing begins: the same for all processes, spread evenly from 0 to *jitter*."""
    if not jitter:
        return timedelta(0)
    digest = hashlib.blake2b(f"{name}:{at.timestamp()}".encode(), digest_size=8).digest()
    return jitter * (int.from_bytes(digest) / 2**64)


def start_key(name: str, at: datetime) -> str:
    """The start key of a firing: whoever fires it, and however often, there is one run."""
    return f"schedule:{name}:{at.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S.%f').removesuffix('.000000')}Z"


# What to do -----------------------------------------------------------------------------------------------------------


def decide(
    name: str,
    terms: Terms,
    next_at: datetime,
    held_until: datetime | None,
    now: datetime,
    *,
    alive: bool,
) -> Decision:
    """What to do about a schedule whose next firing was *next_at*. *alive*: the run of its last firing has not ended."""
    steps: list[Step] = []
    first, late = _pass_over_late(terms, next_at, held_until, now)
    if late:
        steps.append(late)
    due, after = _due(name, terms, first, now)
    due, left_out = _in_time(due, terms, held_until, now)
    steps += left_out
    if terms.missed == "latest":
        due, left_out = _latest(due, held_until)
        steps += left_out
    if due and alive and terms.overlap == "queue":
        return _wait(steps, due[0], now)
    if (
        terms.overlap == "cancel_previous" and len(due) > 1
    ):  # each would stop the one before at once
        steps += [Step(OVERLAPPED, at) for at in due[:-1]]
        due = due[-1:]
    cancel = bool(due) and alive and terms.overlap == "cancel_previous"
    for n, at in enumerate(due):
        if n == FIRES_AT_ONCE:
            return Decision(tuple(steps), at, now, now, cancel)
        if alive and terms.overlap == "queue":  # started just now
            return _wait(steps, at, now)
        steps.append(Step(OVERLAPPED if alive and terms.overlap == "skip" else STARTED, at))
        alive = alive or terms.overlap in {"skip", "queue"}
    return Decision(
        tuple(steps), after, None if after is None else after + delay(name, after, terms.jitter),
        held_until if after is not None and held_until and after <= held_until else None, cancel,
    )  # fmt: skip


def wait_for_run(next_at: datetime, now: datetime) -> Decision:
    """Leave a schedule as it is, and look again soon."""
    return _wait([], next_at, now)


def _wait(steps: list[Step], at: datetime, now: datetime) -> Decision:
    waited = max(now - at, timedelta(0))
    pause = min(max(waited / 10, _SECOND), 15 * _SECOND)
    return Decision(tuple(steps), at, now + pause, now)


def _too_late(terms: Terms, now: datetime) -> datetime:
    """What is earlier is not made up for."""
    return now - max(terms.catch_up, ON_TIME) - terms.jitter


def _pass_over_late(
    terms: Terms, next_at: datetime, held_until: datetime | None, now: datetime
) -> tuple[datetime | None, Step | None]:
    """The first firing that is not too late, and what to write about those that are."""
    limit = _too_late(terms, now)
    if next_at >= limit or (held_until is not None and next_at <= held_until):
        return next_at, None
    first = next_after(terms.cron, terms.tz, limit - timedelta(microseconds=1))
    return first, Step(LATE, next_at, limit)


def _due(
    name: str, terms: Terms, first: datetime | None, now: datetime
) -> tuple[list[datetime], datetime | None]:
    """The firings that are due, and the one after them."""
    due: list[datetime] = []
    at = first
    while at is not None and at + delay(name, at, terms.jitter) <= now and len(due) < _LOOKS_AHEAD:
        due.append(at)
        at = next_after(terms.cron, terms.tz, at)
    return due, at


def _in_time(
    due: Sequence[datetime], terms: Terms, held_until: datetime | None, now: datetime
) -> tuple[list[datetime], list[Step]]:
    """Without those that came after some that waited for a run, when nobody was there, and are too late."""
    limit = _too_late(terms, now)
    late = [at for at in due if held_until is not None and held_until < at < limit]
    if not late:
        return list(due), []
    return [at for at in due if at not in late], [Step(LATE, late[0], late[-1])]


def _latest(
    due: Sequence[datetime], held_until: datetime | None
) -> tuple[list[datetime], list[Step]]:
    """Of those that nobody was there for, the last one; those that have waited for a run stay."""
    held = [at for at in due if held_until is not None and at <= held_until]
    fresh = due[len(held) :]
    if len(fresh) < 2:
        return list(due), []
    return [*held, fresh[-1]], [Step(LATE, fresh[0], fresh[-2] if len(fresh) > 2 else None)]


# Who declares ---------------------------------------------------------------------------------------------------------


def digest(
    workflow: str, terms: Terms, partition: str | None, priority: int, revision: str
) -> bytes:
    """What a declaration is known by."""
    told = (workflow, terms, partition, priority, revision)
    return hashlib.blake2b(repr(told).encode(), digest_size=16).digest()


def is_stale(seen_s: float | None) -> bool:
    """Is it time to say again that a program with a declaration is there?"""
    return seen_s is None or seen_s >= CONFIRM_S


def wins(mine: Declaration, found: Recorded) -> bool:
    """Does a program's declaration take the place of the recorded one, which is different?

    One that was never seen is a new deployment's, and wins. One that has lost before is an old deployment's: it comes
    back only when nobody with the present one has been there for a while, that is, after a rollback.
    """
    if not found.declared or mine.digest == found.digest:
        return False
    gone = found.seen_s is None or found.seen_s > ORPHANED_S
    return gone or mine.digest not in found.superseded


def superseded(mine: Declaration, found: Recorded) -> list[bytes]:
    """The declarations that have lost, once *mine* has won."""
    lost = [each for each in found.superseded if each != mine.digest]
    if found.digest is not None:
        lost.append(found.digest)
    return lost[-_REMEMBERED:]
