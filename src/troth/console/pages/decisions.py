"""Access decisions: who wanted what of which, what was answered; and of one of them why, by the policies of its time."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from troth.access import store as access
from troth.access.explain import MEANS, Explanation, explain
from troth.access.model import Because
from troth.base.errors import TrothError, UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.console.trouble import sentence
from troth.store.plan import carry_out
from troth.store.tx import Tx
from troth.view import decisions as view
from troth.view.decisions import DecisionFilter


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: DecisionFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(DecisionFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    found = await view.decisions(tx, visit.site.schema, asked.which, after=asked.after)
    listed = shlex.join(["troth", "access", "decisions", *asked.which.to_flags()])
    return {"found": found, "which": asked.which, "commands": [listed, why(asked.which)]}


def why(which: DecisionFilter) -> str:
    """The command that explains the latest one of a principal; empty without a principal."""
    if which.principal is None:
        return ""
    words = ["troth", "access", "why"]
    for name in ("principal", "action", "resource"):
        value = getattr(which, name)
        words += [] if value is None else [f"--{name}", value]
    return shlex.join(words)


def ask_one(visit: Visit) -> UUID:
    """Which decision. Raises `UsageError`."""
    text = visit.request.path_params["decision"]
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not the id of a decision") from None


async def read_one(tx: Tx, visit: Visit, asked: UUID) -> Mapping[str, Any]:
    """What the template shows."""
    schema = visit.site.schema
    story = await view.decision(tx, schema, asked)
    told, untold = await explained(tx, schema, asked)
    return {
        "story": story,
        "line": story.line,
        "means": MEANS[Because(story.line.because)],
        "told": told,
        "untold": untold,
        "command": f"troth access why {asked}",
    }


async def explained(tx: Tx, schema: str, decision: UUID) -> tuple[Explanation | None, str]:
    """Why it was decided so; or None, and what keeps that from being told."""
    recorded = await carry_out(tx, access.find_decision(access.queries(schema), decision))
    assert recorded is not None  # of the same snapshot
    if recorded.policy_text is None:
        return None, "The policies of that time were not kept, so nothing can be said about them."
    try:
        return await asyncio.to_thread(explain, recorded), ""
    except TrothError as error:  # such as that Cedar is not installed where the console runs
        return None, sentence(error)


PAGE = Page(
    name="decisions",
    path="/decisions",
    heading="Access decisions",
    menu="Access",
    key="d",
    ask=ask,
    read=read,
    topics=lambda _asked: ("decisions",),
    narrow="say since when, or choose a principal",
)
DETAIL = Page(
    name="decision",
    path="/decisions/{decision}",
    heading="Access decision",
    within="decisions",
    ask=ask_one,
    read=read_one,
)
