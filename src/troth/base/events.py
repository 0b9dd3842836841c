"""The table of telemetry events: the name of each, its fields with their units, and when it is emitted.

It is a public API, and `docs/reference/telemetry.md` is made of it. Events only tell: nothing that troth promises depends on
them, and an event is never the first to know. What is called durable has been committed when the event is emitted.
"""
# ruff: noqa: PLC0414  (what is imported under its own name is a part of the table)

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from troth.base.event import (
    Attempt,
    Claim,
    Error,
    Key,
    Path,
    RunId,
    Seconds,
    StepName,
    Trace,
    Worker,
    WorkflowName,
)
from troth.base.event import (
    Event as Event,
)
from troth.base.relay_events import InboxApplied as InboxApplied
from troth.base.relay_events import LedgerOverdue as LedgerOverdue
from troth.base.relay_events import OutboxAttempted as OutboxAttempted
from troth.base.relay_events import ReconcileBreak as ReconcileBreak
from troth.base.relay_events import ReconcileEnded as ReconcileEnded

# Runs -----------------------------------------------------------------------------------------------------------------


class RunStarted(Event, frozen=True):
    """A start was carried out; in a transaction of the caller's it is there if that commits, else it is durable."""

    name: ClassVar[str] = "run.started"
    run_id: RunId
    workflow: WorkflowName
    key: Key
    parent: Annotated[UUID | None, "the run that started it"]
    via: Annotated[str, "`start`, `transaction`, `request`, `schedule`, `child` or `continuation`"]
    fresh: Annotated[bool, "false if the key belonged to a run already, which `run_id` is then"]
    trace: Trace


class RunClaimed(Event, frozen=True):
    """This process has taken up a run, at its start or again."""

    name: ClassVar[str] = "run.claimed"
    run_id: RunId
    workflow: WorkflowName
    key: Key
    claim: Claim
    worker: Worker
    because: Annotated[
        str,
        "`start`, `message`, `person`, `time` (a wait is over) or `handover` (its worker left or died)",
    ]
    by: Annotated[str | None, "the person who let it go on"]
    entries: Annotated[int, "entries of its journal"]
    waited_s: Annotated[float | None, "seconds since it was to begin; null unless it begins"]
    trace: Trace


class RunReleased(Event, frozen=True):
    """A run was let go of, durably: it sleeps, waits, undoes later, or is handed over."""

    name: ClassVar[str] = "run.released"
    run_id: RunId
    workflow: WorkflowName
    claim: Claim
    state: Annotated[str, "`waiting`, `undoing` or `ready`"]
    wake_at: Annotated[float | None, "seconds since 1970; null: a message wakes it"]
    held_s: Annotated[float, "seconds in this process"]


class RunUndoing(Event, frozen=True):
    """A run has failed or was cancelled, and begins to undo what it did."""

    name: ClassVar[str] = "run.undoing"
    run_id: RunId
    workflow: WorkflowName
    claim: Claim
    because: Annotated[str | None, "why it is undone"]


class RunEnded(Event, frozen=True):
    """A run has ended, durably."""

    name: ClassVar[str] = "run.ended"
    run_id: RunId
    workflow: WorkflowName
    key: Key
    claim: Claim
    state: Annotated[str, "`succeeded`, `failed` or `cancelled`"]
    seconds: Annotated[float, "since it was to begin, in seconds"]
    held_s: Annotated[float, "seconds in this process"]
    continued: Annotated[UUID | None, "the run that it went on as"]
    error: Annotated[str | None, "of a failed run: the type of the business answer"]


class RunAttention(Event, frozen=True):
    """A run stands in the attention list, durably."""

    name: ClassVar[str] = "run.attention"
    run_id: RunId
    workflow: WorkflowName
    claim: Claim
    reason: Annotated[str, "as in docs/reference/states.md: `in_doubt`, `code_changed`, `bug` …"]
    path: Annotated[str | None, "the call at which it stopped"]
    message: Annotated[str | None, "what is the matter"]
    held_s: Annotated[float, "seconds in this process"]


class RunLeftAttention(Event, frozen=True):
    """A run that a person let go on has been taken up."""

    name: ClassVar[str] = "run.left_attention"
    run_id: RunId
    workflow: WorkflowName
    claim: Claim
    by: Annotated[str | None, "the person"]
    reason: Annotated[str | None, "why it stood there"]


# Steps ----------------------------------------------------------------------------------------------------------------


class StepBegan(Event, frozen=True):
    """The body of a step is about to run; emitted in its context, so what a listener sets there holds for the body."""

    name: ClassVar[str] = "step.began"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    kind: Annotated[str, "`step`, `transaction`, `effect`, `undo` or `probe`"]
    attempt: Attempt
    claim: Claim
    worker: Worker


class StepEnded(Event, frozen=True):
    """The body of a step has returned or raised. What it returned may not be durable yet."""

    name: ClassVar[str] = "step.ended"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    kind: Annotated[str, "`step`, `transaction`, `effect`, `undo` or `probe`"]
    attempt: Attempt
    seconds: Seconds
    outcome: Annotated[
        str,
        "`done`; `refused`: a business answer; `failed`: it raised; of effects `not_done` or `unknown`; `abandoned`: "
        "its run left this process, or nobody wants it any more",
    ]
    error: Error


class StepRetry(Event, frozen=True):
    """An attempt has ended without an answer, and there will be another one."""

    name: ClassVar[str] = "step.retry"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    attempt: Attempt
    wait_s: Annotated[float, "seconds until the next attempt"]
    error: Error


# Effects --------------------------------------------------------------------------------------------------------------


class EffectIntended(Event, frozen=True):
    """An effect is about to be sent: its intent travels with the next flush."""

    name: ClassVar[str] = "effect.intended"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    attempt: Attempt
    provider: Annotated[str | None, "the name of the provider"]
    key: Annotated[str, "the idempotency key"]


class EffectSent(Event, frozen=True):
    """The intent is durable and the body begins; emitted in the body's context, after `step.began`."""

    name: ClassVar[str] = "effect.sent"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    attempt: Attempt
    provider: Annotated[str | None, "the name of the provider"]
    key: Annotated[str, "the idempotency key"]


class EffectOutcome(Event, frozen=True):
    """It is known what an attempt came to, or that it is not known."""

    name: ClassVar[str] = "effect.outcome"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    attempt: Attempt
    provider: Annotated[str | None, "the name of the provider"]
    outcome: Annotated[str, "`done`, `refused`, `not_done` or `unknown`"]
    decided_by: Annotated[
        str, "`answer`; `late` (after the timeout); `takeover` (its worker was lost); `probe`"
    ]
    message: Annotated[str | None, "why, in words"]


class EffectProbed(Event, frozen=True):
    """The other side was asked what became of an effect."""

    name: ClassVar[str] = "effect.probed"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    number: Annotated[int, "of the question, from 1"]
    seconds: Seconds
    answer: Annotated[str, "`found`, `missing` or `error`"]
    settles: Annotated[bool, "whether it is known now what became of the effect"]


class EffectInDoubt(Event, frozen=True):
    """Nobody could find out what became of an effect: its run will stand in the attention list."""

    name: ClassVar[str] = "effect.in_doubt"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    provider: Annotated[str | None, "the name of the provider"]
    key: Annotated[str, "the idempotency key"]
    stake: Annotated[str | None, "what is at stake, in the author's words"]


class EffectUndone(Event, frozen=True):
    """A call of a run that failed was undone."""

    name: ClassVar[str] = "effect.undone"
    run_id: RunId
    workflow: WorkflowName
    path: Annotated[str, "of the undo"]
    of: Annotated[str, "the path of what was undone"]


class EffectHeld(Event, frozen=True):
    """An effect waits for its provider: for a place within the rate, or because it does not answer."""

    name: ClassVar[str] = "effect.held"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    step: StepName
    provider: Annotated[str | None, "the name of the provider"]
    wait_s: Annotated[float, "seconds until it is looked at again"]
    because: Annotated[str, "in words"]


# Messages, schedules --------------------------------------------------------------------------------------------------


class MessageSent(Event, frozen=True):
    """A message or a cancellation was left for a run by this process; durable, unless in a transaction of the caller's."""

    name: ClassVar[str] = "message.sent"
    run_id: Annotated[UUID | None, "whom it is for, if named by id"]
    key: Annotated[str | None, "or by start key"]
    topic: Annotated[str, "`!cancel`: a cancellation"]


class MessageHeard(Event, frozen=True):
    """A run was told a message; it goes with the flush that records that."""

    name: ClassVar[str] = "message.heard"
    run_id: RunId
    workflow: WorkflowName
    path: Path
    topic: Annotated[str, "of the message"]
    trace: Annotated[str | None, "the W3C traceparent of whoever sent it"]


class ScheduleFired(Event, frozen=True):
    """A time of a schedule was dealt with, durably."""

    name: ClassVar[str] = "schedule.fired"
    schedule: Annotated[str, "its name"]
    at: Annotated[float, "the time that was due, in seconds since 1970"]
    result: Annotated[str, "`started`, `skipped`, `missed`, `broken` …, as in its history"]
    late_s: Annotated[float, "seconds after that time"]
    run_id: Annotated[UUID | None, "the run that it started"]


# The journal ----------------------------------------------------------------------------------------------------------


class FlushDone(Event, frozen=True):
    """A group commit is durable."""

    name: ClassVar[str] = "flush.done"
    worker: Worker
    number: Annotated[int, "of the flush, from 1"]
    rows: Annotated[int, "what it carried: starts, entries, ends, releases, messages"]
    size: Annotated[int, "bytes of payloads in it"]
    seconds: Seconds
    tries: Annotated[int, "how often it was sent; more than 1: an answer was lost"]


class RunsAsked(Event, frozen=True):
    """A flush has asked for runs to claim."""

    name: ClassVar[str] = "claim.done"
    worker: Worker
    claimed: Annotated[int, "how many it got"]
    more: Annotated[bool, "whether there are more"]
    free: Annotated[int, "room for so many more in this process"]


# Processes ------------------------------------------------------------------------------------------------------------


class WorkerBegan(Event, frozen=True):
    """A worker or client has joined, under a new id."""

    name: ClassVar[str] = "worker.began"
    worker: Worker
    host: Annotated[str, "host and process id"]
    executes: Annotated[bool, "false: a client, which only starts runs"]


class WorkerBeatLate(Event, frozen=True):
    """A heartbeat came late, or the database did not answer it; emitted in the heart's thread."""

    name: ClassVar[str] = "worker.beat_late"
    worker: Worker
    silent_s: Annotated[float, "seconds since the last beat that was answered"]
    error: Error


class WorkerBlocked(Event, frozen=True):
    """The event loop has not answered for a second; emitted in the heart's thread, once for each time it is blocked."""

    name: ClassVar[str] = "worker.blocked"
    worker: Worker
    seconds: Annotated[float, "since it was asked, in seconds"]
    where: Annotated[str, "the stack of the thread that blocks it"]


class WorkerFenced(Event, frozen=True):
    """This process was declared dead: its runs belong to others, and it begins anew under another id."""

    name: ClassVar[str] = "worker.fenced"
    worker: Worker
    runs: Annotated[int, "runs that it had in memory"]
    error: Error


class WorkerTookOver(Event, frozen=True):
    """This process has declared a silent peer dead, and handed over its runs."""

    name: ClassVar[str] = "worker.took_over"
    worker: Worker
    peer: Annotated[int, "the id of the dead worker"]
    locked: Annotated[int, "runs that its open transactions still held"]


class WorkerDrained(Event, frozen=True):
    """A worker that was told to stop has let go of its runs."""

    name: ClassVar[str] = "worker.drained"
    worker: Worker
    seconds: Seconds
    left: Annotated[int, "runs in mid-step that are left to peers"]


# Relays and requests --------------------------------------------------------------------------------------------------


class RequestAnswered(Event, frozen=True):
    """An HTTP request that an adapter makes idempotent was answered."""

    name: ClassVar[str] = "request.answered"
    requests: Annotated[str, "the name of the `Requests`"]
    method: Annotated[str, "of the request"]
    route: Annotated[str, "the pattern that was matched"]
    status: Annotated[int, "of the answer"]
    result: Annotated[
        str,
        "`fresh`, `replayed`, `in_use` (409), `conflict` (the key was used for another request) or `refused`",
    ]
    seconds: Seconds
    run_id: Annotated[UUID | None, "the operation that it is about"]


class ActRecorded(Event, frozen=True):
    """A person has acted, in this process; recorded if the transaction commits in which that happens. Others see it there."""

    name: ClassVar[str] = "act.recorded"
    act: Annotated[str, "its name, such as `run.cancel`"]
    about: Annotated[str, "what it was done to"]
    by: Annotated[str, "the person"]
    role: Annotated[str, "`viewer`, `operator` or `admin`"]
    via: Annotated[str, "`cli`, `console` or `program`"]
    outcome: Annotated[str, "`done`, `proposed` (a second person is needed) or `refused`"]


TABLE: dict[str, type[Event]] = {kind.name: kind for kind in Event.__subclasses__()}
