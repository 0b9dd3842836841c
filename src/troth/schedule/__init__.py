"""Runs that are started by the clock: declared in code or stored as data, fired once however many workers there are."""

from troth.schedule.definition import Options, Schedules
from troth.schedule.model import (
    CronError,
    DeclaredScheduleError,
    ScheduleExistsError,
    ScheduleNotFoundError,
)

__all__ = [
    "CronError",
    "DeclaredScheduleError",
    "Options",
    "ScheduleExistsError",
    "ScheduleNotFoundError",
    "Schedules",
]
