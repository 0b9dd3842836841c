"""How far a signup has come, and what is known about the money: what its run has recorded, for people who wait."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import msgspec

from examples.signup.core import troth
from examples.signup.workflow import signup
from troth import RunNotFoundError, Tx
from troth.journal.model import UNDO_PREFIX
from troth.view import store as view
from troth.view.model import Moment, RunHeader

Money = Literal["untouched", "asked", "unknown", "charged", "given back"]

CHARGES = "subscribe"  # the step that charges a card
MOST_ENTRIES = 500


@dataclass(frozen=True)
class Progress:
    """`state` is the run's; `done` names the steps that are recorded, in their order.

    `money`: *untouched*: the card was not charged. *asked*: the bank was asked, and has not answered yet. *unknown*: no
    answer came, and we are finding out. *charged*. *given back*: it was charged, and the charge was undone.
    """

    id: UUID
    state: str
    account: UUID | None
    done: list[str]
    money: Money
    problem: str | None


async def progress_of(tx: Tx, run_id: UUID) -> Progress | None:
    """What is recorded of this signup; None if there is none with this id."""
    try:
        picture = await view.picture(tx, troth.schema, run_id, limit=MOST_ENTRIES)
    except RunNotFoundError:
        return None
    if picture.header.line.workflow != signup.name:
        return None
    return progress(picture.header, picture.timeline)


def progress(run: RunHeader, timeline: Sequence[Moment]) -> Progress:
    """What a run and its journal say."""
    results = {
        moment.entry.path: decoded(moment.entry.payload)
        for moment in timeline
        if moment.entry.ok and not moment.superseded
    }
    account = results.get("create_account")
    trial = decoded(run.input).get("trial", True)  # a trial asks nobody for money
    said = decoded(run.detail or run.outcome)
    return Progress(
        id=run.line.id,
        state=run.line.state,
        account=UUID(account["id"]) if account else None,
        done=[path for path in results if not path.startswith("!")],
        money="untouched" if trial else money(CHARGES, timeline),
        problem=problem(run.line.state, run.line.reason, said),
    )


def money(step: str, timeline: Sequence[Moment]) -> Money:
    """What the journal knows of the charge that *step* asks for."""
    known: Money = "untouched"
    for moment in timeline:
        match moment.entry.path, moment.what:
            case str(path), "done" if path == f"{UNDO_PREFIX}{step}":
                known = "given back" if known == "charged" else "untouched"
            case str(path), "intent" if path == step and known == "untouched":
                known = "asked"
            case str(path), "no answer" | "unknown" if path == step:
                known = "unknown"
            case str(path), "done" if path == step:
                known = "charged"
            case str(path), "refused" if path == step:
                known = "untouched"
    return known


def problem(state: str, reason: str | None, said: Any) -> str | None:
    """What went wrong, in a sentence; None if nothing did."""
    match state, said:
        case "attention", {"at": step, "message": message}:
            return f"{reason} at {step}: {message}"
        case "attention", _:
            return reason
        case "failed", {"message": message}:
            return str(message)
        case _:
            return None


def decoded(payload: bytes | None) -> Any:
    return msgspec.json.decode(payload) if payload else None
