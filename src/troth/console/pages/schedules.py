"""Schedules: when each fires, in words; what keeps it from that; what came of the last times."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import schedules as view
from troth.view import store
from troth.view.schedules import ScheduleFilter, ScheduleLine


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: ScheduleFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(ScheduleFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    schema, which = visit.site.schema, asked.which
    return {
        "found": await view.schedules(tx, schema, which, after=asked.after),
        "which": which,
        "workflows": await store.live_workflows(tx, schema),
        "command": shlex.join(["troth", "schedule", "list", *which.to_flags()]),
    }


@dataclass(frozen=True, slots=True)
class One:
    """A schedule, and where the page of its history begins."""

    name: str
    after: str | None


def ask_one(visit: Visit) -> One:
    """What the address asks. Raises `UsageError`."""
    name = visit.asked("name")
    if not name:
        raise UsageError("which schedule? The address must end in ?name=…")
    return One(name, visit.asked("after") or None)


async def read_one(tx: Tx, visit: Visit, asked: One) -> Mapping[str, Any]:
    """What the template shows."""
    story = await view.schedule(tx, visit.site.schema, asked.name, after=asked.after)
    return {
        "story": story,
        "line": story.line,
        "acts": acts(story.line),
        "command": shlex.join(["troth", "schedule", "show", *_argument(story.line.name)]),
    }


def acts(line: ScheduleLine) -> tuple[str, ...]:
    """What may be done with a schedule as it stands."""
    first = "schedule.resume" if line.state == "paused" else "schedule.pause"
    return (first,) if line.state == "orphaned" else (first, "schedule.run")


def _argument(name: str) -> list[str]:
    """A name as an argument, also if it looks like an option."""
    return ["--", name] if name.startswith("-") else [name]


PAGE = Page(
    name="schedules",
    path="/schedules",
    heading="Schedules",
    menu="Schedules",
    key="c",
    ask=ask,
    read=read,
    topics=lambda _asked: ("schedules",),
    narrow="choose a workflow",
)
DETAIL = Page(
    name="schedule",
    path="/schedule",
    heading="Schedule",
    within="schedules",
    ask=ask_one,
    read=read_one,
    topics=lambda _asked: ("schedules", "runs"),
)
