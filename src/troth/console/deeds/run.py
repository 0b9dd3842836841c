"""Acts on runs, and showing what they hold."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

from troth.base import codec
from troth.command import act, fork, rewind
from troth.command.fork import Fork
from troth.command.model import Author, Rewind
from troth.console import payloads
from troth.console.deed import Deed, Field, Given, Preview
from troth.journal.model import Reason
from troth.store.tx import Tx
from troth.view import store
from troth.view.model import RunHeader

if TYPE_CHECKING:
    from troth.console.site import Site


def _run(given: Given) -> str:
    return str(given.id("run"))


# Going on, stopping, telling ------------------------------------------------------------------------------------------


async def _cancel(tx: Tx, schema: str, author: Author, given: Given) -> RunHeader:
    found = await store.header(tx, schema, given.id("run"))
    await act.cancel(tx, schema, given.id("run"), author)
    return found


def _cancelled(_given: Given, found: RunHeader) -> str:
    if found.owner is not None:
        return (
            f"The run is asked to stop. Worker {found.owner} has it, and hears it within seconds."
        )
    if found.line.reason == Reason.IN_DOUBT:
        return (
            "The run is asked to stop. It is in doubt whether an effect happened, and that is owed an answer first; then it ends "
            "as cancelled."
        )
    return (
        "The run is asked to stop. No worker has it now: the next one that executes its workflow claims it and ends it as "
        "cancelled. Until one runs, the request waits."
    )


async def _resume(tx: Tx, schema: str, author: Author, given: Given) -> Reason:
    return await act.resume(tx, schema, given.id("run"), author)


async def _send(tx: Tx, schema: str, author: Author, given: Given) -> None:
    payload = codec.encode(given.json("value"))
    await act.send(
        tx, schema, given.id("run"), given.needed("topic"), payload, given.text("key"), author
    )


# Going back, forking --------------------------------------------------------------------------------------------------


def _mark(plan: object) -> str:
    return hashlib.sha256(repr(plan).encode()).hexdigest()


async def _preview_rewind(tx: Tx, schema: str, given: Given) -> Preview:
    plan = await rewind.preview(tx, schema, given.id("run"), given.needed("from"))
    told = {
        "kept": plan.kept,
        "settled anew: not blindly repeated": plan.settled_anew,
        "sent anew under another key, since it was refused": plan.sent_anew,
        "run again": plan.run_again,
        "waited for anew": plan.waited_anew,
    }
    return Preview({"groups": told, "redo": bool(plan.run_again)}, _mark(plan))


async def _rewind(tx: Tx, schema: str, author: Author, given: Given) -> Rewind:
    redo = given.flag("redo_transactions")
    return await rewind.rewind(
        tx, schema, given.id("run"), given.needed("from"), author, redo_transactions=redo
    )


async def _preview_fork(tx: Tx, schema: str, given: Given) -> Preview:
    plan = await fork.preview(tx, schema, given.id("run"), given.needed("from"))
    told = {
        "kept": plan.kept,
        "run again": plan.run_again,
        "sent again, under other keys, although the first run has sent it": plan.sent_again,
        "waited for anew": plan.waited_anew,
        "kept, so that both runs believe in it; the fork never undoes it": plan.kept_effects,
    }
    return Preview({"groups": told}, _mark(plan))


async def _fork(tx: Tx, schema: str, author: Author, given: Given) -> UUID:
    run, path = given.id("run"), given.needed("from")
    plan: Fork = await fork.preview(tx, schema, run, path)
    return await fork.fork(tx, schema, run, path, author, plan)


# Payloads -------------------------------------------------------------------------------------------------------------


async def _show(tx: Tx, schema: str, _author: Author, given: Given) -> payloads.Shown:
    return await payloads.beginning_of(tx, schema, given)


def _content(site: Site, given: Given, made: payloads.Shown) -> dict[str, Any]:
    return {"blob": made.blob, "content": payloads.content(site, given, made)}


DEEDS = (
    Deed(
        act="run.cancel", title="Cancel a run", button="Cancel the run", about=_run, do=_cancel, said=_cancelled,
        grave=True, each=True,
    ),
    Deed(
        act="run.resume", title="Let a run go on", button="Let it go on", about=_run, do=_resume,
        said=lambda _, was: f"The run is ready: it was in attention ({was}), and goes on when a worker claims it.",
        note="What you have mended, for the record", each=True, told=lambda was: {"was": was},
    ),
    Deed(
        act="run.send", title="Send a message to a run", button="Send it", about=_run, do=_send,
        said=lambda given, _: f"The run has a message of {given['topic']}.",
        details=lambda given: {
            "topic": given.needed("topic"), "key": given.text("key"), "value": given.json("value")
        },
        fields=(
            Field("topic", "Topic", help="As in troth.receive."),
            Field("value", "Value", "json", default="null", help="JSON. A type that the run does not expect parks it."),
            Field("key", "Key", help="The same key is the same message, however often it is sent. May be empty."),
        ),
    ),
    Deed(
        act="run.rewind", title="Let a run go back", button="Go back", about=_run, do=_rewind,
        said=lambda given, _: f"The run is ready, and goes on from before {given['from']} when a worker claims it.",
        details=lambda given: {
            "from": given.needed("from"), "redo_transactions": given.flag("redo_transactions")
        },
        hidden=("from",), preview=_preview_rewind, template="act_plan.html", grave=True,
        fields=(
            Field(
                "redo_transactions", "Run steps and transactions once more", "flag",
                help="What a transaction among them has committed stays, and is committed once more.",
            ),
        ),
    ),
    Deed(
        act="run.fork", title="Fork a run", button="Start the fork", about=_run, do=_fork, after="act_forked.html",
        said=lambda given, new: f"Run {new} goes on from before {given['from']} when a worker claims it.",
        details=lambda given: {"from": given.needed("from")},
        hidden=("from",), preview=_preview_fork, template="act_plan.html", grave=True,
        told=lambda new: {"run": new},
    ),
    Deed(
        act="payload.show", title="Show what is hidden", button="Show it", do=_show,
        about=lambda given: payloads.holder_of(given).about(given),
        details=lambda given: {
            "of": payloads.holder_of(given).of, "path": payloads.holder_of(given).path(given)
        },
        said=lambda _given, _made: "", hidden=payloads.NAMES, after="payload.html", shown=_content,
        back=payloads.page_of,
    ),
)  # fmt: skip
