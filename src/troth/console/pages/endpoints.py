"""Endpoints of webhooks: who gets what, and which of them fail."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import outbox as view
from troth.view.outbox import EndpointFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: EndpointFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(EndpointFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    which = asked.which
    return {
        "found": await view.endpoints(tx, visit.site.schema, which, after=asked.after),
        "command": shlex.join(["troth", "outbox", "endpoint", "list", *which.to_flags()]),
    }


PAGE = Page(
    name="endpoints",
    path="/outbox/endpoints",
    heading="Endpoints",
    within="outbox",
    ask=ask,
    read=read,
    topics=lambda _asked: ("outbox",),
    narrow="name an outbox",
)
