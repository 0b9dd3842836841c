"""The effects that somebody must settle, and one effect with all that is recorded of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from troth.base.errors import UsageError
from troth.command.model import Happened
from troth.command.rules import finding_words
from troth.console.page import Page
from troth.console.pages.attention import Asked as AskedList
from troth.console.site import Visit
from troth.journal.model import Reason
from troth.store.tx import Tx
from troth.view import attention, effect
from troth.view.attention import AttentionFilter
from troth.view.effect import EffectDetail
from troth.view.model import from_seconds
from troth.view.parked import what_to_do

# The list -------------------------------------------------------------------------------------------------------------


def ask_list(visit: Visit) -> AskedList:
    """What the address asks. Raises `UsageError`."""
    which = AttentionFilter.from_query(visit.query)
    attention.require_effects(which)
    return AskedList(which, visit.asked("after") or None)


async def read_list(tx: Tx, visit: Visit, asked: AskedList) -> Mapping[str, Any]:
    """What the template shows: of the runs in attention, those that stopped at an effect."""
    schema = visit.site.schema
    found = await attention.effects(tx, schema, asked.which, after=asked.after)
    return {
        "found": found,
        "proposals": await effect.proposals(tx, schema, found.rows),
        "command": shlex.join(["troth", "effect", "list", *asked.which.to_flags()]),
    }


LIST = Page(
    name="effects",
    path="/effects",
    heading="Effects to settle",
    menu="Effects",
    key="e",
    ask=ask_list,
    read=read_list,
    topics=lambda _asked: ("attention",),
    narrow="choose a reason",
)

# One ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """An effect: its run and its path. None: the one that the run stopped at, or the only one."""

    run: UUID
    path: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    text = visit.request.path_params["run"]
    try:
        return Asked(UUID(text), visit.asked("path") or None)
    except ValueError:
        raise UsageError(f"{text!r} is not the id of a run") from None


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    found = await effect.effect(tx, visit.site.schema, asked.run, asked.path)
    shown = shlex.join(["troth", "effect", "show", str(asked.run), found.path])
    return {
        "effect": found,
        "run": found.run.header.line,
        "acts": acts(found),
        "when_s": moments(found),
        "proposes": proposes(found),
        "todo": what_to_do(found.run.header) if found.waits else "",
        "command": shown,
    }


def acts(found: EffectDetail) -> tuple[str, ...]:
    """What may be done about it as it stands."""
    if not found.waits:
        return ()
    if found.run.header.line.reason == Reason.IN_DOUBT:
        return ("effect.settle", "effect.probe")
    return ("run.resume", "effect.settle")


def moments(found: EffectDetail) -> Mapping[str, Any]:
    """The moments that are recorded of how it stands, by their names."""
    names = ("key_until", "lands_until")
    return {
        name: from_seconds(found.said[name]) for name in names if found.said.get(name) is not None
    }


def proposes(found: EffectDetail) -> str:
    """What the proposal says that waits for a second person."""
    if found.proposal is None:
        return ""
    return finding_words(found.path, done=isinstance(found.proposal.finding, Happened))


PAGE = Page(
    name="effect",
    path="/effects/{run}",
    heading="Effect",
    within="effects",
    ask=ask,
    read=read,
    topics=lambda asked: (f"run:{asked.run}",),
    narrow="look at the journal of its run page by page",
)
