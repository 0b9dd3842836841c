"""The ledger: the trial balance, a place of the tree of accounts and what lies under it, and what is overdue."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.console.page import Page
from troth.console.site import Visit
from troth.store.tx import Tx
from troth.view import ledger as view
from troth.view.ledger import AccountFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A place of the tree, and where the page of its accounts begins."""

    which: AccountFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(AccountFilter.from_query(visit.query), visit.asked("after") or None)


def above(place: str) -> tuple[tuple[str, str], ...]:
    """The way to a place from the root: each part, with the place that it stands for."""
    parts = place.split(":") if place else []
    return tuple((part, ":".join(parts[: n + 1])) for n, part in enumerate(parts))


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    schema = visit.site.schema
    place = asked.which.under or ""
    return {
        "totals": await view.totals(tx, schema),
        "place": place,
        "above": above(place),
        "places": await view.places(tx, schema, place),
        "most_places": view.MOST_PLACES,
        "found": await view.accounts(tx, schema, asked.which, after=asked.after),
        "overdue": await view.overdue(tx, schema),
        "written": view.written,
        "command": shlex.join(["troth", "ledger", "accounts", *([place] if place else [])]),
    }


PAGE = Page(
    name="ledger",
    path="/ledger",
    heading="Ledger",
    menu="Ledger",
    key="l",
    ask=ask,
    read=read,
    topics=lambda _asked: ("ledger",),
    narrow="open a place of the tree",
)
