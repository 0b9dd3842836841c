"""What is counted and measured of telemetry events: one table, for OpenTelemetry and for Prometheus alike.

Names are those of OpenTelemetry; in Prometheus a dot is an underscore, and the unit and `_total` are appended:
`troth.step.duration` in seconds is `troth_step_duration_seconds`. Labels have few values: no run, key or message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from troth.base import events
from troth.base.events import Event

QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds
SLOW = (
    0.01,
    0.05,
    0.1,
    0.5,
    1,
    5,
    10,
    30,
    60,
    300,
    900,
    3600,
    4 * 3600,
    86400,
    7 * 86400,
)  # seconds
MANY = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # rows


class Measure(NamedTuple):
    """One instrument. *labels* are fields of the event; *value* None: it counts events; *of*: only of these."""

    name: str
    kind: Literal["counter", "histogram"]
    event: type[Event]
    meaning: str
    labels: tuple[str, ...] = ()
    value: Callable[[Any], float | None] | None = None
    unit: str = ""
    buckets: tuple[float, ...] = ()
    of: Callable[[Any], bool] | None = None


def _counts(
    name: str,
    event: type[Event],
    meaning: str,
    *labels: str,
    of: Callable[[Any], bool] | None = None,
) -> Measure:
    return Measure(name, "counter", event, meaning, labels, of=of)


def _times(
    name: str,
    event: type[Event],
    meaning: str,
    field: str,
    *labels: str,
    buckets: tuple[float, ...] = QUICK,
    of: Callable[[Any], bool] | None = None,
) -> Measure:
    def value(each: Any) -> float | None:
        found: float | None = getattr(each, field)
        return found

    return Measure(name, "histogram", event, meaning, labels, value, "s", buckets, of)


def _delivered(each: events.OutboxAttempted) -> bool:
    return each.outcome == "delivered"


def _resent(each: events.FlushDone) -> bool:
    return each.tries > 1


TABLE: tuple[Measure, ...] = (
    _counts("troth.runs.started", events.RunStarted, "Starts", "workflow", "via"),
    _counts("troth.runs.claimed", events.RunClaimed, "Runs taken up", "workflow", "because"),
    _counts("troth.runs.ended", events.RunEnded, "Ends of runs", "workflow", "state"),
    _counts(
        "troth.runs.parked", events.RunAttention, "Runs that came to need a person", "workflow", "reason"
    ),
    _times(
        "troth.run.wait", events.RunClaimed, "From when a run was to begin until it did", "waited_s",
        "workflow", buckets=SLOW,
    ),
    _times(
        "troth.run.duration", events.RunEnded, "From when a run was to begin until its end", "seconds",
        "workflow", "state", buckets=SLOW,
    ),
    _times(
        "troth.step.duration", events.StepEnded, "Bodies of steps", "seconds",
        "workflow", "step", "kind", "outcome",
    ),
    _counts("troth.step.retries", events.StepRetry, "Attempts to be made again", "workflow", "step"),
    _counts(
        "troth.effect.outcomes", events.EffectOutcome, "What attempts of effects came to",
        "step", "provider", "outcome", "decided_by",
    ),
    _counts("troth.effect.probes", events.EffectProbed, "Questions to other sides", "step", "answer"),
    _counts("troth.effect.doubts", events.EffectInDoubt, "Effects in doubt", "step", "provider"),
    _counts("troth.effect.undone", events.EffectUndone, "Calls that were undone", "workflow"),
    _times(
        "troth.effect.held", events.EffectHeld, "Waits for a provider's permission", "wait_s", "provider",
        buckets=SLOW,
    ),
    _counts("troth.messages.sent", events.MessageSent, "Messages left for runs by this process"),
    _counts("troth.messages.heard", events.MessageHeard, "Messages that runs were told", "workflow"),
    _counts(
        "troth.schedule.firings", events.ScheduleFired, "Times of schedules", "schedule", "result"
    ),
    _times(
        "troth.schedule.delay", events.ScheduleFired, "How late schedules fire", "late_s", "schedule",
        buckets=SLOW,
    ),
    _times("troth.flush.duration", events.FlushDone, "Group commits", "seconds"),
    Measure(
        "troth.flush.rows", "histogram", events.FlushDone, "What a group commit carries", (),
        lambda each: float(each.rows), "{row}", MANY,
    ),
    Measure(
        "troth.flush.size", "counter", events.FlushDone, "Bytes of payloads in group commits", (),
        lambda each: float(each.size), "By",
    ),
    _counts("troth.flush.resent", events.FlushDone, "Group commits whose answer was lost", of=_resent),
    _counts("troth.worker.fenced", events.WorkerFenced, "How often this process was declared dead"),
    _counts("troth.worker.takeovers", events.WorkerTookOver, "Peers that this process declared dead"),
    _counts("troth.worker.beats.late", events.WorkerBeatLate, "Heartbeats that were late"),
    _counts("troth.worker.blocked", events.WorkerBlocked, "How often the event loop was blocked"),
    _counts(
        "troth.outbox.attempts", events.OutboxAttempted, "Attempts to deliver",
        "outbox", "destination", "outcome",
    ),
    _times(
        "troth.outbox.lag", events.OutboxAttempted, "From publication to delivery", "lag_s",
        "outbox", "destination", buckets=SLOW, of=_delivered,
    ),
    _counts("troth.inbox.events", events.InboxApplied, "Events dealt with", "source", "state"),
    _times(
        "troth.inbox.lag", events.InboxApplied, "From receipt to what became of it", "lag_s", "source",
        buckets=SLOW,
    ),
    Measure(
        "troth.ledger.clearing", "counter", events.LedgerOverdue,
        "Clearing accounts that became overdue, or are not any more", ("flow", "what"),
        lambda each: float(each.accounts),
    ),
    Measure(
        "troth.reconcile.breaks", "counter", events.ReconcileBreak,
        "Differences that are new, or have become others", ("reconciliation", "kind", "what"),
        lambda each: float(each.breaks),
    ),
    _times(
        "troth.reconcile.duration", events.ReconcileEnded, "Runs of reconciliations", "seconds",
        "reconciliation", "verdict", buckets=SLOW,
    ),
    Measure(
        "troth.reconcile.settled", "counter", events.ReconcileEnded,
        "Effects in doubt that were found by nothing but a reconciliation", ("reconciliation",),
        lambda each: float(each.settled),
    ),
    _times(
        "troth.request.duration", events.RequestAnswered, "Idempotent requests", "seconds",
        "requests", "method", "route", "result",
    ),
    _counts("troth.acts", events.ActRecorded, "What people did in this process", "act", "outcome"),
)  # fmt: skip


def by_event() -> Mapping[type[Event], tuple[Measure, ...]]:
    """The measures of each event that has any."""
    found: dict[type[Event], tuple[Measure, ...]] = {}
    for measure in TABLE:
        found[measure.event] = (*found.get(measure.event, ()), measure)
    return found


def labels_of(measure: Measure, event: Event) -> dict[str, str]:
    """The labels of what is measured now; a field that is null is an empty text."""
    return {
        name: str(found) if (found := getattr(event, name)) is not None else ""
        for name in measure.labels
    }


def value_of(measure: Measure, event: Event) -> float | None:
    """What is measured now; None: nothing."""
    if measure.of is not None and not measure.of(event):
        return None
    return 1.0 if measure.value is None else measure.value(event)
