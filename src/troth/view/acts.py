"""Who did what: the audit of the desk, what waits for a second person, and which acts need one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from troth.base import codec
from troth.command.acts import ACTS, ActKind, visible
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria, Since
from troth.view.paging import (
    PAGE_ROWS,
    SCAN_LIMIT,
    Page,
    cursor,
    line,
    position,
    rows_of,
    scanned_page,
)


class ActOutcome(StrEnum):
    """What became of an act: it happened, it waits for a second person, or the author's role was not enough."""

    DONE = "done"
    PROPOSED = "proposed"
    REFUSED = "refused"


class ActVia(StrEnum):
    """From where somebody acted."""

    CLI = "cli"
    CONSOLE = "console"
    PROGRAM = "program"


@dataclass(frozen=True, slots=True)
class ActFilter(Criteria):
    """Which acts to list. *act*: `run.cancel`, or all that begin with `run`. *about*: the object, as a whole."""

    by: str | None = None
    act: str | None = None
    about: str | None = None
    outcome: ActOutcome | None = None
    via: ActVia | None = None
    since: Since = Since()  # noqa: RUF009  (frozen)


@dataclass(frozen=True, slots=True)
class ActLine:
    """One act, *age_s* seconds ago. *role* None: a program did it.

    *details* are without what may be confidential. *agrees_with*: who proposed what this one did. *result*: what came of
    it, where that is not plain.
    """

    id: int
    at: datetime
    age_s: float
    by: str
    role: str | None
    via: str
    act: str
    about: str
    details: Mapping[str, Any]
    note: str | None
    outcome: str
    agrees_with: str | None
    result: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ProposalLine:
    """An act that waits for a second person, since *age_s* seconds, and is void after *until*.

    *details* are those that may be read. *hidden*: names of others, which the second person must know. *untold*: they are
    too large for a list, or the act is one of a later version.
    """

    id: int
    act: str
    about: str
    by: str
    note: str | None
    at: datetime
    age_s: float
    until: datetime
    details: Mapping[str, Any]
    hidden: tuple[str, ...]
    untold: bool


@dataclass(frozen=True, slots=True)
class ActRule:
    """One kind of act, and how many people it needs."""

    kind: ActKind
    eyes: int


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "acts.sql")


async def acts(
    tx: Tx,
    schema: str,
    which: ActFilter = ActFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
    scan: int = SCAN_LIMIT,
) -> Page[ActLine]:
    """A page of what people did, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    (before,) = position(after, int)
    params = {
        "before": before,
        "by": which.by,
        "act": which.act,
        "about": which.about,
        "outcome": which.outcome,
        "via": which.via,
        "since": which.since.at(),
        "limit": rows_of(limit),
        "scan": scan,
    }
    q = queries(schema)
    statement = q.of_object if which.about is not None else q.of_person if which.by else q.lines
    rows = await (await tx.execute(statement, params)).fetchall()
    if not rows:
        return Page(())
    looked_at, last, earlier = rows[0][:3]
    found = [_line(row[3:]) for row in rows if row[3] is not None]
    at_row = cursor(found[-1].id) if found else None
    if earlier:  # what comes next is older than was asked for
        looked_at = 0
    return scanned_page(found, limit, looked_at, scan, at_row, cursor(last))


async def waiting(
    tx: Tx, schema: str, *, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[ProposalLine]:
    """A page of what waits for a second person, the oldest first. Raises `UsageError` for a wrong *after* or *limit*.

    Findings about effects wait with their effects: see `view.store.story`.
    """
    (last,) = position(after, int)
    params = {"after": last, "limit": rows_of(limit)}
    rows = await (await tx.execute(queries(schema).waiting, params)).fetchall()
    found = tuple(map(_proposal, rows))
    return Page(found, cursor(found[-1].id) if len(found) == limit else None)


async def rules(tx: Tx, schema: str) -> tuple[ActRule, ...]:
    """All that people may do, in the order of the table, and how many people each needs."""
    rows = await (await tx.execute(queries(schema).rules)).fetchall()
    eyes: dict[str, int] = dict(rows)
    return tuple(ActRule(kind, eyes.get(kind.name, 1)) for kind in ACTS.values())


def _line(row: Sequence[Any]) -> ActLine:
    details, result = (
        None if text is None else codec.decode(text.encode()) for text in (row[8], row[12])
    )
    return line(ActLine, *row[:8], details, *row[9:12], result)


def _proposal(row: Sequence[Any]) -> ProposalLine:
    kind = ACTS.get(row[1])  # None: of a later version, so nobody here knows what is confidential
    details: Mapping[str, Any] | None = None if row[8] is None else codec.decode(row[8])
    if kind is None or details is None or set(details) != set(kind.details):
        return line(ProposalLine, *row[:8], {}, kind.hidden if kind else (), True)
    return line(ProposalLine, *row[:8], visible(kind, details), kind.hidden, False)
