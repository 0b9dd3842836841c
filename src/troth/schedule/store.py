"""The only place that runs the statements of schedules: functions for the relay and operators, plans for transactions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.journal.model import Place
from troth.schedule import rules
from troth.schedule.model import (
    PAUSED,
    Declaration,
    DeclaredScheduleError,
    Due,
    Entry,
    Line,
    Recorded,
    ScheduleExistsError,
    ScheduleNotFoundError,
    Step,
    Terms,
    Wish,
)
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries, load
from troth.store.tx import Row, Tx


def queries(schema: str) -> Queries:
    """The statements of schedules for one schema."""
    return load("troth.schedule", schema)


@dataclass(frozen=True, slots=True)
class Mine:
    """What a program can fire: stored schedules of its workflows, and schedules that it declares itself."""

    workflows: Sequence[str]
    digests: Mapping[str, bytes]

    def params(self) -> dict[str, Any]:
        return {
            "workflows": list(self.workflows),
            "names": list(self.digests),
            "digests": list(self.digests.values()),
        }


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run that an entry of a history starts."""

    id: UUID
    workflow: str
    key: str
    input: bytes
    digest: bytes
    place: Place | None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """An entry of a history that is to be written."""

    schedule: str
    n: int
    step: Step
    run: NewRun | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Where a schedule stands after a look."""

    schedule: str
    next_at: datetime | None
    look_at: datetime | None
    held_until: datetime | None
    entries: int
    last_at: datetime | None
    last_result: str | None
    last_run: UUID | None


# For the relay --------------------------------------------------------------------------------------------------------


async def recorded(tx: Tx, q: Queries, names: Sequence[str]) -> list[Recorded]:
    """What is known of the schedules of these names."""
    rows = await (await tx.execute(q.recorded, (list(names),))).fetchall()
    return [
        Recorded(name, declared, digest, tuple(superseded), *rest)
        for name, declared, digest, superseded, *rest in rows
    ]


async def declare(
    tx: Tx, q: Queries, mine: Declaration, found: Recorded | None, next_at: datetime | None
) -> None:
    """Write down a declaration, in place of the one that was found, or as the first. Another process may be faster."""
    params = {
        **_terms(mine.name, mine.workflow, mine.terms, mine.partition, mine.priority),
        **_first(mine.name, mine.terms, next_at),
        "digest": mine.digest,
    }
    if found is None:
        await tx.execute(q.declare_new, params)
        return
    moves = (found.cron, found.tz) != (mine.terms.cron, mine.terms.tz)
    lost = rules.superseded(mine, found)
    await tx.execute(
        q.declare_over, {**params, "moves": moves, "superseded": lost, "was": found.digest}
    )


async def confirm(tx: Tx, q: Queries, digests: Mapping[str, bytes]) -> None:
    """Say that a program with these declarations is there."""
    await tx.execute(q.confirm, {"names": list(digests), "digests": list(digests.values())})


async def now(tx: Tx, q: Queries) -> datetime:
    """The database's time."""
    row = await (await tx.execute(q.clock)).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


async def due_in(tx: Tx, q: Queries, mine: Mine) -> float | None:
    """In how many seconds there is something to do."""
    row = await (await tx.execute(q.due_in, mine.params())).fetchone()
    return None if row is None else row[0]


async def claim_due(tx: Tx, q: Queries, mine: Mine, limit: int) -> list[Due]:
    """Lock schedules that are due."""
    rows = await (await tx.execute(q.claim_due, {**mine.params(), "limit": limit})).fetchall()
    return [_due(row) for row in rows]


async def claim_wishes(tx: Tx, q: Queries, mine: Mine, limit: int) -> list[Wish]:
    """Lock what people asked for, with its schedules."""
    rows = await (await tx.execute(q.claim_wishes, {**mine.params(), "limit": limit})).fetchall()
    return [Wish(row[0], _due(row[4:]), *row[1:4]) for row in rows]


async def alive(tx: Tx, q: Queries, runs: Sequence[UUID]) -> set[UUID]:
    """Those of *runs* that have not ended."""
    rows = await (await tx.execute(q.alive, (list(runs),))).fetchall()
    return {row[0] for row in rows}


async def cancel(tx: Tx, q: Queries, message: UUID, run: UUID) -> bool:
    """Ask a run to stop; false if its row is taken just now."""
    row = await (await tx.execute(q.cancel, (message, run))).fetchone()
    assert row is not None
    return bool(row[0] != "busy")


async def write(tx: Tx, q: Queries, entries: Sequence[Written]) -> dict[tuple[str, int], UUID]:
    """Write entries and start their runs; the run of each entry that has one."""
    rows = await (await tx.execute(q.write, _columns(entries))).fetchall()
    traces = {each.run.id: each.run.trace for each in entries if each.run and each.run.trace}
    if traces:
        await tx.execute(q.trace, (list(traces), list(traces.values())))
    return {(name, n): run for name, n, run in rows if run is not None}


async def move(tx: Tx, q: Queries, moved: Sequence[Moved]) -> None:
    """Say where schedules stand now."""
    columns = (
        [each.schedule for each in moved],
        [each.next_at for each in moved],
        [each.look_at for each in moved],
        [each.held_until for each in moved],
        [each.entries for each in moved],
        [each.last_at for each in moved],
        [each.last_result for each in moved],
        [each.last_run for each in moved],
    )
    await tx.execute(q.move, columns)


async def fulfilled(tx: Tx, q: Queries, wishes: Sequence[int], entries: Mapping[str, int]) -> None:
    """Say that wishes are done, and how long the histories of their schedules are."""
    await tx.execute(q.fulfilled, (list(wishes), list(entries), list(entries.values())))


def _due(row: Row) -> Due:
    name, workflow, cron, tz, overlap, catch_up, missed, jitter, declared, given, *rest = row
    terms = Terms(cron, tz, overlap, catch_up, missed, jitter)
    return Due(name, workflow, terms, declared, given, *rest)


def _columns(entries: Sequence[Written]) -> tuple[list[Any], ...]:
    runs = [each.run for each in entries]
    places = [run.place if run else None for run in runs]
    return (
        [each.schedule for each in entries],
        [each.n for each in entries],
        [each.step.at for each in entries],
        [each.step.until for each in entries],
        [each.step.result for each in entries],
        [each.by for each in entries],
        [each.step.note for each in entries],
        [run and run.id for run in runs],
        [run and run.workflow for run in runs],
        [run and run.key for run in runs],
        [run and run.input for run in runs],
        [run and run.digest for run in runs],
        [place and place.queue for place in places],
        [place and place.partition for place in places],
        [place and place.priority for place in places],
    )


# For transactions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """What a stored schedule starts."""

    workflow: str
    terms: Terms
    input: bytes
    time_in: str | None = None
    partition: str | None = None
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """A schedule that is locked. *confirmed*: a program that declares it is there."""

    now: datetime
    stored: Stored
    declared: bool
    confirmed: bool
    next_at: datetime | None
    held_until: datetime | None
    paused_at: datetime | None
    entries: int


def create(q: Queries, name: str, made: Stored) -> Plan[None]:
    """A new stored schedule. Raises `ScheduleExistsError`."""
    rows = yield Statement(q.clock)
    next_at = rules.next_after(made.terms.cron, made.terms.tz, rows[0][0])
    rows = yield Statement(q.create, _stored(name, made, next_at))
    if not rows:
        raise ScheduleExistsError(f"there is a schedule {name} already: change it, or delete it")


def change(q: Queries, name: str, held: Held, made: Stored) -> Plan[None]:
    """Give a locked one what *made* says. With the same times, its next firing stays."""
    _require_stored(name, held)
    old = held.stored.terms
    moves = (old.cron, old.tz) != (made.terms.cron, made.terms.tz)
    next_at = rules.next_after(made.terms.cron, made.terms.tz, held.now) if moves else None
    yield Statement(q.change, {**_stored(name, made, next_at), "moves": moves}, returns=False)


def hold(q: Queries, name: str) -> Plan[Held]:
    """Lock a schedule. Raises `ScheduleNotFoundError`."""
    rows = yield Statement(q.hold, (name,))
    if not rows:
        raise _no(name)
    at, workflow, cron, tz, overlap, catch_up, missed, jitter, declared, confirmed, *rest = rows[0]
    given, time_in, partition, priority, *standing = rest
    terms = Terms(cron, tz, overlap, catch_up, missed, jitter)
    stored = Stored(workflow, terms, bytes(given or b""), time_in, partition, priority)
    return Held(at, stored, declared, bool(confirmed), *standing)


def delete(q: Queries, name: str) -> Plan[None]:
    """Forget a stored schedule, or a declared one that no program declares any more."""
    held = yield from hold(q, name)
    if held.confirmed:
        _require_stored(name, held)
    yield Statement(q.delete, {"name": name}, returns=False)


def pause(q: Queries, name: str, by: str, note: str | None) -> Plan[None]:
    """Let it rest. Raises `ScheduleNotFoundError`."""
    rows = yield Statement(q.pause, {"name": name, "by": by, "note": note})
    if not rows:
        raise _no(name)


def resume(q: Queries, name: str, by: str, note: str | None) -> Plan[datetime | None]:
    """Let it go on with the firings to come; the next one. Those that it has slept through are recorded."""
    held = yield from hold(q, name)
    if held.paused_at is None:
        return held.next_at
    next_at, entries = held.next_at, held.entries
    if next_at is not None and next_at <= held.now:
        entries += 1
        step = Step(PAUSED, next_at, held.now, note)
        yield Statement(q.write, _columns([Written(name, entries, step, by=by)]))
        next_at = rules.next_after(held.stored.terms.cron, held.stored.terms.tz, held.now)
    look_at = _first(name, held.stored.terms, next_at)["look_at"]
    columns = ([name], [next_at], [look_at], [None], [entries], [None], [None], [None])
    yield Statement(q.move, columns, returns=False)
    yield Statement(q.resume, (name,), returns=False)
    yield Statement(q.ring)
    return next_at


def wish(
    q: Queries, name: str, at: Sequence[datetime] | None, by: str, note: str | None
) -> Plan[None]:
    """Ask for firings at these times; None: for one now. Raises `ScheduleNotFoundError`."""
    held = yield from hold(q, name)
    if held.declared and not held.confirmed:
        msg = f"no program that is running declares the schedule {name}: nobody could fire it"
        raise DeclaredScheduleError(msg)
    yield Statement(q.wish, (name, by, note, list(at or [held.now])), returns=False)
    yield Statement(q.ring)


def lines(
    q: Queries,
    *,
    name: str | None = None,
    workflow: str | None = None,
    paused: bool = False,
    after: str = "",
    limit: int = 100,
) -> Plan[list[Line]]:
    """How schedules stand, by name."""
    rows = yield Statement(
        q.lines,
        {"name": name, "workflow": workflow, "paused": paused, "after": after, "limit": limit},
    )
    return [Line(row[0], row[1], Terms(*row[2:8]), *row[8:]) for row in rows]


def show(q: Queries, name: str, limit: int = 100) -> Plan[tuple[Line, list[Entry]]]:
    """One schedule and its history. Raises `ScheduleNotFoundError`."""
    found = yield from lines(q, name=name)
    if not found:
        raise _no(name)
    rows = yield Statement(q.history, {"name": name, "limit": limit})
    return found[0], [Entry(*row) for row in rows]


def _terms(
    name: str, workflow: str, terms: Terms, partition: str | None, priority: int
) -> dict[str, Any]:
    return {
        "name": name,
        "workflow": workflow,
        "cron": terms.cron,
        "tz": terms.tz,
        "overlap": terms.overlap,
        "catch_up": terms.catch_up,
        "missed": terms.missed,
        "jitter": terms.jitter,
        "partition": partition,
        "priority": priority,
    }


def _first(name: str, terms: Terms, next_at: datetime | None) -> dict[str, Any]:
    look_at = None if next_at is None else next_at + rules.delay(name, next_at, terms.jitter)
    return {"next_at": next_at, "look_at": look_at}


def _stored(name: str, made: Stored, next_at: datetime | None) -> dict[str, Any]:
    return {
        **_terms(name, made.workflow, made.terms, made.partition, made.priority),
        **_first(name, made.terms, next_at),
        "input": made.input,
        "time_in": made.time_in,
    }


def _require_stored(name: str, held: Held) -> None:
    if held.declared:
        msg = f"the schedule {name} is declared in code: change it there, or pause it"
        raise DeclaredScheduleError(msg)


def _no(name: str) -> ScheduleNotFoundError:
    return ScheduleNotFoundError(f"there is no schedule {name}: troth schedule list")
