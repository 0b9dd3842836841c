"""What was decided about access, and by which policies.

Why a decision was made as it was is told by `troth.access.explain`, which asks Cedar again: here is what is recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from troth.base.errors import UsageError
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria, Since
from troth.view.model import LAST_ID
from troth.view.paging import (
    PAGE_ROWS,
    PAYLOAD_LIMIT,
    SCAN_LIMIT,
    Blob,
    Page,
    blob,
    cursor,
    line,
    position,
    rows_of,
    scanned_page,
)


class Verdict(StrEnum):
    """What was decided."""

    ALLOWED = "allowed"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class DecisionFilter(Criteria):
    """Which decisions to list. *principal* and *resource*: ids, without their types."""

    principal: str | None = None
    action: str | None = None
    resource: str | None = None
    verdict: Verdict | None = None
    since: Since = Since()  # noqa: RUF009  (frozen)


@dataclass(frozen=True, slots=True)
class DecisionLine:
    """One decision, *age_s* seconds ago. *because*: permit, forbid, default (no policy permits), scope (of a key) or error."""

    id: UUID
    at: datetime
    age_s: float
    principal_type: str
    principal_id: str
    action: str
    resource_type: str
    resource_id: str
    allowed: bool
    because: str
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionStory:
    """All that is recorded of a decision. *digest*: of what was known; *policy_set*: of the policies. *inputs*: what was
    known, as JSON, without what is private. *policies_since*: when these policies first decided; None: they were not kept.
    """

    line: DecisionLine
    errors: tuple[str, ...]
    digest: str
    policy_set: str
    inputs: Blob
    policies_since: datetime | None


class DecisionNotFoundError(UsageError):
    """No decision has this id, or it is forgotten."""


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "decisions.sql")


async def decisions(
    tx: Tx,
    schema: str,
    which: DecisionFilter = DecisionFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[DecisionLine]:
    """A page of decisions, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    q = queries(schema)
    (before,) = position(after, UUID)
    params: dict[str, Any] = {
        "before": before or LAST_ID,
        "since": which.since.at(),
        "principal": which.principal,
        "action": which.action,
        "resource": which.resource,
        "allowed": None if which.verdict is None else which.verdict is Verdict.ALLOWED,
        "limit": rows_of(limit),
        "scan": SCAN_LIMIT,
    }
    statement = q.lines if which.principal is None else q.of_principal
    rows = await (await tx.execute(statement, params)).fetchall()
    if not rows:
        return Page(())
    looked_at, last = rows[0][:2]
    found = [line(DecisionLine, *row[2:]) for row in rows if row[2] is not None]
    at_row = cursor(found[-1].id) if found else None
    return scanned_page(found, limit, looked_at, SCAN_LIMIT, at_row, cursor(last))


async def inputs(tx: Tx, schema: str, decision_id: UUID, *, limit: int = PAYLOAD_LIMIT) -> Blob:
    """What was known when it was decided, or so many bytes of it, as JSON. Raises `DecisionNotFoundError`."""
    params = {"id": decision_id, "most": limit}
    row = await (await tx.execute(queries(schema).inputs, params)).fetchone()
    if row is None:
        raise _no(schema, decision_id)
    return blob(*row) or Blob(0)


async def decision(
    tx: Tx, schema: str, decision_id: UUID, *, payloads: bool = False
) -> DecisionStory:
    """One decision. Raises `DecisionNotFoundError`."""
    params = {"id": decision_id, "payloads": payloads, "most": PAYLOAD_LIMIT}
    row = await (await tx.execute(queries(schema).one, params)).fetchone()
    if row is None:
        raise _no(schema, decision_id)
    told = line(DecisionLine, *row[:11])
    errors, digest, policy_set, size, inputs, since = row[11:]
    return DecisionStory(
        told, tuple(errors), digest, policy_set, blob(size, inputs) or Blob(0), since
    )


def _no(schema: str, decision_id: UUID) -> DecisionNotFoundError:
    return DecisionNotFoundError(f"no decision {decision_id} is recorded in the schema {schema}")
