"""What our books and theirs differ in, for screens: how each reconciliation stands, its breaks, and one with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from troth.base.errors import MoneyError
from troth.base.money import Money
from troth.reconcile import breaks_store
from troth.reconcile.breaks_store import Happening
from troth.reconcile.model import Break, BreakState, Kind
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria
from troth.view.paging import (
    COUNT_CAP,
    PAGE_ROWS,
    SCAN_LIMIT,
    Count,
    Page,
    capped,
    cursor,
    position,
    rows_of,
    scanned_page,
)

_LAST = 2**63 - 1
_MOST = 200


@dataclass(frozen=True, slots=True)
class BreakFilter(Criteria):
    """Which breaks to list, of those that are not resolved."""

    name: str | None = None
    kinds: frozenset[Kind] = field(default=frozenset(), metadata={"word": "kind"})
    states: frozenset[BreakState] = field(default=frozenset(), metadata={"word": "state"})
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class ReconciliationLine:
    """One reconciliation. *seen_s*: since a program with it was there. *run*, *verdict* and *error*: of the last run that ended.

    *alive*, *phase*: of the run that is asked for or under way. *open*: breaks that nobody has explained, with what is at
    *risk* in words; *oldest_s*: since the oldest of them counts. *closed*: until when its periods are closed.
    """

    name: str
    ours: str
    theirs: str
    every: timedelta | None
    seen_s: float
    run: int | None
    verdict: str | None
    ended_at: datetime | None
    since: datetime | None
    until: datetime | None
    error: str | None
    alive: int | None
    phase: str | None
    open: Count
    risk: tuple[str, ...]
    oldest_s: float | None
    closed: datetime | None


@dataclass(frozen=True, slots=True)
class BreakLine:
    """One break in a list. *age_s*: since what it is about counts. *risk*: in words."""

    id: int
    reconciliation: str
    subject: str
    kind: str
    state: str
    at: datetime
    age_s: float
    risk: str
    note: str
    action: str
    owner: str | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class BreakStory:
    """One break and all that has happened to it. *risk*: in words."""

    found: Break
    risk: str
    history: tuple[Happening, ...]


def queries(schema: str) -> Queries:
    """The statements of these screens."""
    return load("troth.view", schema, "reconcile.sql")


def in_words(minor: int, currency: str) -> str:
    """An amount for people; in minor units where the currency is none of ISO 4217; empty without one."""
    if not currency:
        return ""
    try:
        return str(Money(minor, currency))
    except MoneyError:
        return f"{minor} minor units of {currency}"


async def reconciliations(tx: Tx, schema: str) -> tuple[ReconciliationLine, ...]:
    """All that programs have declared, by name; at most 200."""
    q = queries(schema)
    at_risk = await (await tx.execute(q.at_risk, {"cap": COUNT_CAP})).fetchall()
    risks: dict[str, list[str]] = {}
    for name, currency, minor in at_risk:
        risks.setdefault(name, []).append(in_words(minor, currency))
    params = {"limit": _MOST, "cap": COUNT_CAP + 1}
    rows = await (await tx.execute(q.reconciliations, params)).fetchall()
    return tuple(_line(row, risks) for row in rows)


def _line(row: Sequence[Any], risks: dict[str, list[str]]) -> ReconciliationLine:
    facts = [*row[:13], capped(row[13]), tuple(risks.get(row[0], ())), *row[14:]]
    return ReconciliationLine(*facts)


async def breaks(
    tx: Tx,
    schema: str,
    which: BreakFilter = BreakFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[BreakLine]:
    """A page of breaks that are not resolved, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    (before,) = position(after, int)
    params: dict[str, Any] = {
        "before": _LAST if before is None else before,
        "name": which.name,
        "kinds": sorted(which.kinds) or None,
        "states": sorted(which.states) or None,
        "owner": which.owner,
        "limit": rows_of(limit),
        "scan": SCAN_LIMIT,
    }
    rows = await (await tx.execute(queries(schema).breaks, params)).fetchall()
    looked_at, last = rows[0][:2]
    found = [_break(row) for row in rows if row[2] is not None]
    at_row = cursor(found[-1].id) if found else None
    return scanned_page(found, limit, looked_at, SCAN_LIMIT, at_row, cursor(last))


def _break(row: Sequence[Any]) -> BreakLine:
    facts = [*row[2:9], in_words(row[9], row[10]), *row[11:]]
    return BreakLine(*facts)


async def one_break(tx: Tx, schema: str, number: int) -> BreakStory:
    """One break. Raises `BreakNotFoundError`."""
    q = breaks_store.queries(schema)
    found = await breaks_store.one(tx, q, number)
    history = await breaks_store.history(tx, q, number)
    return BreakStory(found, in_words(found.minor, found.currency), tuple(history))
