"""One request: what must be the same in a retry, what was answered, and which run it is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import requests as view


def ask(visit: Visit) -> str:
    """The id of its record."""
    return str(visit.request.path_params["request"])


async def read(tx: Tx, visit: Visit, asked: str) -> Mapping[str, Any]:
    """What the template shows."""
    story = await view.request(tx, visit.site.schema, asked)
    return {"story": story, "line": story.line, "command": f"troth request show {story.line.id}"}


PAGE = Page(
    name="request",
    path="/requests/{request}",
    heading="Request",
    within="requests",
    ask=ask,
    read=read,
    topics=lambda _asked: ("requests",),
)
