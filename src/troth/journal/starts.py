"""What two starts with the same key must agree in. Pure."""

from __future__ import annotations

from uuid import UUID

from troth.base import codec
from troth.base.errors import KeyConflictError
from troth.journal.model import family_of

FOREIGN = (
    "this tx is not in the database that holds troth's schema, so the two cannot commit together. "
    "Pass a connection to the same database, or leave tx= out."
)


def start_digest(workflow: str, payload: bytes) -> bytes:
    """What is compared under the lock of the key: the workflow, of whatever version, and its input."""
    return codec.digest(family_of(workflow).encode() + b"\0" + payload)


def deadline_of(starts_at: float, deadline: float | None, within_s: float | None) -> float | None:
    """When a run that starts then must have ended: at a time, within seconds, or the earlier one."""
    said = [deadline, None if within_s is None else starts_at + within_s]
    return min((at for at in said if at is not None), default=None)


def require_same_start(
    key: str, run_id: UUID, found: tuple[str, bytes] | None, workflow: str, payload: bytes
) -> None:
    """Raise `KeyConflictError` if the run that has the key was another request.

    *found* is the workflow and the input of that run; None if it is forgotten, and nobody can tell any more.
    """
    if found is None:
        return
    first_workflow, first_payload = found
    if family_of(first_workflow) != family_of(workflow):
        raise KeyConflictError(key, run_id, {"workflow": (first_workflow, workflow)})
    different = codec.differences(first_payload, payload)
    if different:
        raise KeyConflictError(key, run_id, different)
