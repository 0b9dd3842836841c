"""How far a signup has come: what its run has recorded, for people who wait."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from examples.signup.workflow import signup, troth
from troth import RunNotFoundError, Tx
from troth.view import store as view


@dataclass(frozen=True)
class Progress:
    """`state` is the run's; `done` names the steps that are recorded, in their order."""

    id: UUID
    state: str
    account: UUID | None
    done: list[str]
    problem: str | None


async def progress_of(tx: Tx, run_id: UUID) -> Progress | None:
    """What is recorded of this signup; None if there is none with this id."""
    try:
        run = await view.header(tx, troth.schema, run_id)
    except RunNotFoundError:
        return None
    if run.line.workflow != signup.name:
        return None
    journal = await view.entries(tx, troth.schema, run_id)
    results = {entry.path: decoded(entry.payload) for entry in journal if entry.ok}
    account = results.get("create_account")
    return Progress(
        id=run_id,
        state=run.line.state,
        account=UUID(account["id"]) if account else None,
        done=[path for path in results if not path.startswith("!")],
        problem=problem(run.line.state, run.line.reason, decoded(run.detail or run.outcome)),
    )


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
