"""The words of schedules: what one promises, how it stands, and what came of its firings. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias
from uuid import UUID

from troth.base.errors import TrothError, UsageError

Overlap: TypeAlias = Literal["skip", "queue", "allow", "cancel_previous"]
Missed: TypeAlias = Literal["latest", "all"]
OVERLAPS: Final = ("skip", "queue", "allow", "cancel_previous")
MISSED: Final = ("latest", "all")

# What came of a firing.
STARTED: Final = "started"
OVERLAPPED: Final = "overlapped"  # left out: the run before it was still alive
LATE: Final = "missed"  # left out: no worker was there in time
PAUSED: Final = "paused"  # left out: somebody had paused it
BROKEN: Final = "failed"  # the arguments could not be made; nothing was started
Result: TypeAlias = Literal["started", "overlapped", "missed", "paused", "failed"]


class CronError(UsageError):
    """A cron expression or a time zone that cannot be."""


class ScheduleNotFoundError(TrothError):
    """No schedule has this name."""


class ScheduleExistsError(TrothError):
    """There is a schedule of this name already."""


class DeclaredScheduleError(UsageError):
    """The schedule is declared in code: it is changed and deleted there."""


@dataclass(frozen=True, slots=True)
class Terms:
    """When a schedule fires, and what becomes of firings that come at a bad time."""

    cron: str
    tz: str = "UTC"
    overlap: Overlap = "skip"
    catch_up: timedelta = timedelta(hours=1)
    missed: Missed = "latest"
    jitter: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of a schedule's history that is to be written: *at* is the time on the clock, *until* of a range the last."""

    result: Result
    at: datetime
    until: datetime | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about a schedule that is due.

    *cancel*: the run before is asked to stop. *look_at*: when to look at it again; None: never. *held_until*: what was due
    by then waits for the run before, and is not late however long that takes.
    """

    steps: tuple[Step, ...]
    next_at: datetime | None
    look_at: datetime | None
    held_until: datetime | None
    cancel: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """A schedule that this process has locked, since it is due."""

    name: str
    workflow: str
    terms: Terms
    declared: bool
    input: bytes | None  # of a stored one: its arguments by name
    time_in: str | None  # the parameter that gets the time of the firing
    partition: str | None
    priority: int
    next_at: datetime
    held_until: datetime | None
    last_run: UUID | None
    entries: int  # how many its history has had


@dataclass(frozen=True, slots=True)
class Wish:
    """A firing that a person asked for."""

    id: int
    schedule: Due
    at: datetime
    by: str
    note: str | None


@dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule as a program declares it, and what its code is known by."""

    name: str
    workflow: str
    terms: Terms
    partition: str | None
    priority: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the database knows of a declared schedule. *seen_s*: how long ago a program with this declaration was there."""

    name: str
    declared: bool
    digest: bytes | None
    superseded: tuple[bytes, ...]
    cron: str
    tz: str
    seen_s: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """How a schedule stands, for people."""

    name: str
    workflow: str
    terms: Terms
    declared: bool
    orphaned: bool  # it is declared, and no program with it has been there lately: it does not fire
    next_at: datetime | None
    paused_at: datetime | None
    paused_by: str | None
    paused_note: str | None
    last_at: datetime | None
    last_result: str | None
    last_run: UUID | None
    seen_at: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a schedule's history. *run_state*: of the run, if there was one and it is not forgotten."""

    n: int
    at: datetime
    until: datetime | None
    result: str
    run: UUID | None
    run_state: str | None
    by: str | None
    note: str | None
    written_at: datetime
