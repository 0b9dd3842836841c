"""The processes that execute runs: whether they beat, what they have in hand, what they can execute; and who died."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria
from troth.view.paging import (
    MOST_ROWS,
    PAGE_ROWS,
    RUN_COUNT_CAP,
    Count,
    Page,
    cursor,
    line,
    position,
    rows_of,
)


@dataclass(frozen=True, slots=True)
class WorkerFilter(Criteria):
    """Which processes to list. *executes*: those that execute runs, and not those that only start them. *worker*: an id."""

    executes: bool = False
    worker: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """One process that is there. *executes*: False for a client, which only starts runs. *workflows*: with versions.

    *beat_s*: since its last beat; others take over after *lease_s*. *in_hand*: runs that it has at the moment, of the
    100,000 that are looked at. All lengths in seconds.
    """

    id: int
    name: str
    executes: bool
    workflows: tuple[str, ...]
    lease_s: float
    started_at: datetime
    up_s: float
    beats: int
    beat_s: float
    in_hand: int

    @property
    def late(self) -> bool:
        """Has it been silent for longer than its lease?"""
        return self.beat_s > self.lease_s


@dataclass(frozen=True, slots=True)
class GoneLine:
    """One process that was found dead, *gone_s* seconds ago. *in_hand*: runs of it that nobody has released yet."""

    id: int
    name: str
    gone_at: datetime
    gone_s: float
    in_hand: int


@dataclass(frozen=True, slots=True)
class VersionLine:
    """The runs of one version of a workflow that are alive. *workers*: how many there are that can execute it."""

    workflow: str
    runs: Count
    in_attention: int
    oldest_at: datetime
    workers: int


@dataclass(frozen=True, slots=True)
class Workers:
    """A page of processes, those that died, and what there is to execute."""

    page: Page[WorkerLine]
    gone: tuple[GoneLine, ...]
    versions: tuple[VersionLine, ...]


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "workers.sql")


async def workers(
    tx: Tx,
    schema: str,
    which: WorkerFilter = WorkerFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Workers:
    """The screen of workers. Raises `UsageError` for a wrong *after* or *limit*."""
    return Workers(
        await processes(tx, schema, which, after=after, limit=limit),
        await gone(tx, schema),
        await versions(tx, schema),
    )


async def processes(
    tx: Tx,
    schema: str,
    which: WorkerFilter = WorkerFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[WorkerLine]:
    """A page of processes that are there, in the order in which they came."""
    (last,) = position(after, int)
    params = {
        "after": last or 0,
        "executes": which.executes,
        "worker": which.worker,
        "limit": rows_of(limit),
        "cap": RUN_COUNT_CAP,
    }
    rows = await (await tx.execute(queries(schema).lines, params)).fetchall()
    found = tuple(line(WorkerLine, *row) for row in rows)
    return Page(found, cursor(found[-1].id) if len(found) == limit else None)


async def gone(tx: Tx, schema: str, limit: int = PAGE_ROWS) -> tuple[GoneLine, ...]:
    """The processes that were found dead, the latest first."""
    params = {"limit": rows_of(limit), "cap": RUN_COUNT_CAP}
    rows = await (await tx.execute(queries(schema).gone, params)).fetchall()
    return tuple(GoneLine(*row) for row in rows)


async def versions(tx: Tx, schema: str) -> tuple[VersionLine, ...]:
    """The workflows of the runs that are alive, by name, each version by itself; 100,000 runs are looked at."""
    params = {"limit": MOST_ROWS, "cap": RUN_COUNT_CAP + 1}
    rows = await (await tx.execute(queries(schema).versions, params)).fetchall()
    return tuple(
        VersionLine(flow, Count(n, looked_at > RUN_COUNT_CAP), waiting, oldest, there)
        for flow, n, waiting, oldest, there, looked_at in rows
    )


async def ahead(tx: Tx, schema: str) -> float:
    """By how much the latest beat of a process is ahead of the server's clock, in seconds; 0 if it is not."""
    row = await (await tx.execute(queries(schema).ahead, {"limit": 10 * MOST_ROWS})).fetchone()
    return max(0.0, row[0]) if row and row[0] is not None else 0.0
