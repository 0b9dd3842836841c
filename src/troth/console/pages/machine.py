"""One machine: drawn, with how many objects are in each state, and its objects."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.pages.machines import declared, in_order
from troth.console.site import Visit
from troth.machine import draw
from troth.machine.model import Declaration, UnknownObjectError
from troth.store.tx import Tx
from troth.view import machines as view
from troth.view.machines import MachineLine, ObjectFilter
from troth.view.paging import Count


@dataclass(frozen=True, slots=True)
class Asked:
    """A machine, a filter of its objects, and where the page begins."""

    machine: str
    which: ObjectFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    machine = visit.asked("machine")
    if not machine:
        raise UsageError("a machine has a name: /machines/machine?machine=…")
    return Asked(machine, ObjectFilter.from_query(visit.query), visit.asked("after") or None)


@dataclass(frozen=True, slots=True)
class StateLine:
    """One state, in words, as the picture shows it. *leads*: each event that is legal there, with where it leads."""

    name: str
    objects: Count
    leads: tuple[tuple[str, str], ...]
    kind: str


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows. Raises `UnknownObjectError` for a machine that there is not."""
    schema = visit.site.schema
    declaration = declared(visit.site).get(asked.machine)
    lines = await view.machines(tx, schema, asked.machine)
    if not lines and declaration is None:
        raise UnknownObjectError(
            f"no machine {asked.machine!r} has objects in the schema {schema}, and this program declares none"
        )
    counts = in_order(lines[0] if lines else MachineLine(asked.machine, {}), declaration)
    return {
        "machine": asked.machine,
        "picture": picture(declaration, counts),
        "states": tuple(in_words(state, n, declaration) for state, n in counts.items()),
        "found": await view.objects(tx, schema, asked.machine, asked.which, after=asked.after),
        "which": asked.which,
        "command": shlex.join(["troth", "machine", "list", asked.machine]),
    }


def picture(declaration: Declaration | None, counts: Mapping[str, Count]) -> Markup | None:
    """The machine drawn; its colours are in app.css. None if this program does not declare it."""
    if declaration is None:
        return None
    return Markup(draw.svg(declaration, counts, styled=False))  # noqa: S704  (it escapes each name)


def in_words(state: str, objects: Count, declaration: Declaration | None) -> StateLine:
    """What the picture says of one state."""
    if declaration is None:
        return StateLine(state, objects, (), "")
    if state not in declaration.moves:
        return StateLine(state, objects, (), "not declared any more")
    kinds = ["initial"] if state == declaration.initial else []
    kinds += ["final"] if state in declaration.final else []
    return StateLine(state, objects, tuple(declaration.moves[state].items()), ", ".join(kinds))


PAGE = Page(
    name="machine",
    path="/machines/machine",
    heading="Machine",
    within="machines",
    ask=ask,
    read=read,
    topics=lambda _asked: ("machines",),
)
