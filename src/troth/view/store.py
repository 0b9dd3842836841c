"""The only place that runs the view's statements. Every function takes the transaction to read in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from troth.base.errors import RunNotFoundError, UsageError
from troth.journal.model import Entry
from troth.store.connect import AsyncConnection
from troth.store.isolation import transaction_async
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.effects import (
    EffectStory,
    effect_story,
    of_effect,
    only_path,
    raise_no_effect,
    waits_for,
)
from troth.view.model import (
    BEGINNING,
    MOST_CHILDREN,
    MOST_ENTRIES,
    MOST_MESSAGES,
    MOST_RUNS,
    Alive,
    JournalEntry,
    RunHeader,
    RunLine,
    RunPicture,
    Waiting,
)
from troth.view.paging import SCAN_LIMIT
from troth.view.timeline import timeline, undoing
from troth.workflow.recorded import Recorded

READ_LIMIT_S = 5.0
FIRST_ID = UUID(int=0)
MOST_RECORDED = 1_000_000  # entries that are read at once


def queries(schema: str) -> Queries:
    """The view's statements for one schema."""
    return load("troth.view", schema)


@asynccontextmanager
async def reading(
    connection: AsyncConnection, schema: str, limit_s: float = READ_LIMIT_S
) -> AsyncIterator[Tx]:
    """One snapshot to read in; a statement that takes longer than *limit_s* seconds is ended by the server."""
    async with transaction_async(connection, "repeatable read"):
        await connection.execute(queries(schema).bound, (f"{round(limit_s * 1000)}ms",))
        yield connection


async def lines(tx: Tx, schema: str, ids: Sequence[UUID]) -> list[RunLine]:
    """How these runs stand, as far as they exist; at most `MOST_RUNS` of them."""
    params = {"ids": list(ids), "limit": MOST_RUNS}
    rows = await (await tx.execute(queries(schema).lines, params)).fetchall()
    return [RunLine(*row) for row in rows]


async def header(tx: Tx, schema: str, run_id: UUID) -> RunHeader:
    """One run without its journal. Raises `RunNotFoundError`."""
    row = await (await tx.execute(queries(schema).run, {"id": run_id})).fetchone()
    if row is None:
        msg = f"there is no run {run_id} in the schema {schema}"
        raise RunNotFoundError(msg)
    return RunHeader(RunLine(*row[:8]), *row[8:])


async def entries(
    tx: Tx, schema: str, run_id: UUID, *, since: datetime = BEGINNING, limit: int = MOST_ENTRIES
) -> list[JournalEntry]:
    """The latest entries of a run's journal that were recorded at or after *since*, oldest first."""
    params = {"id": run_id, "since": since, "limit": min(limit, MOST_ENTRIES)}
    rows = await (await tx.execute(queries(schema).entries, params)).fetchall()
    return [JournalEntry(*row) for row in reversed(rows)]


async def recorded(tx: Tx, schema: str, ids: Sequence[UUID]) -> list[Recorded]:
    """Runs with their whole journals, in the order of *ids*; those that do not exist are left out."""
    params = {"ids": list(ids), "limit": MOST_RUNS}
    rows = await (await tx.execute(queries(schema).recorded_runs, params)).fetchall()
    journals: dict[UUID, list[Entry]] = {row[0]: [] for row in rows}
    params["limit"] = MOST_RECORDED
    for row in await (await tx.execute(queries(schema).recorded_entries, params)).fetchall():
        journals[row[0]].append(Entry(*row))
    if sum(map(len, journals.values())) >= MOST_RECORDED:
        msg = f"these {len(rows)} runs have more than {MOST_RECORDED} entries: read fewer at once"
        raise UsageError(msg)
    found = {
        run_id: Recorded(run_id, workflow, key, given, state, at, outcome, tuple(journals[run_id]))
        for run_id, workflow, key, given, state, at, outcome in rows
    }
    return [found[run_id] for run_id in ids if run_id in found]


async def messages(tx: Tx, schema: str, run_id: UUID, key: str | None) -> list[Waiting]:
    """What a run has not heard yet, oldest first; at most `MOST_MESSAGES`."""
    params = {"id": run_id, "key": key, "limit": MOST_MESSAGES}
    rows = await (await tx.execute(queries(schema).messages, params)).fetchall()
    return [Waiting(*row) for row in rows]


async def picture(tx: Tx, schema: str, run_id: UUID, *, limit: int) -> RunPicture:
    """A run with the latest *limit* entries of its journal and its waiting messages. Raises `RunNotFoundError`."""
    found = await header(tx, schema, run_id)
    limit = min(limit, MOST_ENTRIES - 1)
    latest = await entries(tx, schema, run_id, limit=limit + 1)
    cut = len(latest) > limit
    waiting = [] if found.line.has_ended else await messages(tx, schema, run_id, found.line.key)
    told = latest[1:] if cut else latest
    params = {"id": run_id, "limit": MOST_CHILDREN}
    rows = await (await tx.execute(queries(schema).children, params)).fetchall()
    children = tuple(RunLine(*row) for row in rows)
    return RunPicture(found, timeline(told), cut, tuple(waiting), undoing(told), children)


async def story(tx: Tx, schema: str, run_id: UUID, path: str | None) -> EffectStory:
    """All that is recorded of one effect. *path* None: the one that the run stopped at, or the only one that it has sent.

    Raises `RunNotFoundError`, and `UsageError` if there is no such effect or if there are several.
    """
    found = await header(tx, schema, run_id)
    stopped_at = waits_for(found)
    if path is None:
        path = stopped_at or only_path(run_id, await sent(tx, schema, run_id))
    params = {"id": run_id, "path": path, "limit": MOST_ENTRIES}
    rows = await (await tx.execute(queries(schema).of_path, params)).fetchall()
    told = of_effect(path, [JournalEntry(*row) for row in reversed(rows)])
    if not any(each.path == path for each in told) and path != stopped_at:
        raise_no_effect(run_id, path, await sent(tx, schema, run_id))
    return effect_story(found, path, told)


async def sent(tx: Tx, schema: str, run_id: UUID) -> list[str]:
    """The paths of the effects that a run has sent; at most 20."""
    rows = await (await tx.execute(queries(schema).sent, (run_id,))).fetchall()
    return [row[0] for row in rows]


async def live_workflows(tx: Tx, schema: str) -> list[str]:
    """The names of the workflows that the newest 10,000 runs which are alive are of; at most 20."""
    rows = await (await tx.execute(queries(schema).workflows, {"scan": SCAN_LIMIT})).fetchall()
    return [row[0] for row in rows]


async def alive(tx: Tx, schema: str, workflow: str | None = None) -> list[Alive]:
    """The workflows that have runs which are alive, each version by itself; *workflow*: all versions, or one (`name@2`)."""
    params = {"workflow": workflow, "limit": MOST_RUNS}
    rows = await (await tx.execute(queries(schema).versions, params)).fetchall()
    return [Alive(*row) for row in rows]


async def latest_id(tx: Tx, schema: str) -> UUID:
    """The greatest id of a run; the smallest possible id if there is none."""
    row = await (await tx.execute(queries(schema).latest)).fetchone()
    return row[0] if row and row[0] else FIRST_ID
