"""What the engine tells those who listen (`troth.listen`): each method makes one event of `base.events`.

Where nobody listens, each is the look at one attribute. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from troth.base import codec, events
from troth.base.telemetry import Telemetry
from troth.effect.model import Call, Judgement, Outcome
from troth.effect.rules import History
from troth.journal.model import (
    RESUME_PATH,
    ClaimedRun,
    EndedRun,
    Entry,
    Kind,
    Message,
    Release,
    RunState,
)
from troth.journal.reading import said_by
from troth.journal.writer import Writer
from troth.workflow.calls import PendingCall, UndoCall
from troth.workflow.consequences import EffectDefinition
from troth.workflow.minutes import ATTENTION, ENDS, STARTED, UNKNOWN, Minutes
from troth.workflow.run import ActiveRun

ABANDONED = "abandoned"  # the run left this process while a body ran, or nobody wanted it any more


class _Begun(NamedTuple):
    run: ActiveRun
    kind: str
    attempt: int
    at: float


class Telling:
    """Tells of the runs of one engine."""

    def __init__(self, telemetry: Telemetry, writer: Writer) -> None:
        self.telemetry = telemetry
        self.minutes = Minutes()
        self._writer = writer
        self._begun: dict[PendingCall, _Begun] = {}

    # Runs -------------------------------------------------------------------------------------------------------------

    def claimed(self, run: ActiveRun, claimed: ClaimedRun, now_s: float) -> None:
        """This process has taken up a run."""
        if claimed.claim == 1:
            self.minutes.add(run.workflow.name, STARTED)
        if not self.telemetry.on:
            return
        run.taken_at = time.monotonic()
        because, decided = why_claimed(claimed, now_s)
        self.telemetry.emit(
            events.RunClaimed(
                run.id, run.workflow.name, run.key, run.claim, self._writer.worker,
                because, decided.get("by"), len(claimed.entries),
                max(0.0, now_s - claimed.starts_at) if because == "start" else None, run.trace,
            )
        )  # fmt: skip
        if because == "person":
            self.telemetry.emit(
                events.RunLeftAttention(
                    run.id, run.workflow.name, run.claim, decided.get("by"), decided.get("reason")
                )
            )

    def undoing(self, run: ActiveRun) -> None:
        """It undoes what it did."""
        if self.telemetry.on:
            self.telemetry.emit(events.RunUndoing(run.id, run.workflow.name, run.claim, run.why))

    def released(self, run: ActiveRun, release: Release) -> None:
        """It was let go of, durably."""
        if release.state == RunState.ATTENTION:
            self.minutes.add(run.workflow.name, ATTENTION)
        if not self.telemetry.on:
            return
        if release.state == RunState.ATTENTION:
            detail = codec.decode(release.detail or b"{}")
            event: events.Event = events.RunAttention(
                run.id, run.workflow.name, run.claim, release.reason or "",
                detail.get("at"), detail.get("message"), _held_s(run),
            )  # fmt: skip
        else:
            event = events.RunReleased(
                run.id,
                run.workflow.name,
                run.claim,
                str(release.state),
                release.wake_at,
                _held_s(run),
            )
        self.telemetry.emit(event)

    def ended(self, run: ActiveRun, end: EndedRun, now_s: float) -> None:
        """It has ended, durably."""
        self.minutes.add(run.workflow.name, ENDS[end.state])
        if not self.telemetry.on:
            return
        failed = end.state is RunState.FAILED and end.outcome is not None
        error = codec.decode(end.outcome)["type"] if failed and end.outcome else None
        self.telemetry.emit(
            events.RunEnded(
                run.id, run.workflow.name, run.key, run.claim, end.state.value,
                max(0.0, now_s - run.starts_at), _held_s(run), end.continued, error,
            )
        )  # fmt: skip

    def heard(self, run: ActiveRun, call: PendingCall, message: Message) -> None:
        """It was told a message."""
        if self.telemetry.on:
            self.telemetry.emit(
                events.MessageHeard(
                    run.id, run.workflow.name, call.path, message.topic, message.trace
                )
            )

    # Bodies -----------------------------------------------------------------------------------------------------------

    def begin(
        self, run: ActiveRun, call: PendingCall, attempt: int, kind: str | None = None
    ) -> None:
        """A body is about to run. Call it in the body's context."""
        if not self.telemetry.on:
            return
        assert call.definition is not None
        kind = kind or ("undo" if isinstance(call, UndoCall) else call.definition.kind.value)
        begun = self._begun[call] = _Begun(run, kind, attempt, time.perf_counter())
        if call.task is not None:

            def left(_task: object) -> None:
                if self._begun.get(call) is begun:
                    self.end(call, ABANDONED)

            call.task.add_done_callback(left, context=contextvars.copy_context())
        self.telemetry.emit(
            events.StepBegan(
                run.id, run.workflow.name, call.path, call.definition.name, kind, attempt,
                run.claim, self._writer.worker,
            )
        )  # fmt: skip

    def end(self, call: PendingCall, outcome: str, error: BaseException | None = None) -> None:
        """It has returned, or raised; nothing if it has ended before."""
        begun = self._begun.pop(call, None)
        if begun is None or call.definition is None:
            return
        run, seconds = begun.run, time.perf_counter() - begun.at
        self.telemetry.emit(
            events.StepEnded(
                run.id, run.workflow.name, call.path, call.definition.name, begun.kind,
                begun.attempt, seconds, outcome, brief(error),
            )
        )  # fmt: skip
        if outcome == "done" and begun.kind == "undo" and isinstance(call, UndoCall):
            self.telemetry.emit(
                events.EffectUndone(run.id, run.workflow.name, call.path, call.target.path)
            )

    def retry(
        self, run: ActiveRun, call: PendingCall, attempt: int, wait_s: float | None, error: str
    ) -> None:
        """There will be another attempt after *wait_s*; None: there will not."""
        if self.telemetry.on and wait_s is not None and call.definition is not None:
            self.telemetry.emit(
                events.StepRetry(
                    run.id,
                    run.workflow.name,
                    call.path,
                    call.definition.name,
                    attempt,
                    wait_s,
                    error,
                )
            )

    # Effects ----------------------------------------------------------------------------------------------------------

    def intended(self, run: ActiveRun, call: PendingCall, attempt: int, key: str) -> None:
        """An intent is on its way into the journal."""
        if self.telemetry.on:
            self._effect(events.EffectIntended, run, call, attempt, key)

    def sent(self, run: ActiveRun, call: PendingCall, info: Call) -> None:
        """An effect's body begins. Call it in its context."""
        if self.telemetry.on:
            self.begin(run, call, info.attempt)
            self._effect(events.EffectSent, run, call, info.attempt, info.key)

    def _effect(
        self,
        kind: type[events.EffectIntended | events.EffectSent],
        run: ActiveRun,
        call: PendingCall,
        attempt: int,
        key: str,
    ) -> None:
        assert call.definition is not None
        self.telemetry.emit(
            kind(
                run.id, run.workflow.name, call.path, call.definition.name, attempt,
                _provider(call), key,
            )
        )  # fmt: skip

    def answered(
        self,
        run: ActiveRun,
        call: PendingCall,
        attempt: int,
        judged: Judgement,
        error: BaseException | None = None,
    ) -> None:
        """The body of an effect has come to its end, and this is what that means."""
        self.end(call, judged.outcome.value, error)
        self.outcome(run, call, attempt, judged.outcome, "answer", judged.message or None)

    def sent_again(self, run: ActiveRun, call: PendingCall, history: History, now_s: float) -> None:
        """It waits for its next attempt."""
        if self.telemetry.on and history.due_s is not None:
            last = run.past.entries(call.path, Kind.ATTEMPT)[-1]
            error = str(said_by(last).get("message"))
            self.retry(run, call, history.attempts, max(0.0, history.due_s - now_s), error)

    def outcome(
        self,
        run: ActiveRun,
        call: PendingCall,
        attempt: int,
        outcome: Outcome,
        decided_by: str,
        message: str | None = None,
    ) -> None:
        """It is known what an attempt came to, or that it is not."""
        if outcome is Outcome.UNKNOWN:
            self.minutes.add(run.workflow.name, UNKNOWN)
        if self.telemetry.on and call.definition is not None:
            self.telemetry.emit(
                events.EffectOutcome(
                    run.id, run.workflow.name, call.path, call.definition.name, attempt,
                    _provider(call), outcome.value, decided_by, message,
                )
            )  # fmt: skip

    def probed(
        self, run: ActiveRun, call: PendingCall, number: int, seconds: float, said: dict[str, Any]
    ) -> None:
        """The other side was asked; *said* is what was recorded of that."""
        if not self.telemetry.on or call.definition is None:
            return
        found, missing = said["answer"] == "found", bool(said.get("settles"))
        self.telemetry.emit(
            events.EffectProbed(
                run.id, run.workflow.name, call.path, call.definition.name, number, seconds,
                said["answer"], found or missing,
            )
        )  # fmt: skip
        if found or missing:
            attempt = max(e.attempt for e in run.past.entries(call.path, Kind.INTENT))
            outcome = Outcome.DONE if found else Outcome.NOT_DONE
            self.outcome(run, call, attempt, outcome, "probe")

    def in_doubt(self, run: ActiveRun, call: PendingCall, story: dict[str, Any]) -> None:
        """Nobody could find out."""
        if self.telemetry.on and call.definition is not None:
            self.telemetry.emit(
                events.EffectInDoubt(
                    run.id, run.workflow.name, call.path, call.definition.name,
                    story["provider"], story["key"], story["stake"],
                )
            )  # fmt: skip

    def held(self, run: ActiveRun, call: PendingCall, wait_s: float, because: str) -> None:
        """Its provider cannot be called yet."""
        if self.telemetry.on and call.definition is not None:
            self.telemetry.emit(
                events.EffectHeld(
                    run.id, run.workflow.name, call.path, call.definition.name, _provider(call),
                    max(0.0, wait_s), because,
                )
            )  # fmt: skip


def why_claimed(claimed: ClaimedRun, now_s: float) -> tuple[str, dict[str, Any]]:
    """Why a run was taken up, and what a person decided, if it was one. Pure.

    A person's word counts if nothing was recorded after it; a wait, if one is over that was not answered.
    """
    if claimed.claim == 1 and not claimed.entries:
        return "start", {}
    decisions = [e for e in claimed.entries if e.kind == Kind.DECISION]
    last = max(filter(_lets_go_on, decisions), key=_recorded_at, default=None)
    if last is not None and _only_people_since(claimed.entries, last):
        return "person", said_by(last)
    if claimed.mail:
        return "message", {}
    return ("time" if _wait_is_over(claimed.entries, now_s) else "handover"), {}


def _lets_go_on(decision: Entry) -> bool:
    return decision.path == RESUME_PATH or bool(said_by(decision).get("probe"))


def _only_people_since(entries: Sequence[Entry], decision: Entry) -> bool:
    settled = said_by(decision).get("at")  # its answer is the person's, too
    return all(
        e.kind == Kind.DECISION or (e.kind == Kind.RESULT and e.path == settled)
        for e in entries
        if e.at > decision.at
    )


def _wait_is_over(entries: Sequence[Entry], now_s: float) -> bool:
    answered = {e.path for e in entries if e.kind == Kind.RESULT}
    waits = [said_by_wait(e) for e in entries if e.kind == Kind.WAIT and e.path not in answered]
    again = [
        said_by(e).get("due") for e in entries if e.kind == Kind.ATTEMPT and e.path not in answered
    ]
    return any(due is not None and due <= now_s + 1 for due in (*waits, *again))


def said_by_wait(entry: Entry) -> float | None:
    """When a wait is over: of a sleep or a receive its deadline, of an effect that waits for its provider the time."""
    said = codec.decode(entry.payload or b"null")
    return said.get("until") if isinstance(said, dict) else said


def _recorded_at(entry: Entry) -> float:
    return entry.at


def _held_s(run: ActiveRun) -> float:
    return time.monotonic() - run.taken_at if run.taken_at else 0.0


def _provider(call: PendingCall) -> str | None:
    definition = call.definition
    if not isinstance(definition, EffectDefinition) or definition.effect.provider is None:
        return None
    return definition.effect.provider.name


def brief(error: BaseException | None) -> str | None:
    """An exception in one line."""
    if error is None or isinstance(error, asyncio.CancelledError):
        return None
    return f"{type(error).__name__}: {error}"[:500]
