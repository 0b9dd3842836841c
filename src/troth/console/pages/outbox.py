"""Events on their way out: how far each destination is behind, and the deliveries that a filter finds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import outbox as view
from troth.view.outbox import EndpointLine, NoEndpointError, OutboxFilter
from troth.view.paging import Count


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: OutboxFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(OutboxFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows. Lag is counted on the page that has no filter."""
    schema, which = visit.site.schema, asked.which
    whole = which.is_empty() and asked.after is None
    endpoint, dead = None, Count(0)
    if which.endpoint is not None:
        endpoint, dead = await _endpoint(tx, schema, which.endpoint)
    return {
        "lag": await view.lag(tx, schema) if whole else (),
        "found": await view.deliveries(tx, schema, which, after=asked.after),
        "which": which,
        "endpoint": endpoint,
        "dead": dead,
        "command": shlex.join(["troth", "outbox", "list", *which.to_flags()]),
    }


async def _endpoint(tx: Tx, schema: str, endpoint: UUID) -> tuple[EndpointLine | None, Count]:
    """An endpoint and its dead letters; None for one that was removed: its deliveries are still there."""
    try:
        return await view.endpoint(tx, schema, endpoint), await view.dead(tx, schema, endpoint)
    except NoEndpointError:
        return None, Count(0)


PAGE = Page(
    name="outbox",
    path="/outbox",
    heading="Outbox",
    menu="Outbox",
    key="x",
    ask=ask,
    read=read,
    topics=lambda _asked: ("outbox",),
    narrow="choose states of what failed: dead, in doubt",
)
