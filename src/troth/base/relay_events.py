"""Telemetry events of what workers do beside runs: a part of the table in `events`."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from troth.base.event import Attempt, Event, Seconds


class OutboxAttempted(Event, frozen=True):
    """An attempt to deliver a message of an outbox was recorded."""

    name: ClassVar[str] = "outbox.attempted"
    outbox: Annotated[str, "its name"]
    destination: Annotated[str, "the name of the destination"]
    message_id: Annotated[UUID, "the message"]
    type: Annotated[str, "the type of the message"]
    attempt: Attempt
    outcome: Annotated[str, "`delivered`, `refused` or `unsettled`"]
    status: Annotated[str, "what the other side said"]
    seconds: Seconds
    lag_s: Annotated[float, "seconds since it was published"]


class InboxApplied(Event, frozen=True):
    """It was decided, durably, what becomes of an event of an inbox."""

    name: ClassVar[str] = "inbox.applied"
    source: Annotated[str, "the inbox"]
    event_id: Annotated[str, "the provider's id of the event"]
    type: Annotated[str, "the type of the event"]
    state: Annotated[str, "`applied`, `ignored`, `parked`, `quarantined` …"]
    attempt: Attempt
    lag_s: Annotated[float, "seconds since it was received"]


class ReconcileBreak(Event, frozen=True):
    """A run of a reconciliation has found a difference that is new, or has become another one; at most 10,000 of a run."""

    name: ClassVar[str] = "reconcile.break"
    reconciliation: Annotated[str, "its name"]
    run: Annotated[int, "the number of the run of the reconciliation"]
    kind: Annotated[str, "`missing_ours`, `amount`, `stale_source` …"]
    what: Annotated[str, "`found`, `became` (another kind, or other money) or `reopened`"]
    minor: Annotated[int, "money at risk, in minor units"]
    currency: Annotated[str, "three letters; empty where no money is known to be at risk"]
    age_s: Annotated[float, "seconds since it counts"]


class ReconcileEnded(Event, frozen=True):
    """A run of a reconciliation is over."""

    name: ClassVar[str] = "reconcile.ended"
    reconciliation: Annotated[str, "its name"]
    run: Annotated[int, "the number of the run of the reconciliation"]
    verdict: Annotated[str, "`clean`, `explained`, `breaks`, `unproven` or `failed`"]
    matched: Annotated[int, "items that have their other half"]
    breaks: Annotated[int, "differences that it found, known ones too"]
    settled: Annotated[int, "effects in doubt that it has settled: found by nothing else"]
    seconds: Seconds
