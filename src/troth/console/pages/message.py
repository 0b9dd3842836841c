"""One message that goes out: to whom, how that stands, and what came of each attempt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from troth.base.errors import UsageError
from troth.console.page import Page
from troth.console.site import Visit
from troth.outbox.model import State
from troth.store.tx import Tx
from troth.view import outbox as view

# What is in one of these is sent again by `outbox.resend`.
_AGAIN: Final = frozenset({State.DEAD, State.IN_DOUBT, State.DELIVERED})


def ask(visit: Visit) -> UUID:
    """What the address asks. Raises `UsageError`."""
    text = visit.request.path_params["message"]
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is not the id of a message") from None


async def read(tx: Tx, visit: Visit, asked: UUID) -> Mapping[str, Any]:
    """What the template shows."""
    story = await view.message(tx, visit.site.schema, asked)
    states = {each.state for each in story.deliveries}
    return {
        "story": story,
        "to": {each.delivery: each for each in story.deliveries},
        "again": bool(states & _AGAIN),
        "twice": bool(states & {State.IN_DOUBT, State.DELIVERED}),
        "command": f"troth outbox list {asked}",
    }


PAGE = Page(
    name="message",
    path="/outbox/messages/{message}",
    heading="Message",
    within="outbox",
    ask=ask,
    read=read,
    topics=lambda _asked: ("outbox",),
)
