"""Acts on breaks of reconciliations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from troth.base import lengths
from troth.base.errors import UsageError
from troth.command.model import Author, Settlement
from troth.console.deed import Deed, Field, Given, Place
from troth.reconcile import acts
from troth.reconcile.model import Break
from troth.store.tx import Tx


def _break(given: Given) -> str:
    return str(given.number("break"))


def _back(given: Given) -> Place:
    return "/break", {"number": given.number("break")}


def _until(given: Given) -> dict[str, Any]:
    """Until when: a day, or how long from now, to the second, so that two people say the same. Raises `UsageError`."""
    text, now = given.needed("until"), datetime.now(UTC).replace(microsecond=0)
    try:
        return {"until": now + timedelta(seconds=lengths.seconds(text))}
    except ValueError:
        try:
            return {"until": lengths.moment(text, now)}
        except ValueError as error:
            raise UsageError(f"until: {error}") from None


async def _accept(tx: Tx, schema: str, author: Author, given: Given) -> Break:
    return await acts.accept(tx, schema, given.number("break"), _until(given)["until"], author)


async def _reopen(tx: Tx, schema: str, author: Author, given: Given) -> Break:
    return await acts.reopen(tx, schema, given.number("break"), author)


async def _own(tx: Tx, schema: str, author: Author, given: Given) -> Break:
    return await acts.own(tx, schema, given.number("break"), given.text("owner"), author)


async def _settle(tx: Tx, schema: str, author: Author, given: Given) -> Settlement | Break:
    return await acts.settle_break(tx, schema, given.number("break"), author)


def _settled(given: Given, made: Settlement | Break) -> str:
    if not isinstance(made, Settlement):
        return f"Break {_break(given)} is booked by the next worker that can."
    if made.settled:
        return f"{made.path} did not happen; its run goes on."
    return f"Proposed: {made.needed} people must agree about {made.path}."


def _owned(given: Given, _made: Break) -> str:
    owner = given.text("owner")
    return "Nobody looks after it now." if owner is None else f"{owner} looks after it."


DEEDS = (
    Deed(
        act="reconcile.accept", title="Explain a break", button="Accept it", about=_break, do=_accept, details=_until,
        fields=(Field("until", "Until when", help="A day (2026-12-31), or how long (30d).", needed=True),),
        hidden=("break",), said=lambda given, _: f"Break {_break(given)} is explained until then.", back=_back,
        note="Why: whoever closes the period reads it", note_needed=True,
    ),
    Deed(
        act="reconcile.reopen", title="Take back an explanation", button="Open it again", about=_break, do=_reopen,
        hidden=("break",), said=lambda given, _: f"Break {_break(given)} is open.", back=_back,
    ),
    Deed(
        act="reconcile.own", title="Look after a break", button="Say so", about=_break, do=_own,
        details=lambda given: {"owner": given.text("owner")}, hidden=("break",), said=_owned, back=_back,
        fields=(Field("owner", "Who looks after it", help="Empty: nobody does any more."),),
    ),
    Deed(
        act="reconcile.settle", title="Do what is proposed", button="Do it", about=_break, do=_settle, hidden=("break",),
        said=_settled, back=_back, grave=True, note="How you know, for the record",
    ),
)  # fmt: skip
