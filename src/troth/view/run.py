"""One run, for a screen: small parts of it, however large it is. Runs the statements of `run.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from troth.base import codec
from troth.base.errors import RunNotFoundError, UsageError
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view import store as view
from troth.view.model import MOST_CHILDREN, MOST_MESSAGES, JournalEntry, RunHeader, RunLine, Undoing
from troth.view.paging import PAYLOAD_LIMIT, Blob, Page, blob, cursor, later, position
from troth.view.steps import StepLine, Told, steps
from troth.view.timeline import timeline, undoing

What = Literal["input", "outcome", "detail", "entry", "message"]

MOST_DETAIL = 1024 * 1024  # bytes of what a run was parked with
MOST_TOLD = 16 * 1024  # bytes of what an entry says of itself
STEPS_ROWS = 100
JOURNAL_ROWS = 200
_MOST_OF_STEPS = 2000  # entries of all steps of a page
_MOST_REWINDS = 100
_MOST_UNDONE = 5000


@dataclass(frozen=True, slots=True)
class Unheard:
    """A message that was sent to a run and has not been heard. *seconds*: since then. *size*: of what it says, in bytes."""

    id: UUID
    topic: str
    sent_at: datetime
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RunDetail:
    """A run beside its journal. *header* has neither input nor outcome, and what it was parked with only if it is small.

    *failure*: type and message of the business answer that it failed with. *now*: of the database.
    """

    header: RunHeader
    input: Blob
    outcome: Blob | None
    parked_with: Blob | None
    failure: tuple[str, str] | None
    queue: str | None
    partition: str | None
    priority: int | None
    progress: Any
    now: datetime
    children: tuple[RunLine, ...]
    messages: tuple[Unheard, ...]
    undoing: Undoing | None


def queries(schema: str) -> Queries:
    """The statements about one run, for one schema."""
    return load("troth.view", schema, "run.sql")


async def detail(tx: Tx, schema: str, run_id: UUID) -> RunDetail:
    """A run, its children and what it has not heard. Raises `RunNotFoundError`."""
    q = queries(schema)
    params: dict[str, Any] = {"id": run_id, "limit": MOST_DETAIL}
    row = await (await tx.execute(q.header, params)).fetchone()
    if row is None:
        raise RunNotFoundError(f"there is no run {run_id} in the schema {schema}")
    line = RunLine(*row[:8])
    claims, wake_at, owner, parent, continued, deadline = row[8:14]
    sizes, parked, failed = row[14:17], row[17], row[18]
    header = RunHeader(line, claims, wake_at, owner, b"", None, parked, parent, continued, deadline)
    children = await _children(tx, schema, run_id)
    unheard: Sequence[tuple[Any, ...]] = ()
    if not line.has_ended:
        said = {"id": run_id, "key": line.key, "limit": MOST_MESSAGES}
        unheard = await (await tx.execute(q.messages, said)).fetchall()
    undone = await (await tx.execute(q.undone, {"id": run_id, "rows": _MOST_UNDONE})).fetchall()
    return RunDetail(
        header=header,
        input=Blob(sizes[0]),
        outcome=blob(sizes[1], None),
        parked_with=blob(sizes[2], None),
        failure=_failure(failed),
        queue=row[19],
        partition=row[20],
        priority=row[21],
        progress=None if row[22] is None else codec.decode(row[22]),
        now=row[23],
        children=children,
        messages=tuple(Unheard(*each) for each in unheard),
        undoing=undoing([JournalEntry(*each) for each in undone]),
    )


async def journal_page(
    tx: Tx,
    schema: str,
    run_id: UUID,
    *,
    after: str | None = None,
    back: bool = False,
    rows: int = JOURNAL_ROWS,
) -> Page[Told]:
    """A page of a journal in the order of time, or (*back*) from its end. Raises `UsageError`."""
    at, path, kind, attempt = position(after, datetime, str, int, int)
    q = queries(schema)
    params = {
        "id": run_id, "limit": MOST_TOLD, "rows": rows + 1,
        "at": at, "path": path, "kind": kind, "attempt": attempt,
    }  # fmt: skip
    found = await (await tx.execute(q.journal_back if back else q.journal, params)).fetchall()
    more, found = len(found) > rows, found[:rows]
    told = await told_of(tx, schema, run_id, found)
    if back:
        told = tuple(reversed(told))
    last = found[-1] if found else None
    ends = cursor(later(last[6]), last[0], last[1], last[2]) if more and last else None
    return Page(told, ends)


async def step_page(
    tx: Tx,
    schema: str,
    run_id: UUID,
    starts_at: datetime,
    *,
    after: str | None = None,
    rows: int = STEPS_ROWS,
) -> Page[StepLine]:
    """A page of a run's steps, in the order in which they began. *cut*: not all entries of these steps were read."""
    at, path = position(after, datetime, str)
    q = queries(schema)
    params = {"id": run_id, "at": at, "path": path, "rows": rows + 1}
    found = await (await tx.execute(q.steps, params)).fetchall()
    more, found = len(found) > rows, found[:rows]
    of = {
        "id": run_id,
        "paths": [row[0] for row in found],
        "limit": MOST_TOLD,
        "rows": _MOST_OF_STEPS,
    }
    entries = await (await tx.execute(q.of_steps, of)).fetchall() if found else []
    told = await told_of(tx, schema, run_id, list(reversed(entries)))
    ends = cursor(later(found[-1][1]), found[-1][0]) if more else None
    return Page(steps(told, starts_at), ends, cut=len(entries) >= _MOST_OF_STEPS)


async def payload(
    tx: Tx, schema: str, run_id: UUID, what: What, *, path: str = "", kind: int = 0, attempt: int = 0,
    message: UUID | None = None, limit: int = PAYLOAD_LIMIT,
) -> Blob:  # fmt: skip
    """The first *limit* bytes of one payload of a run. Raises `UsageError` if there is none."""
    params = {
        "id": run_id, "limit": limit, "path": path, "kind": kind, "attempt": attempt, "message": message
    }  # fmt: skip
    row = await (await tx.execute(queries(schema)[what], params)).fetchone()
    found = None if row is None else blob(row[0], row[1])
    if found is None:
        raise UsageError(f"run {run_id} has no such {what} any more")
    return found


async def told_of(
    tx: Tx, schema: str, run_id: UUID, rows: Sequence[tuple[Any, ...]]
) -> tuple[Told, ...]:
    """Entries as they are told, in the order of time; *rows* as the statements of `run.sql` give them."""
    q = queries(schema)
    entries = [JournalEntry(*row[:7]) for row in rows]
    back = await (await tx.execute(q.rewinds, {"id": run_id, "rows": _MOST_REWINDS})).fetchall()
    begun: dict[str, datetime] = {}
    for row in sorted(rows, key=lambda each: each[6]):
        if row[8] is not None:
            begun.setdefault(row[0], row[8])
    sizes = {(row[0], row[1], row[2]): row[7] for row in rows}
    moments = timeline(entries, rewinds=[JournalEntry(*row) for row in back], begun=begun)
    return tuple(
        Told(moment, sizes[moment.entry.path, moment.entry.kind, moment.entry.attempt])
        for moment in moments
    )


async def _children(tx: Tx, schema: str, run_id: UUID) -> tuple[RunLine, ...]:
    params = {"id": run_id, "limit": MOST_CHILDREN}
    rows = await (await tx.execute(view.queries(schema).children, params)).fetchall()
    return tuple(RunLine(*row) for row in rows)


def _failure(outcome: bytes | None) -> tuple[str, str] | None:
    if not outcome:
        return None
    answer = codec.decode(outcome)
    return str(answer["type"]), str(answer["message"])
