"""The only place that runs the statements about breaks and periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import msgspec

from troth.base import codec
from troth.reconcile import lifecycle
from troth.reconcile.lifecycle import Known
from troth.reconcile.model import (
    Action,
    Break,
    BreakNotFoundError,
    BreakState,
    Finding,
    Item,
    Kind,
    Window,
)
from troth.reconcile.rules import LIMIT
from troth.store.queries import Queries, load
from troth.store.tx import Row, Tx


def queries(schema: str) -> Queries:
    """The statements about breaks for one schema."""
    return load("troth.reconcile", schema, "breaks.sql")


class _Evidence(msgspec.Struct, frozen=True):
    ours: tuple[Item, ...] = ()
    theirs: tuple[Item, ...] = ()
    more: int = 0


# What runs find -------------------------------------------------------------------------------------------------------


async def write(
    tx: Tx, q: Queries, name: str, run: int, findings: Sequence[Finding]
) -> list[tuple[Finding, str]]:
    """Keep what a run has found; those of which something is to be told: found, became, reopened."""
    if not findings:
        return []
    findings = [
        replace(each, minor=min(each.minor, LIMIT)) if each.minor > LIMIT else each
        for each in findings
    ]
    params: dict[str, Any] = {"name": name, "subjects": [each.subject for each in findings]}
    rows = await (await tx.execute(q.standing, params)).fetchall()
    known = {
        row[1]: Known(row[0], row[1], Kind(row[2]), BreakState(row[3]), row[4], row[5])
        for row in rows
    }
    told: list[tuple[int, str]] = []
    news: list[tuple[Finding, str]] = []
    new, old, states = [], [], []
    for each in findings:
        before = known.get(each.subject)
        state, what = lifecycle.again(before, each)
        if what is not None:
            news.append((each, what))
        if before is None:
            new.append(each)
            continue
        old.append((before.id, each))
        states.append(state.value)
        if what is not None:
            told.append((before.id, what))
    if new:
        params = {"name": name, "run": run, **_columns(new)}
        made = await (await tx.execute(q.found, params)).fetchall()
        told += [(row[0], "found") for row in made]
    if old:
        ids = [number for number, _ in old]
        params = {"run": run, "ids": ids, "states": states, **_columns([each for _, each in old])}
        await tx.execute(q.seen, params)
    await tell(tx, q, told, run=run)
    return news


def _columns(findings: Sequence[Finding]) -> dict[str, Any]:
    return {
        "subjects": [each.subject for each in findings],
        "kinds": [each.kind.value for each in findings],
        "ats": [each.at for each in findings],
        "minors": [each.minor for each in findings],
        "currencies": [each.currency for each in findings],
        "notes": [each.note for each in findings],
        "actions": [each.action.value for each in findings],
        "evidence": [
            codec.encode(_Evidence(each.ours, each.theirs, each.more)).decode() for each in findings
        ],
    }


async def tell(
    tx: Tx,
    q: Queries,
    told: Sequence[tuple[int, str]],
    *,
    run: int | None = None,
    by: str | None = None,
    note: str | None = None,
) -> None:
    """Add to the histories of breaks, as they stand now."""
    if told:
        params = {
            "breaks": [number for number, _ in told], "whats": [what for _, what in told],
            "run": run, "by": by, "note": note,
        }  # fmt: skip
        await tx.execute(q.tell, params)


async def resolve_rest(
    tx: Tx, q: Queries, name: str, run: int, window: Window, *, proven: bool
) -> int:
    """What a run would have found and has not is resolved; how many. Without *proven* feeds, only what was wrong with feeds."""
    params = {
        "name": name, "run": run, "since": window.since, "until": window.until, "proven": proven,
    }  # fmt: skip
    rows = await (await tx.execute(q.gone, params)).fetchall()
    await tell(tx, q, [(row[0], "resolved") for row in rows], run=run)
    return len(rows)


async def accepted_statements(tx: Tx, q: Queries, name: str) -> dict[str, int]:
    """By subject: of which statements somebody has explained that they are wrong, and by how much."""
    rows = await (await tx.execute(q.accepted_statements, {"name": name})).fetchall()
    return {row[0]: row[1] for row in rows}


async def open_found(tx: Tx, q: Queries, name: str, run: int) -> int:
    """How many breaks of a run nobody has explained."""
    row = await (await tx.execute(q.open_found, {"name": name, "run": run})).fetchone()
    assert row is not None
    return int(row[0])


async def to_settle(tx: Tx, q: Queries, name: str, run: int) -> list[int]:
    """The breaks of a run that are effects in doubt, shown by their side."""
    rows = await (await tx.execute(q.to_settle, {"name": name, "run": run})).fetchall()
    return [row[0] for row in rows]


async def settled(tx: Tx, q: Queries, run: int) -> int:
    """How many breaks of a run it has settled by itself."""
    row = await (await tx.execute(q.settled, {"run": run})).fetchone()
    assert row is not None
    return int(row[0])


# One break ------------------------------------------------------------------------------------------------------------


def _break(row: Row) -> Break:
    (number, name, subject, kind, state, at, minor, currency, note, action, first, last, run, evidence, *rest) = row  # fmt: skip
    shown = msgspec.convert(evidence, _Evidence)
    owner, until, by, explanation, correction, wanted = rest
    return Break(
        number, name, subject, Kind(kind), BreakState(state), at, minor, currency, note, Action(action), first, last,
        run, shown.ours, shown.theirs, shown.more, owner, until, by, explanation, correction, wanted,
    )  # fmt: skip


async def hold(tx: Tx, q: Queries, number: int) -> Break:
    """A break, locked. Raises `BreakNotFoundError`."""
    return _found(await (await tx.execute(q.hold, {"id": number})).fetchone(), number)


async def one(tx: Tx, q: Queries, number: int) -> Break:
    """A break. Raises `BreakNotFoundError`."""
    return _found(await (await tx.execute(q.one, {"id": number})).fetchone(), number)


def _found(row: Row | None, number: int) -> Break:
    if row is None:
        raise BreakNotFoundError(f"there is no break {number}: troth reconcile breaks")
    return _break(row)


async def explain(
    tx: Tx,
    q: Queries,
    number: int,
    state: BreakState,
    by: str,
    note: str | None,
    *,
    until: datetime | None = None,
    correction: str | None = None,
) -> None:
    """It is explained, or was settled; *by* whom and why."""
    params = {
        "id": number, "state": state, "until": until, "by": by, "note": note, "correction": correction,
    }  # fmt: skip
    await tx.execute(q.explain, params)


async def reopen(tx: Tx, q: Queries, number: int) -> None:
    """It is not explained any more."""
    await tx.execute(q.reopen, {"id": number})


async def own(tx: Tx, q: Queries, number: int, owner: str | None) -> None:
    """Somebody looks after it, or nobody does."""
    await tx.execute(q.own, {"id": number, "owner": owner})


async def want(tx: Tx, q: Queries, number: int, by: str | None) -> None:
    """Somebody wants it to be corrected, or nobody does any more."""
    await tx.execute(q.want, {"id": number, "by": by})


async def next_wanted(tx: Tx, q: Queries, name: str) -> int | None:
    """A break that is to be corrected, held by this transaction."""
    row = await (await tx.execute(q.wanted, {"name": name})).fetchone()
    return None if row is None else int(row[0])


async def expire(tx: Tx, q: Queries, name: str) -> int:
    """Reopen what was accepted until now, some at a time; how many."""
    rows = await (await tx.execute(q.expire, {"name": name})).fetchall()
    await tell(tx, q, [(row[0], "expired") for row in rows])
    return len(rows)


# Looking --------------------------------------------------------------------------------------------------------------


async def breaks(
    tx: Tx,
    q: Queries,
    name: str | None = None,
    *,
    states: Sequence[BreakState] | None = None,
    kind: Kind | None = None,
    owner: str | None = None,
    limit: int = 100,
) -> list[Break]:
    """Breaks, those with the most money first."""
    params: Mapping[str, Any] = {
        "name": name, "states": None if states is None else [each.value for each in states],
        "kind": kind, "owner": owner, "limit": limit,
    }  # fmt: skip
    return [_break(row) for row in await (await tx.execute(q.breaks, params)).fetchall()]


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened to a break: it stood so after it."""

    n: int
    at: datetime
    what: str
    run: int | None
    by: str | None
    kind: str
    minor: int
    state: str
    note: str | None


async def history(tx: Tx, q: Queries, number: int) -> list[Happening]:
    """What happened to a break, in order."""
    rows = await (await tx.execute(q.history, {"id": number})).fetchall()
    return [Happening(*row) for row in rows]


# Periods --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Closable:
    """What there is to know before a period is closed. *since* None: it is the first one.

    *run*: the last that has looked at all of it, with its verdict and result; None: none has. *unexplained*: breaks that
    nobody has explained, and the *worst* of them. *explained*: breaks that somebody has, and a digest of these.
    """

    since: datetime | None
    run: int | None
    verdict: str | None
    result: bytes | None
    unexplained: int
    worst: int | None
    explained: int
    digest: str


async def closable(tx: Tx, q: Queries, name: str, until: datetime) -> Closable:
    """What there is to know, and nobody else closes a period of this reconciliation until *tx* ends."""
    await tx.execute(q.hold_periods, {"name": name})
    last = await (await tx.execute(q.last_period, {"name": name})).fetchone()
    since = None if last is None else last[0]
    params = {"name": name, "since": since, "until": until}
    run = await (await tx.execute(q.covering, params)).fetchone()
    bad = await (await tx.execute(q.unexplained, params)).fetchone()
    good = await (await tx.execute(q.explained, params)).fetchone()
    assert bad is not None
    assert good is not None
    number, verdict, result = (None, None, None) if run is None else run[:3]
    kept = None if result is None else bytes(result)
    return Closable(since, number, verdict, kept, bad[0], bad[1], good[0], good[1])


async def close(
    tx: Tx,
    q: Queries,
    name: str,
    until: datetime,
    found: Closable,
    people: tuple[str, str],
    note: str | None,
) -> None:
    """The period is closed, prepared and approved by these *people*."""
    params = {
        "name": name, "until": until, "since": found.since, "run": found.run, "result": found.result or b"",
        "accepted": found.explained, "prepared": people[0], "approved": people[1], "note": note,
    }  # fmt: skip
    await tx.execute(q.close, params)


@dataclass(frozen=True, slots=True)
class Period:
    """A period that is closed."""

    reconciliation: str
    since: datetime | None
    until: datetime
    run: int
    accepted: int
    prepared_by: str
    approved_by: str
    closed_at: datetime
    note: str | None


async def periods(tx: Tx, q: Queries, name: str | None = None, *, limit: int = 100) -> list[Period]:
    """Closed periods, the last first."""
    rows = await (await tx.execute(q.periods, {"name": name, "limit": limit})).fetchall()
    return [Period(*row) for row in rows]
