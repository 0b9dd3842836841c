"""Machines: all that have objects or that this program declares, with how many objects are in which state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from troth.console.page import Page
from troth.console.site import Site, Visit
from troth.machine import Machine
from troth.machine.model import Declaration
from troth.store.tx import Tx
from troth.view import machines as view
from troth.view.machines import MachineLine
from troth.view.paging import Count


def declared(site: Site) -> Mapping[str, Declaration]:
    """The machines that the program of this console includes."""
    parts = site.reach.parts
    return {part.name: part.declaration for part in parts if isinstance(part, Machine)}


def in_order(line: MachineLine, declaration: Declaration | None) -> Mapping[str, Count]:
    """How many objects are in each state: all that are declared, in their order, then those that are not any more."""
    if declaration is None:
        return line.counts
    known = {state: line.counts.get(state, Count(0)) for state in declaration.states}
    return {**known, **{state: n for state, n in line.counts.items() if state not in known}}


async def read(tx: Tx, visit: Visit, _asked: None) -> Mapping[str, Any]:
    """What the template shows."""
    lines = {line.machine: line for line in await view.machines(tx, visit.site.schema)}
    known = declared(visit.site)
    names = sorted({*lines, *known})
    found = [
        (name, in_order(lines.get(name, MachineLine(name, {})), known.get(name)), name in known)
        for name in names
    ]
    return {"found": found, "command": "troth machine list"}


PAGE: Page[None] = Page(
    name="machines",
    path="/machines",
    heading="Machines",
    menu="Machines",
    key="m",
    ask=lambda _visit: None,
    read=read,
    topics=lambda _asked: ("machines",),
)
