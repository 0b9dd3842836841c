"""What a person sees of runs. Frozen values and pure functions; no I/O.

All times come from the database, and so does every duration: two clocks make negative ones.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from troth.base import codec
from troth.journal.model import CANCEL_TOPIC, ENDED, Kind, RunState

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LAST_ID = UUID(int=2**128 - 1)
MOST_RUNS = 1000  # on one page
MOST_ENTRIES = 5000
MOST_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs to list. An empty *states* means all of them; *since* looks at when a run was made."""

    states: frozenset[RunState] = frozenset()
    workflow: str | None = None
    key: str | None = None
    since: datetime = BEGINNING

    @property
    def live(self) -> bool:
        """Can a run that has not ended match?"""
        return not self.states or bool(self.states - ENDED)

    @property
    def ended(self) -> bool:
        """Can a run that has ended match? If not, history need not be read."""
        return not self.states or bool(self.states & ENDED)


@dataclass(frozen=True, slots=True)
class RunLine:
    """One run in a list. *seconds*: from when it was to begin until it ended, or until now."""

    id: UUID
    state: str
    workflow: str
    key: str | None
    reason: str | None
    starts_at: datetime
    ended_at: datetime | None
    seconds: float

    @property
    def has_ended(self) -> bool:
        """Nothing will happen to it any more."""
        return RunState(self.state) in ENDED


@dataclass(frozen=True, slots=True)
class RunHeader:
    """All that is known of one run beside its journal. Payloads are JSON as it is stored."""

    line: RunLine
    claims: int  # how often a worker has taken it up
    wake_at: datetime | None  # None: nothing but a message or a person wakes it, or it has ended
    owner: str | None  # the worker that has it now
    input: bytes
    outcome: bytes | None
    detail: bytes | None  # of the reason for which it needs attention


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One entry of a journal, as it is stored."""

    path: str
    kind: int
    attempt: int
    seq: int | None
    ok: bool | None
    payload: bytes | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that was sent to a run and has not been heard."""

    id: UUID
    topic: str
    sent_at: datetime
    payload: bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a run's timeline. *seconds*: since the intent or the wait that this entry answers, if there was one."""

    entry: JournalEntry
    what: str
    seconds: float | None
    note: str | None


@dataclass(frozen=True, slots=True)
class RunPicture:
    """A run with its timeline. *cut*: there are older entries than these."""

    header: RunHeader
    timeline: tuple[Moment, ...]
    cut: bool
    messages: tuple[Waiting, ...]


def timeline(entries: Sequence[JournalEntry]) -> tuple[Moment, ...]:
    """The story that a journal tells, in the order in which things were recorded."""
    begun: dict[str, datetime] = {}
    moments: list[Moment] = []
    for entry in sorted(entries, key=lambda e: (e.at, e.kind in _ANSWERS, e.seq or 0)):
        start = begun.get(entry.path)
        if entry.kind in (Kind.INTENT, Kind.WAIT):
            begun[entry.path] = entry.at
        moments.append(
            Moment(
                entry,
                what=_what(entry),
                seconds=(entry.at - start).total_seconds()
                if start is not None and entry.kind in _ANSWERS
                else None,
                note=_note(entry),
            )
        )
    return tuple(moments)


_ANSWERS = frozenset({Kind.RESULT, Kind.ATTEMPT})


def _what(entry: JournalEntry) -> str:
    match Kind(entry.kind):
        case Kind.RESULT if entry.path == CANCEL_TOPIC:
            return "heard"
        case Kind.INTENT:
            return "intent"
        case Kind.RESULT:
            return "done" if entry.ok else "refused"
        case Kind.WAIT:
            return "waits"
        case Kind.ATTEMPT:
            return "no answer" if "outcome" in _said(entry) else "attempt failed"
        case Kind.DECISION:
            return "decision"
        case Kind.EVIDENCE:
            return "evidence"


def _note(entry: JournalEntry) -> str | None:
    """What the entry says about itself, without what the step was given or returned."""
    said = _said(entry)
    match Kind(entry.kind):
        case Kind.ATTEMPT:
            return ": ".join(
                str(said[word]) for word in ("outcome", "type", "message") if said.get(word)
            )
        case Kind.RESULT if entry.ok is False and "type" in said:
            return f"{said['type']}: {said.get('message')}"
        case Kind.WAIT:
            until = codec.decode(entry.payload or b"null")
            return "for a message" if until is None else f"until {from_seconds(until):%F %T} UTC"
        case Kind.DECISION:
            return decision_text(said)
        case Kind.RESULT if entry.path == CANCEL_TOPIC and "by" in said:
            return decision_text(said)
        case _:
            return None


def _said(entry: JournalEntry) -> dict[str, Any]:
    said = codec.decode(entry.payload or b"{}")
    return said if isinstance(said, dict) else {}


def decision_text(said: dict[str, Any]) -> str:
    """A decision of a person in words."""
    verdict = {True: ", it happened", False: ", it did not happen", None: ""}[said.get("done")]
    note = f": {said['note']}" if said.get("note") else ""
    return f"by {said.get('by')}{verdict}{note}"


def from_seconds(seconds: float) -> datetime:
    """A time of the journal's payloads: seconds since 1970."""
    return BEGINNING + timedelta(seconds=seconds)


def difference(recorded: Sequence[str], called: Sequence[str]) -> list[str]:
    """What a journal goes on with beside what the code called: lines that begin with ' ', '-' or '+'.

    `-` is recorded and was not called, `+` is called and is not recorded yet.
    """
    both = set(recorded) & set(called)
    lines = [f"{' ' if path in both else '-'} {path}" for path in recorded]
    return lines + [f"+ {path}" for path in called if path not in both]


def as_json(payload: bytes | None) -> Any:
    """A stored payload for output as JSON, digit for digit; what is not JSON becomes base64 text."""
    if not payload:
        return None
    try:
        codec.decode(payload)
    except msgspec.DecodeError:
        return base64.b64encode(payload).decode()
    return msgspec.Raw(payload)
