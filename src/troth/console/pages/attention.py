"""What waits for a person: one queue, what has waited longest first, with who looks after it and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from troth.console.page import Page
from troth.console.site import Visit
from troth.journal.model import Reason
from troth.store.tx import Tx
from troth.view import attention as view
from troth.view import effect, ledger, store
from troth.view.attention import AttentionFilter, AttentionLine


@dataclass(frozen=True, slots=True)
class Asked:
    """A filter, and where the page begins."""

    which: AttentionFilter
    after: str | None


def ask(visit: Visit) -> Asked:
    """What the address asks. Raises `UsageError`."""
    return Asked(AttentionFilter.from_query(visit.query), visit.asked("after") or None)


async def read(tx: Tx, visit: Visit, asked: Asked) -> Mapping[str, Any]:
    """What the template shows."""
    schema = visit.site.schema
    found = await view.attention(tx, schema, asked.which, after=asked.after)
    everything = asked.after is None and asked.which == AttentionFilter()
    return {
        "found": found,
        "overdue": await ledger.overdue(tx, schema) if everything else None,
        "which": asked.which,
        "reasons": await view.reasons(tx, schema),
        "proposals": await effect.proposals(tx, schema, found.rows),
        "next_act": next_act,
        "workflows": await store.live_workflows(tx, schema),
        "where": urlencode(asked.which.to_query()),
        "command": shlex.join(["troth", "attention", "list", *asked.which.to_flags()]),
    }


def next_act(line: AttentionLine) -> str:
    """The act that most likely comes next."""
    return "effect.settle" if line.reason == Reason.IN_DOUBT else "run.resume"


PAGE = Page(
    name="attention",
    path="/attention",
    heading="Needs attention",
    menu="Attention",
    key="a",
    ask=ask,
    read=read,
    topics=lambda _asked: ("attention", "overdue"),
    narrow="choose a reason or a workflow",
)
