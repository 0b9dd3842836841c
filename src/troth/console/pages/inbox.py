"""Events that came in: how each source stands, and the events that a filter finds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.console.deeds.inbox import AT_ONCE
from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import inbox as view
from troth.view.inbox import InboxFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: InboxFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(InboxFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows. How sources stand is counted on the page that has no filter."""
    schema, which = visit.site.schema, asked.which
    whole = which.is_empty() and asked.after is None
    return {
        "sources": await view.sources(tx, schema) if whole else (),
        "found": await view.events(tx, schema, which, after=asked.after),
        "which": which,
        "again": again(which),
        "command": shlex.join(["troth", "inbox", "list", *which.to_flags()]),
    }


def again(which: InboxFilter) -> Mapping[str, str] | None:
    """What the form of putting all of it back is told; None if that is no one act: one state, however old."""
    if len(which.states) != 1 or which.since or not which.states <= frozenset(AT_ONCE):
        return None
    (state,) = which.states
    told = {"state": state, "source": which.source, "type": which.type, "object": which.object}
    return {name: value for name, value in told.items() if value is not None}


PAGE = Page(
    name="inbox",
    path="/inbox",
    heading="Inbox",
    menu="Inbox",
    key="i",
    ask=ask,
    read=read,
    topics=lambda _asked: ("inbox",),
    narrow="choose states that are open: received, parked, quarantined",
)
