"""The pieces of the modelled protocol, and small words for them. No behaviour; that is in `protocol`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

CLIENT = 2  # processes 0 and 1 are workers; ids of one process differ by 3, so none is used twice
ENDED = ("succeeded", "cancelled")
AWAY = ("checked", "calling")  # nothing but time can hold such a call back

Ops = tuple[tuple[Any, ...], ...]
Entries = frozenset[str]


@dataclass(frozen=True)
class Rules:
    """The decisions of the protocol."""

    flush_fenced: bool = True  # a flush looks for its worker row
    takeover_waits: bool = True  # DELETE, which waits for the flush that holds the row; not UPDATE
    takeover_reads_later: bool = (
        True  # runs are read in a statement after the fence, READ COMMITTED
    )
    takeover_in_one_commit: bool = True  # or leaves worker_gone, so that any peer can finish
    resent_under_its_number: bool = True  # and not under a new one, after looking for the old
    marked: bool = True  # flushes leave marks at all
    first_mark_at_registration: bool = True  # so that flush 1 has a predecessor, like all others
    marks_outlive_worker: bool = (
        True  # who lost its identity can learn what became of its last flush
    )
    history_checked: bool = True  # a flush looks for the mark of the one before
    beat_checks_history: bool = True  # and so does an idle worker's heartbeat
    send_by_checked: bool = True
    successor_waits: bool = (
        True  # until a call that it knows only by its intent cannot be under way
    )
    missing_waits: bool = True  # `Missing` counts only when nothing can land any more
    unknown_is_not_failed: bool = True
    refused_is_not_sent: bool = True  # an intent that the database refused is not durable
    step_fenced: bool = True  # finish_step looks for the owner
    claim_checked: bool = True  # and for the claim number
    step_commit_settled: bool = True  # a lost COMMIT is waited for before the body may run again
    one_entry_per_step: bool = True  # the primary key; not ON CONFLICT DO NOTHING
    completion_hears_cancel: bool = True
    release_looks_again: bool = True
    sender_locks_run: bool = True
    sender_sees_present: bool = True  # not the snapshot of an older REPEATABLE READ transaction
    leaving_run_is_deaf: bool = True  # a run whose release or end is queued takes no message
    resigning_hands_over: bool = True  # a worker that leaves hands over what it has claimed


class Scenario(NamedTuple):
    """How the other side behaves, and how many faults of each kind may happen."""

    provider: str  # keyed: dedupes by our key; once: cannot be asked; probed: can be asked
    crash: int = 0  # a process dies
    cut: int = 0  # a connection is lost; the server may still be executing what it was sent
    expiry: int = 0  # a living process is declared dead: it was paused, and does not know
    late: int = 0  # no answer in time from the provider; the call may land, now or later
    refusal: int = 0  # the database refuses an entry for its data
    leave: int = 0  # a worker is shut down in good order
    loss: int = 0  # a failover loses the last acknowledged flush
    cancel: int = 1  # no fault: a person may ask the run to stop
    resume: int = 0  # no fault: a person may resume a parked run
    locks: int = 0  # if 1, a flush is executed in two steps, between which it holds its locks


class Run(NamedTuple):
    """The row of `run`, or what it became in `run_history`."""

    state: str
    owner: int | None
    claim: int
    due: bool


class Db(NamedTuple):
    """What is durable; from `applied` on, what an observer remembers beside it."""

    workers: frozenset[int]
    gone: frozenset[int]
    marks: frozenset[tuple[int, int, tuple[Any, ...]]]
    run: Run
    journal: Entries
    messages: frozenset[str]
    applied: frozenset[tuple[int, int]]  # the last batch of each worker that was executed
    rows: int  # how often the user's transaction committed
    posted: int  # how often the client's message was left (its id stops a second one only until it is heard)
    cancel_accepted: bool


class Memory(NamedTuple):
    """ActiveRun: what a worker holds of the run that it has claimed."""

    claim: int
    seen: Entries  # recorded, durable or on its way
    call: str = ""  # tx, doubt; intended, ready, checked, calling; deaf: fenced in mid-step
    leaving: bool = False  # its release or end is in a batch
    cancelled: bool = False
    parked: bool = False
    looked: bool = (
        False  # a heartbeat or a hint has made it look for messages: once in a life is enough here
    )


class Process(NamedTuple):
    """A worker or the client: its identity, its writer, its memory."""

    id: int
    alive: bool = True
    n: int = 0  # acknowledged flushes
    out: Ops = ()  # the flush under way, or in doubt
    open: Ops = ()  # what the next one will carry
    run: Memory | None = None
    todo: tuple[str, ...] = ()  # what the client has not been told yet
    again: bool = False  # its release or end met a lock, and is sent again when that may be gone
    stray: int = 0  # the claim under which a thread, given up, still runs the transaction's body
    taking: int | None = None  # a takeover that has deleted the row and not yet released the runs


class Flight(NamedTuple):
    """A call that the server has been sent. *held*: past its fence, holding its locks, not committed."""

    id: int
    n: int  # of a flush; of a transaction step: minus its claim
    batch: int  # which content this is, as an observer counts
    ops: Ops
    held: bool = False
    heard: bool = True  # its caller still listens


class State(NamedTuple):
    """Everything."""

    db: Db
    processes: tuple[Process, ...]
    flights: frozenset[Flight]
    calls: frozenset[tuple[int, int]]  # under way to the provider: (attempt, caller)
    landed: int
    expired: int  # send_by of this attempt and all before it has passed
    sender: str  # the transaction that cancels: '', snapshot-…, open-…
    faults: tuple[int, ...]
    before: tuple[Db, int] | None = (
        None  # what a failover would go back to, and whose flush that loses
    )
    lied_to: int | None = None  # who was told of a commit that is gone


FAULTS = Scenario._fields[1:]
Move = tuple[str, State, bool]  # what happens, what it leads to, and is it a fault


def initial(scenario: Scenario) -> State:
    """Everybody has registered."""
    processes = (Process(0), Process(1), Process(CLIENT, todo=("start", "send")))
    ids = frozenset(range(3))
    marks = frozenset((i, 0, ()) for i in ids)
    db = Db(
        ids,
        frozenset(),
        marks,
        Run("none", None, 0, False),
        frozenset(),
        frozenset(),
        frozenset(),
        0,
        0,
        False,
    )
    return State(db, processes, frozenset(), frozenset(), 0, 0, "", tuple(scenario[1:]))


def put(s: State, who: int, p: Process) -> State:
    """The state with this process in it."""
    return s._replace(processes=(*s.processes[:who], p, *s.processes[who + 1 :]))


def remember(s: State, who: int, p: Process, **changes: Any) -> State:
    """The process's memory of the run has changed."""
    assert p.run is not None
    return put(s, who, p._replace(run=p.run._replace(**changes)))


def note(s: State, who: int, p: Process, op: tuple[Any, ...]) -> State:
    """Put something into the open batch."""
    return put(s, who, p._replace(open=(*p.open, op)))


def leave(s: State, who: int, p: Process, op: tuple[Any, ...]) -> State:
    """Put the release or the end of the run into the open batch."""
    assert p.run is not None
    return note(s, who, p._replace(run=p.run._replace(leaving=True)), op)


def fly(s: State, f: Flight) -> State:
    """The server is sent something."""
    return s._replace(flights=s.flights | {f})


def land(s: State, f: Flight) -> State:
    """The server is done with it."""
    return s._replace(flights=s.flights - {f})


def spend(s: State, fault: str) -> State:
    """One fault of this kind less."""
    i = FAULTS.index(fault)
    return s._replace(faults=(*s.faults[:i], s.faults[i] - 1, *s.faults[i + 1 :]))


def owner_of(s: State, worker: int) -> tuple[int, Process]:
    """The process that has, or had, a worker id."""
    return worker % 3, s.processes[worker % 3]


def attempts(run: Memory) -> int:
    """How often the effect was intended."""
    return sum(entry.startswith("intent") for entry in run.seen)


def mark_of(db: Db, worker: int, n: int) -> tuple[Any, ...] | None:
    """The stored reply of a flush that has committed."""
    return next((m[2] for m in db.marks if m[:2] == (worker, n)), None)


def held(s: State, rules: Rules) -> bool:
    """Does an open transaction hold the run against release and completion: a sender, or a step about to commit?"""
    sender = s.sender.startswith("open") and rules.sender_locks_run
    return sender or any(f.n < 0 for f in s.flights)


def claimable(s: State, run: Run) -> bool:
    """May it be claimed now? A sender that wakes it holds its row."""
    free = run.owner is None and run.due and run.state not in ENDED
    return free and s.sender != "open-idle" and not any(f.n < 0 for f in s.flights)


def woken(run: Run, *, even_parked: bool = False) -> Run:
    """The row after a message came: a run that nobody owns may be claimed."""
    if (
        run.owner is not None
        or run.state in {"none", *ENDED}
        or (run.state == "attention" and not even_parked)
    ):
        return run
    return run._replace(state="ready" if run.state == "waiting" else run.state, due=True)
