"""Saying what became of an effect, and having the other side asked. Of two people at once, one does it and the other is told."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.base.errors import RunEndedError, UsageError
from troth.command import settle as command
from troth.command import store
from troth.command.model import (
    Author,
    DidNotHappen,
    Finding,
    Happened,
    NotInAttentionError,
    Settlement,
)
from troth.command.rules import finding_words
from troth.command.spelling import as_command
from troth.console.deed import Deed, Field, Given, Preview
from troth.store.tx import Tx
from troth.view import effect as view
from troth.view.effect import EffectDetail, Verdict

DONE, NOT_DONE = "done", "not_done"


def _run(given: Given) -> str:
    return str(given.id("run"))


# What is at stake, before --------------------------------------------------------------------------------------------


async def _waiting(tx: Tx, schema: str, given: Given) -> EffectDetail:
    """The effect that a form is about. Raises `NotInAttentionError`, which says by whom it was settled, and when."""
    run = given.id("run")
    found = await view.effect(tx, schema, run, given.text("path"))
    if not found.waits:
        raise NotInAttentionError(
            _moved_on(run, found.path, found.verdict, found.run.header.line.state)
        )
    return found


def _moved_on(run: UUID, path: str, verdict: Verdict | None, state: str) -> str:
    now = f"Nothing of yours was recorded. Run {run} is {state} now"
    if verdict is None:
        return f"{path} does not wait for anybody to settle it. {now}"
    who = {
        "people": " and ".join(verdict.by),
        "probe": "a probe",
        "answer": "the other side's answer",
    }
    evidence = f" ({verdict.note})" if verdict.note else ""
    return f"{who[verdict.how]} settled {path} at {verdict.at:%F %T} UTC: {verdict.what}{evidence}. {now}"


def _mark(found: EffectDetail) -> str:
    """Another one if anything was recorded of the effect, or if its run stands otherwise."""
    identities = [each.identity for each in found.told]
    seen = (found.path, found.run.header.line.reason, found.run.header.claims, identities)
    return hashlib.sha256(repr(seen).encode()).hexdigest()


async def _preview_settle(tx: Tx, schema: str, given: Given) -> Preview:
    found = await _waiting(tx, schema, given)
    run = _run(given)
    commands = [
        as_command("effect.settle", run, {"path": found.path, "done": done}, "EVIDENCE")
        for done in (True, False)
    ]
    return Preview({"effect": found, "commands": commands}, _mark(found))


async def _preview_probe(tx: Tx, schema: str, given: Given) -> Preview:
    found = await _waiting(tx, schema, given)
    return Preview({"effect": found, "commands": []}, _mark(found))


async def _hold(tx: Tx, schema: str, given: Given) -> EffectDetail:
    """The effect, of a run that is held: nobody else settles it now.

    Raises `NotInAttentionError` if it does not wait, or does not stand as the form has shown it.
    """
    try:
        await store.hold(tx, schema, given.id("run"))
    except (NotInAttentionError, RunEndedError):
        await _waiting(tx, schema, given)  # raises, and says by whom
        raise
    found = await _waiting(tx, schema, given)
    if "shown" in given and given["shown"] != _mark(found):
        msg = "it has moved on since this was shown, so nothing was done: look again"
        raise NotInAttentionError(msg)
    return found


# Settling -------------------------------------------------------------------------------------------------------------


def _finding(given: Given) -> Finding:
    """Raises `UsageError`."""
    found = given.needed("found")
    if found == DONE:
        return Happened(codec.encode(given.json("value")))
    if found != NOT_DONE:
        raise UsageError(f"found is {found!r}: it happened ({DONE}), or it did not ({NOT_DONE})")
    if given.text("value") is not None:
        raise UsageError("what did not happen has no result: leave the result empty")
    return DidNotHappen()


def _details(given: Given) -> dict[str, Any]:
    finding = _finding(given)
    done = isinstance(finding, Happened)
    value = codec.decode(finding.value) if isinstance(finding, Happened) else None
    return {"path": given.text("path"), "done": done, "value": value}


async def _settle(tx: Tx, schema: str, author: Author, given: Given) -> Settlement:
    found = await _hold(tx, schema, given)
    return await command.settle(tx, schema, given.id("run"), found.path, author, _finding(given))


def _settled(given: Given, made: Settlement) -> str:
    done = given["found"] == DONE
    what = f"{made.path}: {finding_words(made.path, done=done)}"
    names = " and ".join(made.agreed)
    if not made.settled:
        return (
            f"{names} proposes of {what}. Nothing is settled until a second person says the same, here or with troth effect "
            "settle."
        )
    then = (
        "The run goes on when a worker claims it, and comes back into attention if its code cannot take the result."
        if done
        else "It may be sent again, when a worker claims the run."
    )
    return f"Settled by {names}, {what}. {then}"


# Probing --------------------------------------------------------------------------------------------------------------


async def _probe(tx: Tx, schema: str, author: Author, given: Given) -> tuple[str, int]:
    found = await _hold(tx, schema, given)
    return await command.probe(
        tx, schema, given.id("run"), found.path, author, anyway=given.flag("anyway")
    )


DEEDS = (
    Deed(
        act="effect.settle", title="Settle an effect", button="Settle it", about=_run, do=_settle, said=_settled,
        details=_details, hidden=("path",), preview=_preview_settle, template="act_effect.html", grave=True,
        fields=(
            Field(
                "found", "What did you find out?", "choice", needed=True,
                choices=(
                    ("", "Choose"), (DONE, "It happened; its result is below"),
                    (NOT_DONE, "It did not happen, and cannot any more"),
                ),
                help="Of an undo, it happened means: it is undone. If it did not, it may be sent again.",
            ),
            Field(
                "value", "Its result, if it happened", "json",
                help='JSON, as the step would have returned it: "re_42", {"id": 7}, or null for nothing.',
            ),
        ),
        note="How do you know? The evidence, for the record", note_needed=True, own_check=True,
        told=lambda made: {"path": made.path},
    ),
    Deed(
        act="effect.probe", title="Ask the other side once more", button="Have it asked", about=_run, do=_probe,
        said=lambda _, made: f"A worker is to ask once more about {made[0]}; what it hears is on the effect's page.",
        details=lambda given: {"path": given.text("path"), "anyway": given.flag("anyway")},
        hidden=("path",), preview=_preview_probe, template="act_effect.html",
        fields=(
            Field(
                "anyway", "Also if the effect had no probe when its run stopped", "flag",
                help="For when one has been deployed since then.",
            ),
        ),
        told=lambda made: {"path": made[0]}, own_check=True,
    ),
)  # fmt: skip
