"""One object of a machine: where it stands, and how it came there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import machines as view
from troth.view.machines import HistoryLine, ObjectStory

# A run, and maybe a step of it: what a step gives as its cause.
_RUN = re.compile(r"(?:run:)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})(?:/.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """An object of a machine, and where the page of its history begins."""

    machine: str
    id: str
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    machine, object_id = visit.asked("machine"), visit.asked("id")
    if not machine or not object_id:
        raise UsageError("an object has a machine and an id: /machines/object?machine=…&id=…")
    return Asked(machine, object_id, visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    story = await view.machine_object(
        tx, visit.site.schema, asked.machine, asked.id, after=asked.after
    )
    return {
        "story": story,
        "line": story.line,
        "causes": {each.seq: cause(visit, story, each) for each in story.history.rows},
        "what": {each.seq: what(each) for each in story.history.rows},
        "command": shlex.join(["troth", "machine", "show", asked.machine, asked.id]),
    }


def cause(visit: Visit, story: ObjectStory, line: HistoryLine) -> str | None:
    """Where the cause of an entry is shown: an event that came in, or a run; None for what is neither."""
    source = story.events.get(line.cause)
    if source is not None:
        return visit.href("/inbox/event", {"source": source, "event": line.cause})
    run = _RUN.fullmatch(line.cause)
    return None if run is None else visit.href(f"/runs/{run[1]}")


def what(line: HistoryLine) -> str:
    """What happened, in words."""
    if line.event is not None:
        said = line.event
    elif line.observed is not None:
        said = f"observed {line.observed}"
        said += f" (over {', '.join(line.path)})" if len(line.path) > 1 else ""
    else:
        said = "created"
    return said


PAGE = Page(
    name="machine_object",
    path="/machines/object",
    heading="Object",
    within="machines",
    ask=ask,
    read=read,
    topics=lambda _asked: ("machines",),
)
