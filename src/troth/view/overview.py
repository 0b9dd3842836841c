"""What the overview shows: counters that are links, the oldest ages, and what goes wrong, grouped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.paging import COUNT_CAP, RUN_COUNT_CAP, SCAN_LIMIT, Count, capped

_LOOKED_AT = 300  # runs in attention whose errors are grouped, and failures likewise
_GROUPS = 20
_MINUTES_CAP = 50_000
_DAY_S = 86400.0
# A path says in which branch, and which time: "2.1:charge#3" is the step charge.
_OCCURRENCE = re.compile(r"^[\d.]+:|#\d+$")


@dataclass(frozen=True, slots=True)
class Counters:
    """How much there is of what, at this moment.

    *states*: of the runs that are alive (ready, running, waiting, undoing, attention); a state that nobody is in is left
    out. *reasons*: of those in attention. *dead_letters*: deliveries that are dead or in doubt. *quarantined*: events that
    nobody could apply. *endpoints_off*: endpoints of webhooks that are disabled. *breakers_open*: providers that are not
    called. *workers*: processes that execute runs.
    """

    states: dict[str, Count]
    reasons: dict[str, Count]
    dead_letters: Count
    quarantined: Count
    endpoints_off: Count
    breakers_open: Count
    workers: Count


@dataclass(frozen=True, slots=True)
class Oldest:
    """How many seconds the oldest has waited; None if there is none.

    *due*: a run that a worker may take, of no queue. *in_line*: one that waits in a queue. *attention*: one that waits for
    a person.
    """

    due_s: float | None
    in_line_s: float | None
    attention_s: float | None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Errors of one kind. *reason*: of attention, or None if the runs have failed. *step*: where, as far as it is known.

    *message* and *run* are of the latest one, *latest_s* seconds ago.
    """

    workflow: str
    reason: str | None
    step: str | None
    error: str | None
    message: str | None
    count: Count
    run: UUID
    latest_s: float


@dataclass(frozen=True, slots=True)
class Overview:
    """All of the first screen but its charts."""

    counters: Counters
    oldest: Oldest
    troubles: tuple[Trouble, ...]


@dataclass(slots=True)
class _Group:
    run: UUID
    message: str | None
    latest_s: float
    n: int = field(default=0)


@dataclass(frozen=True, slots=True)
class Point:
    """What workers have done from *at* on, in one step of a chart.

    *started*: runs taken up for the first time. *attention*: runs that came to stand in it. *steps*: calls that were
    answered. *unknown*: attempts of effects whose outcome was not known.
    """

    at: datetime
    started: int
    succeeded: int
    failed: int
    cancelled: int
    attention: int
    steps: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Chart:
    """What workers have done lately, the oldest first, in steps of *step_s* seconds.

    *since*: None if all is in it; else what is older than that is missing, because there is too much of it.
    """

    step_s: int
    points: tuple[Point, ...]
    since: datetime | None


class Span(StrEnum):
    """How far back a chart goes."""

    HOUR = "1h"
    SIX_HOURS = "6h"
    DAY = "24h"
    TWO_DAYS = "48h"


# Seconds of the whole, and of one step: sixty to a hundred steps.
_SPANS = {
    Span.HOUR: (3600, 60),
    Span.SIX_HOURS: (6 * 3600, 300),
    Span.DAY: (24 * 3600, 900),
    Span.TWO_DAYS: (48 * 3600, 1800),
}


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "overview.sql")


async def overview(tx: Tx, schema: str) -> Overview:
    """The first screen."""
    return Overview(
        await counters(tx, schema), await oldest(tx, schema), await troubles(tx, schema)
    )


async def counters(tx: Tx, schema: str) -> Counters:
    """How much there is of what."""
    q = queries(schema)
    rows = await (await tx.execute(q.runs, {"cap": RUN_COUNT_CAP + 1})).fetchall()
    cut = sum(n for *_, n in rows) > RUN_COUNT_CAP
    failing = await (await tx.execute(q.failing, {"cap": COUNT_CAP + 1})).fetchone()
    assert failing is not None
    return Counters(
        _summed(((state, n) for state, _, n in rows), cut=cut),
        _summed(((reason, n) for state, reason, n in rows if state == "attention"), cut=cut),
        *map(capped, failing),
    )


async def oldest(tx: Tx, schema: str) -> Oldest:
    """How long the oldest ones have waited."""
    row = await (await tx.execute(queries(schema).oldest, {"cap": RUN_COUNT_CAP + 1})).fetchone()
    assert row is not None
    return Oldest(*(None if age is None else max(0.0, age) for age in row))


async def minutes(
    tx: Tx, schema: str, span: Span = Span.HOUR, *, workflow: str | None = None
) -> Chart:
    """What workers have done lately, of one workflow or all; nothing is known of more than two days.

    A worker says what it has done once a minute, so the last step is not complete.
    """
    span_s, step_s = _SPANS[span]
    params = {"span_s": span_s, "step_s": step_s, "workflow": workflow, "cap": _MINUTES_CAP}
    rows = await (await tx.execute(queries(schema).minutes, params)).fetchall()
    cut = bool(rows) and rows[0][8] >= _MINUTES_CAP
    return Chart(step_s, tuple(Point(*row[:8]) for row in rows), rows[0][9] if cut else None)


async def troubles(tx: Tx, schema: str) -> tuple[Trouble, ...]:
    """What goes wrong, the most frequent first; at most 20 kinds.

    Of runs in attention the latest 300 are looked at; of the latest 10,000 runs that began within a day and have ended,
    those that failed.
    """
    q = queries(schema)
    parked = await (await tx.execute(q.parked, {"limit": _LOOKED_AT})).fetchall()
    params = {"within_s": _DAY_S, "scan": SCAN_LIMIT, "limit": _LOOKED_AT}
    failed = await (await tx.execute(q.failed, params)).fetchall()
    return grouped(
        [
            *((run, flow, reason, detail, s) for run, flow, reason, detail, s in parked),
            *((run, flow, None, outcome, s) for run, flow, outcome, s in failed),
        ],
        cut=max(len(parked), len(failed)) >= _LOOKED_AT,
    )


def grouped(found: Sequence[Sequence[Any]], *, cut: bool = False) -> tuple[Trouble, ...]:
    """Errors by kind: rows of run, workflow, reason, what is recorded of it, and seconds since."""
    groups: dict[tuple[str, str | None, str | None, str | None], _Group] = {}
    for run, workflow, reason, stored, age_s in found:
        said = codec.decode(stored) if stored else {}
        said = said if isinstance(said, dict) else {}
        step = said.get("at")
        where = _OCCURRENCE.sub("", step) if isinstance(step, str) else None
        kind = (workflow, reason, where, said.get("type"))
        group = groups.get(kind)
        if group is None or age_s < group.latest_s:
            told = said.get("message")
            fresh = _Group(run, None if told is None else str(told), max(0.0, age_s))
            fresh.n = group.n if group else 0
            groups[kind] = group = fresh
        group.n += 1
    most = sorted(groups.items(), key=lambda each: (-each[1].n, each[1].latest_s))[:_GROUPS]
    return tuple(
        Trouble(*kind, group.message, Count(group.n, cut), group.run, group.latest_s)
        for kind, group in most
    )


def _summed(pairs: Iterable[tuple[str | None, int]], *, cut: bool) -> dict[str, Count]:
    found: dict[str, int] = {}
    for name, n in pairs:
        if name is not None:
            found[name] = found.get(name, 0) + n
    return {name: Count(min(n, RUN_COUNT_CAP), cut) for name, n in found.items()}
