"""Acts on events on their way out: sending again, and whether an endpoint is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal
from uuid import UUID

from troth.command.model import Author, NotInAttentionError
from troth.console.deed import Deed, Given, Preview
from troth.outbox import store
from troth.store.plan import carry_out
from troth.store.tx import Tx
from troth.view import outbox as view


async def _resend(tx: Tx, schema: str, _author: Author, given: Given) -> list[UUID]:
    q = store.queries(schema)
    if "message" in given:
        found = await carry_out(tx, store.resend(q, message=given.id("message")))
        missing = "nothing of this message can be sent again: it is on its way, or its endpoint was removed"
    else:
        found = await carry_out(tx, store.resend(q, endpoint=given.id("endpoint")))
        missing = "there is no dead letter to send again"
    if not found:
        raise NotInAttentionError(missing)
    return found


def _resent(_given: Given, found: list[UUID]) -> str:
    many = f"{len(found):,} deliveries are" if len(found) != 1 else "One delivery is"
    return f"{many} due now, and {'go' if len(found) != 1 else 'goes'} out by the next relay."


def _told(found: list[UUID]) -> dict[str, Any]:
    return {"messages": found}


async def _preview_all(tx: Tx, schema: str, given: Given) -> Preview:
    line = await view.endpoint(tx, schema, given.id("endpoint"))
    count = await view.dead(tx, schema, line.id)
    return Preview(
        {"words": f"dead {'letter' if count.n == 1 else 'letters'} for {line.url}", "most": ""}, count=count
    )  # fmt: skip


# Endpoints ------------------------------------------------------------------------------------------------------------


async def _preview_endpoint(tx: Tx, schema: str, given: Given) -> Preview:
    """Which endpoint it is: an id says nothing to people."""
    line = await view.endpoint(tx, schema, given.id("endpoint"))
    return Preview({"url": line.url})


async def _switch(verb: str, tx: Tx, schema: str, author: Author, given: Given) -> None:
    q = store.queries(schema)
    await carry_out(tx, store.switch_endpoint(q, given.id("endpoint"), verb, author.by))


def _switching(verb: Literal["enable", "disable"], title: str, said: str) -> Deed:
    words: Callable[[Given, Any], str] = lambda _given, _made: said  # noqa: E731
    return Deed(
        act=f"outbox.endpoint.{verb}", title=title, button=title, about=lambda given: str(given.id("endpoint")),
        do=partial(_switch, verb), said=words, hidden=("endpoint",), grave=verb == "disable",
        preview=_preview_endpoint, template="act_endpoint.html",
        back=lambda given: ("/outbox", {"endpoint": given.text("endpoint")}),
    )  # fmt: skip


DEEDS = (
    Deed(
        act="outbox.resend", title="Send a message again", button="Send it again",
        about=lambda given: str(given.id("message")), do=_resend, said=_resent, hidden=("message",), told=_told,
        back=lambda given: (f"/outbox/messages/{given.get('message', '')}", {}),
    ),
    Deed(
        act="outbox.resend_all", title="Send dead letters again", button="Send them again",
        about=lambda _: "dead letters", do=_resend, said=_resent, told=_told, grave=True,
        details=lambda given: {"endpoint": given.id("endpoint"), "since": None}, hidden=("endpoint",),
        preview=_preview_all, template="act_count.html",
        back=lambda given: ("/outbox", {"endpoint": given.text("endpoint")}),
    ),
    _switching("enable", "Enable the endpoint", "The endpoint is enabled: what has waited for it goes out now, in order."),
    _switching(
        "disable", "Disable the endpoint", "The endpoint is disabled: what is published for it waits until it is enabled."
    ),
)  # fmt: skip
