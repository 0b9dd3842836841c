"""The words of the journal: entries, the states of a run, and what one flush carries. No I/O."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any, NamedTuple
from uuid import UUID

CANCEL_TOPIC = "!cancel"
ENDED_TOPIC = "!ended"  # a run that the run waits for

# Paths of entries that no step has made: none of a step begins so.
RESUME_PATH = "!resume"  # a person lets the run go on
SEND_PATH = "!send"  # a person left a message for the run
REWIND_PATH = "!rewind"  # and from an earlier step
FORK_PATH = "!fork"  # it was forked, or is a fork
ORIGIN_PATH = (
    "!origin"  # it goes on from another run, which has done what a parent may have to undo
)
SETTLED_PATH = "!settled"  # everything that was sent has an outcome: the undoing begins
DEADLINE_PATH = "!deadline"  # its time has passed
UNDO_PREFIX = "!undo/"  # before the path of what is undone
PATCH_PREFIX = "!patch/"  # before the name of a patch


def family_of(workflow: str) -> str:
    """The name of a workflow without its version: `checkout` of `checkout@2`."""
    return workflow.partition("@")[0]


class RunState(StrEnum):
    """The one named state that every run is in."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    UNDOING = "undoing"
    ATTENTION = "attention"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED})

# Every legal change of state, with what causes it. `undoing` is entered by sagas.
TRANSITIONS: dict[RunState, dict[RunState, str]] = {
    RunState.READY: {RunState.RUNNING: "claimed"},
    RunState.RUNNING: {
        RunState.READY: "handed over, or its worker died",
        RunState.WAITING: "sleeps, or waits for a message",
        RunState.ATTENTION: "cannot go on without a person",
        RunState.UNDOING: "a business answer, or a cancellation",
        RunState.SUCCEEDED: "returned",
        RunState.FAILED: "a business answer",
        RunState.CANCELLED: "cancelled",
    },
    RunState.WAITING: {RunState.RUNNING: "due", RunState.READY: "a message came"},
    RunState.UNDOING: {
        RunState.RUNNING: "claimed again",
        RunState.READY: "its worker died",
        RunState.ATTENTION: "an undo failed",
        RunState.FAILED: "undone",
        RunState.CANCELLED: "undone",
    },
    RunState.ATTENTION: {
        RunState.READY: "resumed by a person",
        RunState.RUNNING: "claimed to hear a cancellation",
    },
    RunState.SUCCEEDED: {},
    RunState.FAILED: {},
    RunState.CANCELLED: {},
}


class Reason(StrEnum):
    """Why a run stands in the attention list."""

    IN_DOUBT = "in_doubt"  # an effect may or may not have happened, and nobody could find out
    CODE_CHANGED = "code_changed"  # the journal does not fit the code
    RETRIES_EXHAUSTED = "retries_exhausted"  # a step with a retry policy failed too often
    BUG = "bug"  # an unexpected exception
    POISON = "poison"  # a payload that cannot be stored or restored
    UNDO_FAILED = "undo_failed"
    JOURNAL_LIMIT = "journal_limit"  # it has recorded as much as one run may


class Kind(IntEnum):
    """What an entry of the journal records."""

    INTENT = 1  # an effect is about to be sent
    RESULT = 2  # a call has its answer; `seq` is the order in which the workflow was told
    WAIT = 3  # a sleep or a receive began; the payload holds its deadline
    ATTEMPT = 4  # an attempt ended without an answer
    DECISION = 5  # a person decided
    EVIDENCE = 6  # what was found out about an effect: a probe's answer, or one that came after the timeout
    CHILD = 7  # a run is started; the payload holds its id
    PATCH = 8  # the code asked for the first time whether to take a new branch; `ok` is the answer
    ORIGIN = 9  # another run went on as this one; the payload says which


# What has consequences from then on: its outcome is owed, whoever still wants it.
BEGUN = frozenset({Kind.INTENT, Kind.CHILD})


class Entry(NamedTuple):
    """One row of the journal. *at* is in seconds since 1970 by the database's clock."""

    run_id: UUID
    path: str
    kind: int
    attempt: int
    seq: int | None
    ok: bool | None
    digest: bytes | None
    payload: bytes | None
    at: float


class Place(NamedTuple):
    """Where a run stands in line: smaller priorities first, then one partition after the other."""

    queue: str
    partition: str
    priority: int


class Line(NamedTuple):
    """A line to claim from: a queue (None: the runs without one), its limits, and the partition served last."""

    queue: str | None
    concurrency: int | None
    per_partition: int | None
    after: str


class Left(StrEnum):
    """What a claim left behind in a line."""

    MORE = "more"  # it got all that it asked for: come again at once
    LIMIT = "limit"  # come again when a run of this queue lets go of its slot
    BUSY = "busy"  # another worker is at it: come again soon


class Start(NamedTuple):
    """A run to start; *claim*: its starter goes on with it at once."""

    id: UUID
    workflow: str
    key: str | None
    input: bytes
    digest: bytes
    starts_at: float
    claim: bool
    place: Place | None = None
    parent: UUID | None = None  # the run that starts it
    path: str | None = None  # the parent's call that waits for its end
    deadline: float | None = None
    trace: str | None = None  # the traceparent of what has started it

    @property
    def owner(self) -> UUID:
        """The run in whose commit it must be."""
        return self.parent or self.id


class Continuation(NamedTuple):
    """What a run that ends goes on as."""

    run_id: UUID
    id: UUID
    input: bytes
    starts_at: float
    claim: bool
    deadline: float | None


class Await(NamedTuple):
    """A call that wants to hear of the end of a run."""

    run_id: UUID
    waiter: UUID
    path: str


class End(NamedTuple):
    """A run that has ended; *final*: a pending cancellation has been heard already."""

    run_id: UUID
    state: str
    outcome: bytes | None
    final: bool
    owes: bool = False  # it did what must be undone if its parent fails


class Release(NamedTuple):
    """A run to let go of, until *wake_at* (None: until a message or a person), unless it has mail of *topics*."""

    run_id: UUID
    state: str
    wake_at: float | None
    reason: str | None
    detail: bytes | None
    topics: str | None  # separated by commas


class Send(NamedTuple):
    """A message to leave for a run, named by id or by start key."""

    id: UUID
    run_id: UUID | None
    key: str | None
    topic: str
    payload: bytes
    once: str | None = None  # its own key: sent again, it is the same message
    trace: str | None = None  # the traceparent of what has sent it


class Heard(NamedTuple):
    """A message that its run has taken: it goes in the commit that records it."""

    run_id: UUID
    message_id: UUID


class Started(NamedTuple):
    """What became of a start in a transaction: *same* is false if the key belongs to another request."""

    run_id: UUID
    fresh: bool
    same: bool


class Message(NamedTuple):
    """A message that was left for a run."""

    id: UUID
    topic: str
    payload: bytes
    trace: str | None = None


class Standing(NamedTuple):
    """Where a run stands, and how far it says that it is (*position* grows with every word of it)."""

    id: UUID
    state: RunState
    reason: str | None
    position: int | None
    payload: bytes | None
    continued: UUID | None = None  # the run that it went on as


class ClaimedRun(NamedTuple):
    """A run that this worker now owns, with all that replay needs."""

    id: UUID
    workflow: str
    key: str | None
    input: bytes
    claim: int
    starts_at: float
    entries: list[Entry]
    mail: list[Message]
    parent: UUID | None = None
    deadline: float | None = None
    partition: str | None = None
    priority: int | None = None
    trace: str | None = None


class EndedRun(NamedTuple):
    """How a run ended."""

    id: UUID
    workflow: str
    state: RunState
    outcome: bytes | None
    continued: UUID | None = None  # the run that it went on as


class Batch:
    """Everything that one flush carries. Filled by the engine, emptied by the writer."""

    __slots__ = (
        "after", "awaits", "claim", "continuations", "done", "ends", "entries", "heard", "lines", "looks", "progress",
        "releases", "sends", "starts", "undoing", "workflows",
    )  # fmt: skip

    def __init__(self) -> None:
        self.sends: list[Send] = []
        self.starts: list[Start] = []
        self.awaits: list[Await] = []
        self.entries: list[Entry] = []
        self.heard: list[Heard] = []
        self.progress: dict[UUID, tuple[int, bytes]] = {}  # what runs say of it, the latest word
        self.undoing: list[UUID] = []  # runs that began to undo
        self.ends: list[End] = []
        self.continuations: list[Continuation] = []  # of runs that end
        self.releases: list[Release] = []
        self.looks: list[UUID] = []
        self.claim = 0
        self.workflows: list[str] = []
        self.lines: list[Line] = []  # empty: the runs without a queue
        self.after: list[Any] = []  # what waits for this batch to be durable
        self.done = False

    def __bool__(self) -> bool:
        return bool(
            self.entries or self.ends or self.starts or self.releases or self.sends
            or self.heard or self.looks or self.claim or self.undoing or self.progress or self.awaits
        )  # fmt: skip

    def runs(self) -> list[UUID]:
        """The runs that this batch speaks of, each once, in order of appearance."""
        seen: dict[UUID, None] = {}
        seen.update((start.owner, None) for start in self.starts)
        for group in (self.entries, self.heard, self.ends, self.releases, self.sends):
            for item in group:
                seen[item[0]] = None
        seen.update(dict.fromkeys(self.undoing))
        seen.update((each.waiter, None) for each in self.awaits)
        return list(seen)

    def ids(self) -> list[UUID]:
        """The ids of all runs whose rows it writes."""
        started = [start.id for start in self.starts]
        return [*self.runs(), *started, *(each.id for each in self.continuations)]

    def measure(self) -> tuple[int, int]:
        """How many rows it carries, and how many bytes of payloads are in them."""
        groups = (self.sends, self.starts, self.entries, self.ends, self.releases)
        payloads = (
            *(send.payload for send in self.sends),
            *(start.input for start in self.starts),
            *(entry.payload for entry in self.entries),
            *(end.outcome for end in self.ends),
            *(release.detail for release in self.releases),
        )
        return sum(len(group) for group in groups), sum(
            len(each) for each in payloads if each is not None
        )

    def split(self) -> tuple[Batch, Batch]:
        """Two batches with half of the runs each, to find the one that the database refuses."""
        runs = self.runs()
        first = frozenset(runs[: len(runs) // 2])
        return self.only(first), self.only(frozenset(runs[len(runs) // 2 :]), rest=True)

    def only(self, runs: frozenset[UUID], *, rest: bool = False) -> Batch:
        """The part of this batch that speaks of *runs*; with *rest*, also what belongs to no run."""
        part = Batch()
        part.sends = [x for x in self.sends if x.id in runs]
        part.starts = [x for x in self.starts if x.owner in runs]
        part.awaits = [x for x in self.awaits if x.waiter in runs]
        part.entries = [x for x in self.entries if x.run_id in runs]
        part.heard = [x for x in self.heard if x.run_id in runs]
        part.undoing = [x for x in self.undoing if x in runs]
        part.ends = [x for x in self.ends if x.run_id in runs]
        part.continuations = [x for x in self.continuations if x.run_id in runs]
        part.releases = [x for x in self.releases if x.run_id in runs]
        if rest:
            part.looks, part.progress = self.looks, self.progress
            part.claim, part.workflows, part.lines = self.claim, self.workflows, self.lines
        return part


class Reply(NamedTuple):
    """What the database answered to a flush."""

    sent: dict[UUID, str]  # message: 'sent', 'ended', 'missing', 'conflict' or 'busy' (try again)
    busy_keys: frozenset[str]
    known: dict[
        UUID, tuple[UUID, bool]
    ]  # start: the run that has its key, and whether it is the same request
    cancelled: frozenset[UUID]  # ends that met a cancellation
    busy_runs: frozenset[UUID]  # ends and releases that met a lock: try again
    kept: frozenset[UUID]  # releases that met mail, and looks
    mail: dict[UUID, list[Message]]
    claimed: list[UUID]
    more: bool  # some line gave all that it was asked for
    lines: dict[str, tuple[str, Left | None]]  # queue: the partition served last, what was left
    busy_undoing: frozenset[UUID]  # changes to `undoing` that met a lock: try again
    busy_waits: frozenset[tuple[UUID, str]] = (
        frozenset()
    )  # waiter and path that met a lock: try again
