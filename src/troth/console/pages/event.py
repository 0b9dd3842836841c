"""One event that came in: how it came, how it stands and why, what else came under its id, who put it back."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.inbox.model import State
from troth.inbox.rules import BY_PEOPLE
from troth.store.tx import Tx
from troth.view import inbox as view


@dataclass(frozen=True, slots=True)
class Asked:
    """A source, and the id that it gave the event."""

    source: str
    event: str


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    source, event = visit.asked("source"), visit.asked("event")
    if not source or not event:
        raise UsageError("an event has a source and an id: /inbox/event?source=…&event=…")
    return Asked(source, event)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    story = await view.event(tx, visit.site.schema, asked.source, asked.event)
    return {
        "story": story,
        "line": story.line,
        "again": State.RECEIVED in BY_PEOPLE[State(story.line.state)],
        "command": shlex.join(["troth", "inbox", "show", asked.event, "--source", asked.source]),
    }


PAGE = Page(
    name="event",
    path="/inbox/event",
    heading="Event",
    within="inbox",
    ask=ask,
    read=read,
    topics=lambda _asked: ("inbox",),
)
