"""Runs: a filter that is the address, a page of what matches, acts on all of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import runs as view
from troth.view import store
from troth.view.runs import RunFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and the id below which the page begins."""

    which: RunFilter
    after: UUID | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    after = visit.asked("after")
    try:
        return Asked(RunFilter.from_query(visit.query), UUID(after) if after else None)
    except ValueError:
        raise UsageError(f"after is {after!r}: it must be an id") from None


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    schema = visit.site.schema
    which = asked.which
    found = await view.page(tx, schema, which, after=asked.after)
    return {
        "found": found,
        "which": which,
        "workflows": await store.live_workflows(tx, schema),
        "where": urlencode(which.to_query()),
        "command": shlex.join(["troth", "run", "list", *which.to_flags()]),
    }


PAGE = Page(
    name="runs",
    path="/runs",
    heading="Runs",
    menu="Runs",
    key="r",
    ask=ask,
    read=read,
    topics=lambda _asked: ("runs",),
    narrow="say since when, or choose a workflow or states of runs that are alive",
)
