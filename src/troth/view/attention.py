"""The list of what waits for a person: why, for how long, what is at stake, who looks after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.base.errors import UsageError
from troth.command.model import Standing
from troth.command.rules import effect_of
from troth.journal.model import Reason
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.effects import EFFECT_REASONS
from troth.view.filters import Criteria
from troth.view.model import from_seconds
from troth.view.paging import (
    PAGE_ROWS,
    RUN_COUNT_CAP,
    SCAN_LIMIT,
    Count,
    Page,
    cursor,
    later,
    position,
    rows_of,
    scanned_page,
)


@dataclass(frozen=True, slots=True)
class AttentionFilter(Criteria):
    """Which runs in attention to list. *owner*: those that this person looks after. *unclaimed*: those that nobody does."""

    reasons: frozenset[Reason] = field(default=frozenset(), metadata={"word": "reason"})
    workflow: str | None = None
    owner: str | None = None
    unclaimed: bool = False


@dataclass(frozen=True, slots=True)
class AttentionLine:
    """One run that waits for a person.

    *age_s*: for how long, in seconds. *path*: the effect that it stopped at, if it did: that one is settled or probed;
    without one the run is resumed. *at*: where it stopped. *error* and *message*: what is known of why. *stake*: what the
    author says is at stake. *settled_by*: how many people must agree on a finding. *sent_at*, *sent_s*: when the effect was
    sent for the first time, and how many seconds ago; *attempts*: how often. *owner*, *claimed_s*: who looks after it, and
    since how many seconds. *note*: what was noted last, and by whom. *untold*: what it was parked with is too large for a
    list.
    """

    run: UUID
    workflow: str
    key: str | None
    reason: str
    since: datetime
    age_s: float
    path: str | None
    at: str | None
    error: str | None
    message: str | None
    stake: str | None
    provider: str | None
    probed: bool
    settled_by: int
    sent_at: datetime | None
    sent_s: float | None
    attempts: int
    owner: str | None
    claimed_at: datetime | None
    claimed_s: float | None
    note: str | None
    noted_by: str | None
    noted_at: datetime | None
    untold: bool


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """How many runs wait for one reason, and the longest wait in seconds."""

    reason: str
    count: Count
    oldest_s: float


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "attention.sql")


async def attention(
    tx: Tx,
    schema: str,
    which: AttentionFilter = AttentionFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[AttentionLine]:
    """A page of what waits for a person, what has waited longest first. Raises `UsageError` for a wrong *after* or *limit*."""
    since, run = position(after, datetime, UUID)
    params = {
        "since": since,
        "run": run,
        "limit": rows_of(limit),
        "scan": SCAN_LIMIT,
        **_params(which),
    }
    rows = await (await tx.execute(queries(schema).lines, params)).fetchall()
    if not rows:
        return Page(())
    looked_at, last_since, last_run = rows[0][:3]
    found = [_line(row[3:]) for row in rows if row[3] is not None]
    return scanned_page(
        found,
        limit,
        looked_at,
        SCAN_LIMIT,
        cursor(later(found[-1].since), found[-1].run) if found else None,
        cursor(later(last_since), last_run),
    )


def require_effects(which: AttentionFilter) -> None:
    """Raise `UsageError` for a reason for which no run stops at an effect."""
    if which.reasons - set(EFFECT_REASONS):
        words = ", ".join(EFFECT_REASONS)
        raise UsageError(f"runs stop at an effect for one of {words}, and for no other reason")


async def effects(
    tx: Tx,
    schema: str,
    which: AttentionFilter = AttentionFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[AttentionLine]:
    """Of such a page, the runs that stopped at an effect, and those of which that cannot be told here.

    Raises `UsageError` as `attention` and `require_effects` do.
    """
    require_effects(which)
    which = replace(which, reasons=which.reasons or frozenset(EFFECT_REASONS))
    found = await attention(tx, schema, which, after=after, limit=limit)
    return replace(found, rows=tuple(each for each in found.rows if each.path or each.untold))


async def ids(tx: Tx, schema: str, which: AttentionFilter, limit: int) -> tuple[UUID, ...]:
    """The runs that match, what has waited longest first: at most *limit*, of the 100,000 that are looked at."""
    params = _params(which) | {"limit": limit, "scan": RUN_COUNT_CAP}
    rows = await (await tx.execute(queries(schema).ids, params)).fetchall()
    return tuple(row[0] for row in rows)


async def reasons(tx: Tx, schema: str) -> tuple[ReasonLine, ...]:
    """How many runs wait for which reason, the most frequent first; at most 100,000 are counted."""
    rows = await (await tx.execute(queries(schema).reasons, {"cap": RUN_COUNT_CAP + 1})).fetchall()
    cut = sum(n for _, n, _ in rows) > RUN_COUNT_CAP
    return tuple(ReasonLine(reason, Count(n, cut), oldest) for reason, n, oldest in rows)


def _params(which: AttentionFilter) -> dict[str, Any]:
    return {
        "reasons": sorted(which.reasons) or None,
        "workflow": which.workflow,
        "owner": which.owner,
        "unclaimed": which.unclaimed,
    }


def _line(row: Sequence[Any]) -> AttentionLine:
    run, workflow, key, reason, since, age_s, stored, owner, claimed_at, claimed_s, *noted = row
    said: dict[str, Any] = codec.decode(stored) if stored else {}
    sent_at = min((from_seconds(each) for each in said.get("sent_at") or ()), default=None)
    return AttentionLine(
        run=run,
        workflow=workflow,
        key=key,
        reason=reason,
        since=since,
        age_s=age_s,
        path=effect_of(Standing(Reason(reason), said)) or None,
        at=_text(said.get("at")),
        error=_text(said.get("type")),
        message=_text(said.get("message")),
        stake=_text(said.get("stake")),
        provider=_text(said.get("provider")),
        probed=bool(said.get("probed")),
        settled_by=int(said.get("settled_by", 1)),
        sent_at=sent_at,
        sent_s=None if sent_at is None else max(0.0, (since - sent_at).total_seconds() + age_s),
        attempts=int(said.get("attempts") or 0),
        owner=owner,
        claimed_at=claimed_at,
        claimed_s=claimed_s,
        note=noted[0],
        noted_by=noted[1],
        noted_at=noted[2],
        untold=stored is None,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
