"""How far a signup has come: what its run has recorded, for people who wait."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from examples.signup.workflow import signup
from troth import Tx

_RUN = """
SELECT state::text, reason, detail FROM troth.run
WHERE id = %(id)s AND workflow = %(workflow)s
UNION ALL
SELECT state::text, NULL, outcome FROM troth.run_history
WHERE id = %(id)s AND workflow = %(workflow)s
"""

_STEPS = """
SELECT path, payload FROM troth.journal
WHERE run_id = %(id)s AND kind = 2 AND ok ORDER BY seq
"""


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
    wanted = {"id": run_id, "workflow": signup.name}
    run = await (await tx.execute(_RUN, wanted)).fetchone()
    if run is None:
        return None
    state, reason, payload = run
    steps = await (await tx.execute(_STEPS, wanted)).fetchall()
    results: dict[str, bytes] = dict(steps)
    created = results.get("create_account")
    return Progress(
        id=run_id,
        state=state,
        account=UUID(msgspec.json.decode(created)["id"]) if created else None,
        done=list(results),
        problem=problem(state, reason, msgspec.json.decode(payload) if payload else None),
    )


def problem(state: str, reason: str | None, detail: Any) -> str | None:
    """What went wrong, in a sentence; None if nothing did."""
    match state, detail:
        case "attention", {"at": step, "message": message}:
            return f"{reason} at {step}: {message}"
        case "attention", _:
            return f"{reason}"
        case "failed", {"message": message}:
            return str(message)
        case _:
            return None
