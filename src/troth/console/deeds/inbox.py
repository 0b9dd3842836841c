"""Acts on events that came in: putting one back, or all of a kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from troth.base.errors import UsageError
from troth.command.desk import MOST_AT_ONCE
from troth.command.model import Author
from troth.console.deed import Deed, Given, Preview
from troth.inbox import replay, store
from troth.inbox.model import State, Which
from troth.store.tx import Tx
from troth.view.paging import Count

# Of these all can be put back at once. What is parked is tried by itself.
AT_ONCE = (State.QUARANTINED, State.IGNORED)


def _event(given: Given) -> str:
    return given.needed("event")


async def _replay(tx: Tx, schema: str, author: Author, given: Given) -> State:
    return await replay.replay(
        tx, schema, given.needed("source"), given.needed("event"), by=author.by, note=author.note
    )


# All of a kind --------------------------------------------------------------------------------------------------------


def _state(given: Given) -> str:
    text = given.needed("state")
    if text not in AT_ONCE:
        raise UsageError(f"events that are {' or '.join(AT_ONCE)} are put back, not {text!r} ones")
    return text


def _which(given: Given) -> Which:
    return Which(given.text("source"), given.text("type"), given.text("object"))


def _details(given: Given) -> Mapping[str, Any]:
    return {**asdict(_which(given)), "limit": MOST_AT_ONCE}


async def _preview_all(tx: Tx, schema: str, given: Given) -> Preview:
    state, which = State(_state(given)), _which(given)
    found = len(await store.in_state(tx, schema, state, which, MOST_AT_ONCE))
    words = [f"{'event' if found == 1 else 'events'} {'is' if found == 1 else 'are'} {state}"]
    words += [f"{name} {value}" for name, value in asdict(which).items() if value is not None]
    full = found == MOST_AT_ONCE
    most = f"At most {MOST_AT_ONCE:,} at once, those that came last; then do it again."
    return Preview(
        {"words": ", ".join(words), "most": most if full else ""}, count=Count(found, full)
    )


async def _replay_all(tx: Tx, schema: str, author: Author, given: Given) -> list[str]:
    return await replay.replay_all(
        tx, schema, State(_state(given)), _which(given), limit=MOST_AT_ONCE, by=author.by, note=author.note
    )  # fmt: skip


DEEDS = (
    Deed(
        act="inbox.replay", title="Put an event back", button="Put it back", about=_event, do=_replay,
        details=lambda given: {"source": given.needed("source")}, hidden=("event", "source"),
        said=lambda _, was: f"The event is put back: it was {was}, and is applied by the next worker.",
        note="What you have mended, for the record", told=lambda was: {"was": was},
        back=lambda given: ("/inbox/event", {"source": given.text("source"), "event": given.text("event")}),
    ),
    Deed(
        act="inbox.replay_all", title="Put events back", button="Put them back", about=_state, do=_replay_all,
        details=_details, hidden=("state", "source", "type", "object"), preview=_preview_all, template="act_count.html",
        said=lambda given, done: (
            f"{len(done)} {'event' if len(done) == 1 else 'events'} that {'was' if len(done) == 1 else 'were'} "
            f"{given['state']} {'is' if len(done) == 1 else 'are'} put back, and applied by the next worker."
        ),
        note="What you have mended, for the record", told=lambda done: {"events": done}, grave=True,
        back=lambda given: ("/inbox", {"state": given.text("state"), "source": given.text("source")}),
    ),
)  # fmt: skip
