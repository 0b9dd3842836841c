"""One run: how it stands, its story in three views, its family, what it waits for, and what may be done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.journal.model import Reason, RunState
from troth.store.tx import Tx
from troth.view import run as view
from troth.view.effects import waits_for
from troth.view.model import RunHeader
from troth.view.parked import detail_of, facts_of, what_to_do
from troth.view.run import RunDetail
from troth.view.steps import StepLine
from troth.workflow.differences import shown as difference

VIEWS = ("compact", "timeline", "journal")
_WIDE = 1000  # the timeline's own units


@dataclass(frozen=True, slots=True)
class Asked:
    """A run, how it is to be told, and where the page of that begins."""

    run: UUID
    how: str
    after: str | None
    back: bool


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    text = visit.request.path_params["run"]
    try:
        run = UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not the id of a run") from None
    how = visit.asked("view") or VIEWS[0]
    if how not in VIEWS:
        raise UsageError(f"there is no view {how!r}: there are {', '.join(VIEWS)}")
    return Asked(run, how, visit.asked("after") or None, visit.asks("order", "latest"))


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    schema = visit.site.schema
    detail = await view.detail(tx, schema, asked.run)
    told: dict[str, Any] = {
        "detail": detail,
        "run": detail.header.line,
        "how": asked.how,
        "back": asked.back,
        "parked": parked(detail.header),
        "acts": acts(detail),
    }
    if asked.how == "journal":
        page = await view.journal_page(tx, schema, asked.run, after=asked.after, back=asked.back)
        return told | {"journal": page}
    steps = await view.step_page(
        tx, schema, asked.run, detail.header.line.starts_at, after=asked.after
    )
    return told | {"steps": steps, "bars": bars(steps.rows, detail)}


def parked(header: RunHeader) -> Mapping[str, Any] | None:
    """Why a run stands in attention, and what to do."""
    if header.line.state != RunState.ATTENTION:
        return None
    said = detail_of(header, payloads=False) or {}
    facts = (
        {name: value for name, value in facts_of(said).items() if value is not None} if said else {}
    )
    return {
        "facts": facts,
        "traceback": said.get("traceback"),
        "diff": difference(said["diff"], values=False) if "diff" in said else (),
        "todo": what_to_do(header),
        "effect": waits_for(header),
    }


def acts(detail: RunDetail) -> tuple[str, ...]:
    """What may be done with a run as it stands."""
    line = detail.header.line
    if line.has_ended:
        return ()
    found = ["run.cancel", "run.send"]
    if line.state == RunState.ATTENTION and line.reason != Reason.IN_DOUBT:
        found.insert(0, "run.resume")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Bar:
    """Where a step lies in the timeline, in thousandths of its width."""

    x: int
    width: int


def bars(lines: tuple[StepLine, ...], detail: RunDetail) -> Mapping[str, Bar]:
    """Where the steps of a page lie between the first of them and the last, or now."""
    if not lines:
        return {}
    begin = min(line.first for line in lines)
    ends = [
        line.last if line.answered or detail.header.line.has_ended else detail.now for line in lines
    ]
    span = max((max(ends) - begin).total_seconds(), 0.001)

    def at(moment: datetime) -> int:
        return round(max(0.0, min(1.0, (moment - begin).total_seconds() / span)) * _WIDE)

    return {
        line.path: Bar(min(at(line.first), _WIDE - 4), max(4, at(end) - at(line.first)))
        for line, end in zip(lines, ends, strict=True)
    }


PAGE = Page(
    name="run",
    path="/runs/{run}",
    heading="Run",
    within="runs",
    ask=ask,
    read=read,
    topics=lambda asked: (f"run:{asked.run}",),
    narrow="look at its journal page by page (view=journal)",
)
