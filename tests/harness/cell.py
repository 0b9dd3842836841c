"""One schema, any number of sessions on it, and a way to wait until one of them is really blocked."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

from psycopg import IsolationLevel, sql

from troth.base import codec, ids
from troth.journal import store
from troth.journal.model import Batch, End, Entry, Kind, Release, Reply, Send, Start
from troth.store import arrays
from troth.store.connect import AsyncConnection, connect_async
from troth.worker.node import Node

T = TypeVar("T")

_LOOK_S = 0.005
_PATIENCE_S = 20.0


class Cell:
    """The journal of one schema, seen from sessions that a test conducts by hand."""

    def __init__(
        self, url: str, schema: str, stack: AsyncExitStack, watch: AsyncConnection
    ) -> None:
        self.url = url
        self.schema = schema
        self.q = store.queries(schema)
        self._stack = stack
        self._watch = watch

    async def session(
        self, level: IsolationLevel | None = None, url: str | None = None
    ) -> AsyncConnection:
        """A connection in autocommit mode, closed at the end of the test."""
        connection = await connect_async(url or self.url)
        self._stack.push_async_callback(connection.close)
        await connection.set_isolation_level(level)
        arrays.register(connection)
        return connection

    async def member(self, *, executes: bool = True, lease_s: float = 5.0) -> int:
        """A new worker id."""
        return await store.register(self._watch, self.q, "test", executes=executes, lease_s=lease_s)

    async def beat_of(self, worker: int) -> int:
        """Where the heartbeat of a worker stands."""
        return int(await self.value("SELECT beat FROM {}.worker WHERE id = %s", worker))

    async def flush(
        self, worker: int, n: int, batch: Batch, tx: AsyncConnection | None = None
    ) -> Reply:
        """One flush, by hand."""
        return await store.flush(tx or self._watch, self.q, worker, n, batch)

    async def owned_run(self, worker: int, n: int = 1, *, key: str | None = None) -> UUID:
        """A run that *worker* has started for itself in its flush *n*."""
        batch = Batch()
        batch.starts.append(start(key=key, claim=True))
        await self.flush(worker, n, batch)
        return batch.starts[0].id

    async def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """What a query returns now; `{}` is the schema."""
        text = sql.SQL(query).format(sql.Identifier(self.schema))  # type: ignore[arg-type]
        cursor = await self._watch.execute(text, params)
        return await cursor.fetchall() if cursor.description else []

    async def value(self, query: str, *params: Any) -> Any:
        """The first column of the first row, or None."""
        rows = await self.rows(query, *params)
        return rows[0][0] if rows else None

    async def run(self, run_id: UUID) -> tuple[str, int | None] | None:
        """(state, owner) of a live run."""
        rows = await self.rows("SELECT state::text, owner FROM {}.run WHERE id = %s", run_id)
        return (rows[0][0], rows[0][1]) if rows else None

    async def ended(self, run_id: UUID) -> str | None:
        """The state in which a run has ended."""
        state = await self.value("SELECT state::text FROM {}.run_history WHERE id = %s", run_id)
        return None if state is None else str(state)

    async def blocked(
        self, work: Coroutine[Any, Any, T], session: AsyncConnection, by: AsyncConnection
    ) -> asyncio.Task[T]:
        """Begin *work* on *session*; return when the server says that it waits for a lock that *by* holds."""
        task = asyncio.create_task(work)

        async def waits() -> bool:
            if task.done():
                raise AssertionError(f"it was to be blocked, and is not: {task!r}")
            query = "SELECT %s = ANY (pg_blocking_pids(%s))"
            return bool(await self.value(query, by.info.backend_pid, session.info.backend_pid))

        await until(waits, "the session is blocked")
        return task

    async def waiting_backend(self, fragment: str) -> int:
        """The pid of the backend that waits for a lock in a statement of this schema that has *fragment*."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND strpos(query, %s) > 0 AND strpos(query, %s) > 0 AND pid <> pg_backend_pid()"
        )
        return int(await until(lambda: self.value(query, self.schema, fragment), fragment))


@asynccontextmanager
async def open_cell(url: str, schema: str) -> AsyncIterator[Cell]:
    """A cell whose sessions are closed at the end."""
    async with AsyncExitStack() as stack:
        watch = await connect_async(url)
        arrays.register(watch)
        stack.push_async_callback(watch.close)
        yield Cell(url, schema, stack, watch)


async def until(condition: Callable[[], Coroutine[Any, Any, T]], what: str) -> T:
    """Ask until the answer is true, and return it; fail with *what* after 20 seconds."""
    deadline = time.monotonic() + _PATIENCE_S
    while not (answer := await condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {_PATIENCE_S:.0f} s")
        await asyncio.sleep(_LOOK_S)
    return answer


async def crash(node: Node) -> int:
    """End a node as `kill -9` would: nothing is flushed and nobody resigns. Returns its worker id."""
    worker = node.writer.worker
    node._closing = True  # it must not begin anew
    if node._heart is not None:
        node._heart.stop()
        await asyncio.to_thread(node._heart.join)
    if node.writer._task is not None:
        node.writer._task.cancel()
    with contextlib.suppress(Exception):
        await node.writer.abandon()
    node.engine.forget_all()
    await node.results.close()
    await node.bell.close()
    for task in node._tasks:
        task.cancel()
    await node.pool.close()
    await node._step_pool.close()
    await asyncio.to_thread(node._blocking_step_pool.close)
    node._threads.shutdown(wait=False, cancel_futures=True)
    return worker


# Parts of a flush ----------------------------------------------------------------------------------------------------


def start(
    *,
    key: str | None = None,
    claim: bool = False,
    payload: bytes = b"{}",
    run_id: UUID | None = None,
) -> Start:
    """A start of the workflow `w`."""
    digest = codec.digest(payload)
    return Start(run_id or ids.new_id(), "w", key, payload, digest, 0.0, claim)


def result(run_id: UUID, path: str = "step", seq: int = 1, payload: bytes = b"1") -> Entry:
    """The result of a step."""
    return Entry(run_id, path, Kind.RESULT, 0, seq, True, b"digest", payload, 0.0)


def end(run_id: UUID, state: str = "succeeded", *, final: bool = False) -> End:
    """The end of a run."""
    return End(run_id, state, b"1", final)


def rest(run_id: UUID, topics: str = "!cancel,go") -> Release:
    """Let go of a run until a message comes."""
    return Release(run_id, "waiting", None, None, None, topics)


def send(run_id: UUID | None, topic: str = "go", *, key: str | None = None) -> Send:
    """A message."""
    return Send(ids.new_id(), run_id, key, topic, b"1")


def batch(
    *parts: Start | Entry | End | Release | Send, claim: int = 0, looks: tuple[UUID, ...] = ()
) -> Batch:
    """A batch of these parts."""
    made = Batch()
    for part in parts:
        match part:
            case Start():
                made.starts.append(part)
            case Entry():
                made.entries.append(part)
            case End():
                made.ends.append(part)
            case Release():
                made.releases.append(part)
            case Send():
                made.sends.append(part)
    made.claim, made.workflows = claim, ["w"]
    made.looks.extend(looks)
    return made
