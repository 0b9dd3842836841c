"""How the database is: the server and what it was told, migrations, sizes, dead rows, slow statements, old snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from troth.store import migrate
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.paging import line

SLOW_S = 1.0
IDLE_IN_TRANSACTION_S = 60.0
_MOST_TABLES = 1000
_MOST_SESSIONS = 50
_MOST_STATEMENTS = 20
_SETTINGS = (
    "autovacuum",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "fsync",
    "full_page_writes",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "max_connections",
    "max_locks_per_transaction",
    "shared_buffers",
    "statement_timeout",
    "synchronous_commit",
    "synchronous_standby_names",
    "track_activities",
    "track_counts",
    "transaction_timeout",
    "zero_damaged_pages",
)


@dataclass(frozen=True, slots=True)
class Server:
    """The server. *now_s*: its clock, in seconds since 1970. *size*: of the database, in bytes. *connections*: of clients
    there are, of them *ours* say that they are troth's. *reserved*: connections that only superusers get. *xids*: how
    old its oldest rows are, in transactions.
    """

    version: str
    version_number: int
    started_at: datetime
    now_s: float
    database: str
    size: int
    standby: bool
    max_connections: int
    reserved: int
    connections: int
    ours: int
    xids: int


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of the server, as sessions of this role begin. *source*: who says so."""

    value: str
    unit: str | None
    source: str


@dataclass(frozen=True, slots=True)
class TableLine:
    """One table, or all partitions of one. *size* and *indexes* in bytes; rows as the statistics have them.

    *vacuumed_s*: since the last vacuum, in seconds. *off*: autovacuum is turned off for it.
    """

    name: str
    partitions: int
    size: int
    indexes: int
    rows: int
    live: int
    dead: int
    vacuumed_s: float | None
    off: bool

    @property
    def dead_share(self) -> float:
        """The share of dead rows among all, from 0 to 1."""
        return self.dead / (self.live + self.dead) if self.live + self.dead else 0.0


@dataclass(frozen=True, slots=True)
class Weeks:
    """The partitions by week: from when until when history can be, and how old the oldest week is, in seconds.

    *ahead_s*: for how long there is room; negative: there is none. *forgotten_at*: when somebody last had old weeks
    forgotten, as far as that was recorded.
    """

    first: datetime | None
    until: datetime | None
    count: int
    ahead_s: float | None
    oldest_s: float | None
    current: bool
    forgotten_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A session that has been at something for long. *transaction_s*, *state_s*, *statement_s*: since each began."""

    pid: int
    user: str | None
    application: str | None
    state: str | None
    transaction_s: float | None
    state_s: float | None
    statement_s: float | None
    wait: str | None
    statement: str | None


@dataclass(frozen=True, slots=True)
class SnapshotLine:
    """What keeps dead rows: a transaction, a prepared transaction, or a replication slot. *xids*: how old, in transactions."""

    kind: str
    what: str
    xids: int | None
    age_s: float | None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One kind of statement, from pg_stat_statements. Times in milliseconds."""

    statement: str
    calls: int
    mean_ms: float
    max_ms: float
    total_ms: float


@dataclass(frozen=True, slots=True)
class Health:
    """The screen of health. *statements*: None if the server does not collect statistics of statements."""

    server: Server
    settings: Mapping[str, Setting]
    migrations: migrate.Status
    tables: tuple[TableLine, ...]
    weeks: Weeks
    sessions: tuple[SessionLine, ...]
    snapshots: tuple[SnapshotLine, ...]
    statements: tuple[StatementLine, ...] | None


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "health.sql")


async def health(tx: Tx, schema: str) -> Health:
    """The screen of health."""
    found = await migrate.status_in(tx, schema)
    return Health(
        await server(tx, schema),
        await settings(tx, schema),
        found,
        await tables(tx, schema),
        await weeks(tx, schema, forgotten=found.state == "ok"),
        await sessions(tx, schema),
        await snapshots(tx, schema),
        await statements(tx, schema),
    )


async def server(tx: Tx, schema: str) -> Server:
    """The server and its connections."""
    row = await (await tx.execute(queries(schema).server)).fetchone()
    assert row is not None
    return Server(*row)


async def settings(tx: Tx, schema: str) -> dict[str, Setting]:
    """What the server was told, as far as it matters here."""
    rows = await _rows(tx, queries(schema).settings, {"names": list(_SETTINGS)})
    return {name: Setting(*rest) for name, *rest in rows}


async def tables(tx: Tx, schema: str) -> tuple[TableLine, ...]:
    """The tables, the largest first; those that are partitioned by week as one."""
    rows = await _rows(tx, queries(schema).tables, {"limit": _MOST_TABLES})
    whole: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        whole.setdefault(row[1] or row[0], []).append(row)
    lines = [_table(name, parts) for name, parts in whole.items()]
    return tuple(sorted(lines, key=lambda each: -each.size))


async def weeks(tx: Tx, schema: str, *, forgotten: bool = True) -> Weeks:
    """How far back history goes, and how far ahead there is room. *forgotten*: look who had old weeks forgotten, too."""
    q = queries(schema)
    row = (await _rows(tx, q.weeks, {"limit": _MOST_TABLES}))[0]
    first, until, count, ahead_s, oldest_s, current = row
    when = (await _rows(tx, q.forgotten, {}))[0][0] if forgotten else None
    return Weeks(first, until, count, ahead_s, oldest_s, bool(current), when)


async def sessions(tx: Tx, schema: str) -> tuple[SessionLine, ...]:
    """Statements that have run for longer than a second, and transactions that have done nothing for a minute."""
    params = {"running_s": SLOW_S, "idle_s": IDLE_IN_TRANSACTION_S, "limit": _MOST_SESSIONS}
    rows = await _rows(tx, queries(schema).slow, params)
    return tuple(
        line(SessionLine, *row[:7], ": ".join(filter(None, row[7:9])) or None, row[9])
        for row in rows
    )


async def snapshots(tx: Tx, schema: str) -> tuple[SnapshotLine, ...]:
    """What keeps dead rows from being removed, the oldest first."""
    rows = await _rows(tx, queries(schema).snapshots, {"limit": _MOST_SESSIONS})
    return tuple(SnapshotLine(*row) for row in rows)


async def statements(tx: Tx, schema: str) -> tuple[StatementLine, ...] | None:
    """The statements that have taken most time; None where pg_stat_statements is not in reach."""
    q = queries(schema)
    if (await _rows(tx, q.has_statistics, {}))[0] != (True,):
        return None
    rows = await _rows(tx, q.statements, {"limit": _MOST_STATEMENTS})
    return tuple(StatementLine(*row) for row in rows)


def _table(name: str, parts: list[tuple[Any, ...]]) -> TableLine:
    ages = [row[9] for row in parts if row[9] is not None]
    sums = [sum(row[column] or 0 for row in parts) for column in range(2, 7)]
    partitions = sum(row[1] is not None for row in parts)
    off = any(row[11] for row in parts)
    return line(TableLine, name, partitions, *sums, max(ages, default=None), off)


async def _rows(tx: Tx, statement: Any, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await tx.execute(statement, params)).fetchall()
