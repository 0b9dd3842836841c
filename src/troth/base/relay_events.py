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


class LedgerOverdue(Event, frozen=True):
    """A clearing account should be back at zero by now and is not, or does not stand there any more.

    Beyond a thousand of one look, those of one currency are told together.
    """

    name: ClassVar[str] = "ledger.overdue"
    flow: Annotated[str, "the flow, as its `Clearing` names it"]
    what: Annotated[str, "`overdue`, or `cleared`: it is back at zero, or has more time"]
    account: Annotated[str | None, "its code; null: several"]
    customer: Annotated[str | None, "whose it is; null: several"]
    accounts: Annotated[int, "how many accounts this tells of"]
    minor: Annotated[
        int, "minor units left on its normal side, or that were; of several, without their signs"
    ]
    currency: Annotated[str, "three letters"]
    late_s: Annotated[float, "seconds since it was due; of several, the first"]


class ReconcileBreak(Event, frozen=True):
    """A run of a reconciliation has found a difference that is new, or has become another one.

    Beyond 10,000 of one run, those of one kind and currency are told together.
    """

    name: ClassVar[str] = "reconcile.break"
    reconciliation: Annotated[str, "its name"]
    run: Annotated[int, "the number of the run of the reconciliation"]
    kind: Annotated[str, "`missing_ours`, `amount`, `stale_source` …"]
    what: Annotated[str, "`found`, `became` (another kind, or other money) or `reopened`"]
    minor: Annotated[int, "money at risk, in minor units; of several, their sum"]
    currency: Annotated[str, "as items have it; empty where no money is known to be at risk"]
    age_s: Annotated[float, "seconds since it counts; of several, the oldest"]
    breaks: Annotated[int, "how many differences this tells of"]


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
