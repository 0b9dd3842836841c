"""Reconciliation: how each stands, what our books and theirs differ in, and one break with the evidence of both sides."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.reconcile.model import Action, Break, BreakState, Kind
from troth.store.tx import Tx
from troth.view import reconcile as view
from troth.view.reconcile import BreakFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: BreakFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(BreakFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows. How each stands is on the page that has no filter."""
    schema, which = visit.site.schema, asked.which
    whole = which.is_empty() and asked.after is None
    name = [] if which.name is None else [which.name]
    return {
        "standing": await view.reconciliations(tx, schema) if whole else (),
        "found": await view.breaks(tx, schema, which, after=asked.after),
        "kinds": [each.value for each in Kind],
        "command": shlex.join(["troth", "reconcile", "breaks", *name]),
    }


@dataclass(frozen=True, slots=True)
class One:
    """A break."""

    number: int


def ask_one(visit: Visit) -> One:
    """What the address asks. Raises `UsageError`."""
    text = visit.asked("number")
    if not text.isdecimal() or len(text) > 18:
        raise UsageError("which break? The address must end in ?number=…")
    return One(int(text))


async def read_one(tx: Tx, visit: Visit, asked: One) -> Mapping[str, Any]:
    """What the template shows."""
    story = await view.one_break(tx, visit.site.schema, asked.number)
    found = story.found
    return {
        "story": story,
        "found": found,
        "sides": (("Ours", found.ours), ("Theirs", found.theirs)),
        "words": view.in_words,
        "acts": acts(found),
        "command": shlex.join(["troth", "reconcile", "show", str(found.id)]),
    }


def acts(found: Break) -> tuple[str, ...]:
    """What may be done about a break as it stands."""
    if found.state is BreakState.RESOLVED:
        return ()
    if found.state is not BreakState.OPEN:
        return ("reconcile.reopen", "reconcile.own")
    books = found.action in {
        Action.SETTLE_NOT_DONE,
        Action.BOOK,
        Action.CORRECT,
        Action.REFUND,
        Action.ASK,
        Action.CHOOSE,
    }
    return ("reconcile.accept", *(("reconcile.settle",) if books else ()), "reconcile.own")


PAGE = Page(
    name="reconcile",
    path="/reconcile",
    heading="Reconciliation",
    menu="Reconciliation",
    key="b",
    ask=ask,
    read=read,
    topics=lambda _asked: ("reconcile",),
    narrow="choose a kind",
)
DETAIL = Page(
    name="break",
    path="/break",
    heading="Break",
    within="reconcile",
    ask=ask_one,
    read=read_one,
    topics=lambda _asked: ("reconcile",),
)
