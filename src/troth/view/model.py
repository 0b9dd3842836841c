"""What a person sees of runs. Frozen values and pure functions; no I/O.

All times come from the database, and so does every duration: two clocks make negative ones.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from troth.base import codec
from troth.journal.model import ENDED, RunState

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
LAST_ID = UUID(int=2**128 - 1)
MOST_RUNS = 1000  # on one page
MOST_ENTRIES = 5000
MOST_MESSAGES = 200


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
class Alive:
    """The runs of one version of a workflow that are alive. *workers*: how many there are that can execute it."""

    workflow: str
    runs: int
    in_attention: int
    oldest: str
    workers: int


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
    parent: UUID | None = None  # the run that has started it
    continued: UUID | None = None  # the run that it went on as
    deadline: datetime | None = None  # that it was given at its start


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
    """One line of a run's timeline. *seconds*: since the intent or the wait that this entry answers, if there was one.

    *superseded*: the run went back to before this answer, and the workflow is not told of it any more.
    """

    entry: JournalEntry
    what: str
    seconds: float | None
    note: str | None
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Undoing:
    """How far a run has undone what it did, as paths.

    *open*: what was sent and has no outcome yet. *stands*: effects that were done and are not undone; None if only a part
    of the run is undone, since then what stands is meant to.
    """

    undone: tuple[str, ...]
    open: tuple[str, ...]
    stands: tuple[str, ...] | None


MOST_CHILDREN = 50


@dataclass(frozen=True, slots=True)
class RunPicture:
    """A run with its timeline. *cut*: there are older entries than these. *undoing*: None if it undoes nothing."""

    header: RunHeader
    timeline: tuple[Moment, ...]
    cut: bool
    messages: tuple[Waiting, ...]
    undoing: Undoing | None = None
    children: tuple[RunLine, ...] = ()  # the first `MOST_CHILDREN` runs that it has started


def from_seconds(seconds: float) -> datetime:
    """A time of the journal's payloads: seconds since 1970."""
    return BEGINNING + timedelta(seconds=seconds)


def as_json(payload: bytes | None) -> Any:
    """A stored payload for output as JSON, digit for digit; what is not JSON becomes base64 text."""
    if not payload:
        return None
    try:
        codec.decode(payload)
    except msgspec.DecodeError:
        return base64.b64encode(payload).decode()
    return msgspec.Raw(payload)
