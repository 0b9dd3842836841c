"""Numbers for monitoring that are not in any process, but in the database. Asked by whoever is scraped.

Each statement ends its scan at a limit, so that a number that reaches the limit means "so many or more".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from troth.store.plan import Plan, Statement
from troth.store.queries import load
from troth.store.tx import Row

CAP: Final = 100_000  # rows that are looked at, at most
SCAN: Final = 1_000  # runs in attention whose age is asked

STATES: Final = ("ready", "running", "waiting", "undoing", "attention")


@dataclass(frozen=True, slots=True)
class Gauge:
    """One number, by labels. In seconds, if its name says so."""

    name: str
    meaning: str
    label_names: tuple[str, ...] = ()
    values: dict[tuple[str, ...], float] = field(default_factory=dict)


def gauges(schema: str) -> Plan[list[Gauge]]:
    """All of them, for one schema. Run it in a transaction with a time limit."""
    q = load("troth.view", schema, "gauges.sql")
    bounds = {"cap": CAP, "scan": SCAN}

    runs = yield Statement(q.runs, bounds)
    states: dict[tuple[str, ...], float] = {(state,): 0.0 for state in STATES}
    reasons: dict[tuple[str, ...], float] = {}
    for state, reason, count in runs:
        states[(state,)] = states.get((state,), 0.0) + count
        if state == "attention":
            reasons[(reason or "",)] = float(count)
    ages = yield Statement(q.attention, bounds)
    [ready] = yield Statement(q.ready, bounds)
    [workers] = yield Statement(q.workers)
    outbox = yield Statement(q.outbox, bounds)
    [dead] = yield Statement(q.dead, bounds)
    inbox = yield Statement(q.inbox, bounds)
    overdue = yield Statement(q.overdue, bounds)
    breaks = yield Statement(q.breaks, bounds)
    reconciled = yield Statement(q.reconciled, bounds)
    return [
        Gauge("troth_runs", f"Runs that are alive; {CAP} means so many or more", ("state",), states),
        Gauge("troth_attention_runs", "Runs that need a person", ("reason",), reasons),
        Gauge(
            "troth_attention_oldest_seconds", "How long the oldest of them has stood there",
            ("reason",), {(reason or "",): age for reason, age in ages},
        ),
        Gauge("troth_effects_in_doubt", "Effects of which nobody knows whether they happened", (),
              {(): reasons.get(("in_doubt",), 0.0)}),
        Gauge(
            "troth_ready_oldest_seconds", "How long the oldest run has been due that nobody works on",
            ("queued",), {("false",): max(0.0, ready[0] or 0.0), ("true",): max(0.0, ready[1] or 0.0)},
        ),
        Gauge("troth_workers", "Processes that beat within their lease", ("kind",),
              {("worker",): float(workers[0]), ("client",): float(workers[1])}),
        Gauge("troth_workers_gone", "Dead workers whose runs are not all handed over", (),
              {(): float(workers[2])}),
        Gauge(
            "troth_outbox_waiting", "Deliveries that are not made yet", ("outbox", "destination"),
            {(row[0], row[1]): float(row[2]) for row in outbox},
        ),
        Gauge(
            "troth_outbox_backlog_seconds", "For how long the oldest of them could have been made",
            ("outbox", "destination"), {(row[0], row[1]): row[3] for row in outbox},
        ),
        Gauge("troth_dead_letters", "Deliveries that nobody tries any more", (), {(): float(dead[0])}),
        Gauge("troth_inbox_waiting", "Events that are not applied yet", ("source",),
              {(row[0],): float(row[1]) for row in inbox}),
        Gauge("troth_inbox_oldest_seconds", "For how long the oldest of them has waited", ("source",),
              {(row[0],): row[3] or 0.0 for row in inbox}),
        Gauge("troth_inbox_quarantined", "Events that nobody could apply", ("source",),
              {(row[0],): float(row[2]) for row in inbox}),
        *_of_overdue(overdue),
        *_of_breaks(breaks),
        Gauge("troth_reconcile_last_seconds", "How long ago a run that is due has read both sides", ("reconciliation",),
              {(row[0],): row[1] for row in reconciled}),
    ]  # fmt: skip


def _of_overdue(rows: Sequence[Row]) -> list[Gauge]:
    """As of breaks: how many, how much, how late."""
    counts: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for flow, _, count, _, late in rows:
        counts[flow,] = counts.get((flow,), 0.0) + count
        ages[flow,] = max(ages.get((flow,), 0.0), late)
    money: dict[tuple[str, ...], float] = {(row[0], row[1]): row[3] for row in rows}
    return [
        Gauge("troth_ledger_overdue", "Clearing accounts that should be back at zero by now", ("flow",), counts),
        Gauge("troth_ledger_overdue_money", "What is left on them, in minor units", ("flow", "currency"), money),
        Gauge("troth_ledger_overdue_oldest_seconds", "How long ago the first of them was due", ("flow",), ages),
    ]  # fmt: skip


def _of_breaks(rows: Sequence[Row]) -> list[Gauge]:
    """How many, how much, how old. Money is in minor units, since that is what can be added."""
    counts: dict[tuple[str, ...], float] = {}
    money: dict[tuple[str, ...], float] = {}
    ages: dict[tuple[str, ...], float] = {}
    for name, kind, currency, count, minor, age in rows:
        counts[name, kind] = counts.get((name, kind), 0.0) + count
        ages[name, kind] = max(ages.get((name, kind), 0.0), age)
        if currency:
            money[name, currency] = money.get((name, currency), 0.0) + minor
    return [
        Gauge("troth_reconcile_breaks", "Differences that nobody has explained", ("reconciliation", "kind"), counts),
        Gauge("troth_reconcile_at_risk", "The money in them, in minor units", ("reconciliation", "currency"), money),
        Gauge("troth_reconcile_oldest_seconds", "How long ago the oldest of them counts", ("reconciliation", "kind"), ages),
    ]  # fmt: skip
