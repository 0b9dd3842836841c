"""Requests by their idempotency keys: what was answered first, and what is not answered yet."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import requests as view
from troth.view.requests import RequestFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: RequestFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(RequestFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    found = await view.requests(tx, visit.site.schema, asked.which, after=asked.after)
    command = shlex.join(["troth", "request", "list", *asked.which.to_flags()])
    return {"found": found, "which": asked.which, "command": command}


PAGE = Page(
    name="requests",
    path="/requests",
    heading="Requests",
    menu="Requests",
    key="q",
    ask=ask,
    read=read,
    topics=lambda _asked: ("requests",),
    narrow="say the key, or since when",
)
