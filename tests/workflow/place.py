"""A schema in which a test's workflows run, and eyes that see what the database says of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from tests.harness.postgres import wait_until
from troth import Run, Troth
from troth.base import codec, ids
from troth.journal.model import Kind
from troth.worker.node import NodeOptions

QUICK = NodeOptions(connections=4, threads=4)
PATIENCE_S = 20.0

Journal = list[tuple[str, int, int, int | None, bool | None, bytes | None]]


class Place:
    """One schema. `rows` and what is built on it read with a session of the test's own."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schema
        self._session = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        self._session.close()

    def troth(self) -> Troth:
        """A program without definitions, as a process that starts would make it."""
        return Troth(self.url, schema=self.schema)

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database; `{s}` is the schema."""
        statement = sql.SQL(query).format(s=sql.Identifier(self.schema))  # type: ignore[arg-type]
        cursor = self._session.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *parameters: Any) -> Any:
        rows = self.rows(query, *parameters)
        return rows[0][0] if rows else None

    def state(self, run_id: UUID) -> str:
        """The state of a run, alive or ended."""
        return str(
            self.value(
                "SELECT state::text FROM {s}.run WHERE id = %s"
                " UNION ALL SELECT state::text FROM {s}.run_history WHERE id = %s",
                run_id,
                run_id,
            )
        )

    def journal(self, run_id: UUID) -> Journal:
        """What the journal says, without times: path, kind, attempt, seq, ok, payload."""
        return [
            (path, kind, attempt, seq, ok, None if payload is None else bytes(payload))
            for path, kind, attempt, seq, ok, payload in self.rows(
                "SELECT path, kind, attempt, seq, ok, payload FROM {s}.journal WHERE run_id = %s"
                " ORDER BY seq NULLS FIRST, path, kind, attempt",
                run_id,
            )
        ]

    def results(self, run_id: UUID) -> list[str]:
        """The paths of the recorded answers, in the order in which they were delivered."""
        return [entry[0] for entry in self.journal(run_id) if entry[1] == Kind.RESULT]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that only the database shows."""
        await asyncio.to_thread(wait_until, condition, what, PATIENCE_S)

    async def until_state(self, run: Run[Any] | UUID, state: str) -> None:
        run_id = run.id if isinstance(run, Run) else run
        await self.until(lambda: self.state(run_id) == state, f"run {run_id} is {state}")

    async def attention(self, run: Run[Any] | UUID) -> tuple[str, dict[str, Any]]:
        """Wait until the run stands in the attention list; its reason and its detail."""
        run_id = run.id if isinstance(run, Run) else run
        await self.until_state(run_id, "attention")
        ((reason, detail),) = self.rows("SELECT reason, detail FROM {s}.run WHERE id = %s", run_id)
        return reason, codec.decode(bytes(detail))

    def resume(self, run: Run[Any] | UUID, *, settled: str | None = None) -> None:
        """A person decides: go on; *settled*: that effect did not happen."""
        if settled is not None:
            attempts = self.value(
                "SELECT max(attempt) FROM {s}.journal WHERE run_id = %s AND path = %s AND kind = 1",
                run.id if isinstance(run, Run) else run,
                settled,
            )
            self.decide(run, settled, {"done": False, "attempts": attempts}, wake=False)
        self.decide(run, "!resume", {})

    def decide(
        self, run: Run[Any] | UUID, path: str, decision: dict[str, Any], *, wake: bool = True
    ) -> None:
        """A person decides something about a path, and lets the run go on."""
        run_id = run.id if isinstance(run, Run) else run
        self.rows(
            "INSERT INTO {s}.journal (run_id, path, kind, attempt, payload, at)"
            " SELECT %s, %s, 5, count(*), %s, clock_timestamp() FROM {s}.journal"
            " WHERE run_id = %s AND path = %s AND kind = 5",
            run_id,
            path,
            codec.encode(decision),
            run_id,
            path,
        )
        if wake:
            self.wake(run_id)

    def settle(self, run: Run[Any], path: str, value: Any = None) -> None:
        """A person says that it happened, or was undone."""
        self.rows(
            "INSERT INTO {s}.journal (run_id, path, kind, attempt, seq, ok, payload, at)"
            " SELECT %s, %s, 2, count(*) FILTER (WHERE path = %s), max(seq) + 1, true, %s,"
            " clock_timestamp() FROM {s}.journal WHERE run_id = %s AND kind = 2",
            run.id,
            path,
            path,
            codec.encode(value),
            run.id,
        )
        self.wake(run.id)

    def wake(self, run_id: UUID) -> None:
        """Let any worker claim the run."""
        self.rows(
            "UPDATE {s}.run SET state = 'ready', wake_at = clock_timestamp() WHERE id = %s", run_id
        )
        self.rows("SELECT pg_notify(%s, '')", f"{self.schema}.ready")

    def take_over(self, worker: int) -> None:
        """Declare a worker dead, as a peer would after its lease, and hand over its runs; a last beat may be on its way."""
        held = self.value("SELECT {s}.takeover(%s, NULL)", worker)
        assert held == 0, f"worker {worker}: {held}"

    async def die(self, troth: Troth) -> None:
        """The worker of this loop ends as if it had been killed: nothing more is written, nobody is told."""
        node = troth.node
        node._closing = True
        node.claims.close()
        if node._heart is not None:
            node._heart.stop()
        await node.writer.abandon()
        node.engine.forget_all()
        await asyncio.to_thread(self.take_over, node.writer.worker)


async def soon(result: Awaitable[Any]) -> Any:
    """Await with the patience of a test."""
    async with asyncio.timeout(PATIENCE_S):
        return await result


def unknown_run() -> UUID:
    """The id of no run."""
    return ids.new_id()
