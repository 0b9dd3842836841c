"""What starts by the clock: when, in words; when next; what came of the last times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Literal
from uuid import UUID

from troth.schedule import rules
from troth.schedule.model import ScheduleNotFoundError
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria
from troth.view.paging import PAGE_ROWS, Page, cursor, line, position, rows_of

_LAST = 2**31 - 1
_FAR = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ScheduleFilter(Criteria):
    """Which schedules to list."""

    workflow: str | None = None
    paused: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """One schedule. *words*: when it fires, in English. *declared*: in code, not as data. Lengths in seconds.

    *state*: on, paused, or orphaned (no program with its declaration has been there for a minute, so it does not fire).
    *next_in_s*: until its next firing; negative if that is late; None if there is none. *last_s*: since the last one.
    *wishes*: firings that people asked for, still to come.
    """

    name: str
    workflow: str
    cron: str
    tz: str
    words: str
    overlap: str
    catch_up_s: float
    missed: str
    jitter_s: float
    declared: bool
    state: Literal["on", "paused", "orphaned"]
    next_at: datetime | None
    next_in_s: float | None
    paused_at: datetime | None
    paused_by: str | None
    paused_note: str | None
    last_at: datetime | None
    last_s: float | None
    last_result: str | None
    last_run: UUID | None
    seen_at: datetime | None
    wishes: int


@dataclass(frozen=True, slots=True)
class FiringLine:
    """One entry of a schedule's history. *late_s*: how long after its time it was written.

    *until*: of several that were left out, the last. *run_state*: of the run that it started, if that is not forgotten.
    """

    n: int
    at: datetime
    until: datetime | None
    result: str
    run: UUID | None
    run_state: str | None
    by: str | None
    note: str | None
    written_at: datetime
    late_s: float


@dataclass(frozen=True, slots=True)
class ScheduleStory:
    """One schedule, its next times (at most ten, in UTC), and a page of its history, the latest first."""

    line: ScheduleLine
    upcoming: tuple[datetime, ...]
    firings: Page[FiringLine]


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "schedules.sql")


async def schedules(
    tx: Tx,
    schema: str,
    which: ScheduleFilter = ScheduleFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[ScheduleLine]:
    """A page of schedules, by name. Raises `UsageError` for a wrong *after* or *limit*."""
    (last,) = position(after, str)
    found = await _lines(tx, schema, which, after=last or "", limit=rows_of(limit))
    return Page(found, cursor(found[-1].name) if len(found) == limit else None)


async def schedule(
    tx: Tx, schema: str, name: str, *, after: str | None = None, limit: int = PAGE_ROWS
) -> ScheduleStory:
    """One schedule. Raises `ScheduleNotFoundError`, and `UsageError` for a wrong *after* or *limit*."""
    (before,) = position(after, int)
    found = await _lines(tx, schema, ScheduleFilter(), name=name, limit=1)
    if not found:
        raise ScheduleNotFoundError(f"there is no schedule {name}: troth schedule list")
    params: dict[str, Any] = {
        "name": name,
        "before": _LAST if before is None else before,
        "limit": rows_of(limit),
    }
    rows = await (await tx.execute(queries(schema).firings, params)).fetchall()
    lines = tuple(FiringLine(*row) for row in rows)
    after = cursor(lines[-1].n) if len(lines) == limit else None
    return ScheduleStory(found[0], _upcoming(found[0]), Page(lines, after))


async def _lines(
    tx: Tx,
    schema: str,
    which: ScheduleFilter,
    *,
    name: str | None = None,
    after: str = "",
    limit: int,
) -> tuple[ScheduleLine, ...]:
    params: dict[str, Any] = {
        "name": name,
        "workflow": which.workflow,
        "paused": which.paused,
        "after": after,
        "limit": limit,
    }
    rows = await (await tx.execute(queries(schema).lines, params)).fetchall()
    return tuple(_line(*row) for row in rows)


def _line(*row: Any) -> ScheduleLine:
    orphaned, paused_at = row[9], row[12]
    state: Literal["on", "paused", "orphaned"] = "orphaned" if orphaned else "on"
    if paused_at is not None:
        state = "paused"
    return line(ScheduleLine, *row[:4], rules.words(row[2]), *row[4:9], state, *row[10:])


def _upcoming(told: ScheduleLine) -> tuple[datetime, ...]:
    """Its next times, as if nothing kept it from firing; none if it is paused or nobody fires it."""
    if told.next_at is None or told.state != "on":
        return ()
    later = rules.times(told.cron, told.tz, told.next_at, _FAR)
    return (told.next_at, *(each for each in islice(later, 10) if each > told.next_at))[:10]
