"""A worker in a schema of its own, whose time passes when a test says so.

`advance` goes from one due moment to the next: the clock jumps there, what is due runs until nothing moves, and so on. So
thirty sleeps of a day take thirty jumps and happen at the times at which they would; and every statement and every timer
sees the same time.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, TypeVarTuple
from uuid import UUID

from troth.app import Run, Troth
from troth.base.errors import TrothError
from troth.store.connect import Database, connect_blocking
from troth.store.migrate import migrate
from troth.store.queries import load
from troth.store.tx import Tx
from troth.testing.clock import DatabaseTime, with_time
from troth.worker.node import Node, NodeOptions
from troth.workflow.calls import CallState
from troth.workflow.run import ActiveRun

R = TypeVar("R")
Ts = TypeVarTuple("Ts")

_LOOK_S = 0.002
_TRIES = 25  # claims of a run that is due, before it is believed that this program cannot claim it
_JUST_AFTER_S = 0.001


class NotSettledError(TrothError):
    """Something is at work for longer than the patience of a test."""


class Worker:
    """`async with testing.Worker(troth) as world:` a worker for *troth* in a new schema, with a virtual clock.

    *database_url*: as for `Troth`, which is where it comes from if it is not given. *patience*: how many seconds of real
    time steps may take until nothing moves any more. The schema is dropped at the end.
    """

    def __init__(
        self,
        troth: Troth,
        *,
        database_url: str | None = None,
        options: NodeOptions | None = None,
        patience: float = 30.0,
    ) -> None:
        self.troth = troth
        self.schema = f"troth_test_{uuid.uuid4().hex[:12]}"
        self.url = ""
        self._given = database_url
        self._options = options or NodeOptions(connections=4, threads=4)
        self._patience_s = patience
        self._q = load("troth.testing", self.schema, "runs.sql")
        self._time: DatabaseTime | None = None
        self._open = self._opened()
        self._code = AsyncExitStack()  # the worker of the program that is deployed

    async def __aenter__(self) -> Self:
        await self._open.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return await self._open.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        database = await asyncio.to_thread(
            Database.find, self._given or self.troth.url, self.troth.directory
        )
        try:
            time_schema = f"{self.schema}_time"
            self._time = await asyncio.to_thread(DatabaseTime, database.url, time_schema)
            try:
                self.url = with_time(database.url, time_schema)
                await asyncio.to_thread(migrate, self.url, self.schema)
                async with self._code:
                    await self._begin()
                    yield
            finally:
                await asyncio.to_thread(self._drop, database.url)
                await asyncio.to_thread(self._time.remove)
        finally:
            await asyncio.to_thread(database.close)

    async def _begin(self) -> None:
        self._code.enter_context(_elsewhere(self.troth, self.url, self.schema))
        await self._code.enter_async_context(self.troth.worker(self._options))

    def _drop(self, url: str) -> None:
        session = connect_blocking(url)
        session.execute(self._q.drop)
        session.close()

    # Runs -------------------------------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: Callable[[*Ts], Coroutine[Any, Any, R]],
        *args: *Ts,
        key: str | None = None,
        at: datetime | None = None,
    ) -> Run[R]:
        """As `troth.start`."""
        return await self.troth.start(workflow, *args, key=key, at=at)

    async def run(
        self, workflow: Callable[[*Ts], Coroutine[Any, Any, R]], *args: *Ts, within: timedelta
    ) -> R:
        """Start a run, let *within* pass, and give its result."""
        started = await self.start(workflow, *args)
        await self.advance(within)
        return await started.result(timeout=0.5)

    async def send(self, run: Run[Any] | UUID | str, topic: str, value: Any = None) -> None:
        """As `troth.send`, and let what comes of it happen."""
        await self.troth.send(run, topic, value)
        await self.settle()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """An open transaction in the world's time, for `call_step(..., tx=tx)` and for looking at what was written."""
        async with self._node.request_pool.connection() as connection, connection.transaction():
            yield connection

    # Code -------------------------------------------------------------------------------------------------------------

    async def deploy(self, troth: Troth) -> None:
        """Other code from now on: the worker ends, and one for *troth* goes on in the same schema and time.

        Handles of runs that the code before has started are of no use any more: `world.troth.run(run.id)` gives new ones.
        """
        assert self._time is not None
        await self._code.aclose()
        self.troth = troth
        now_s = await asyncio.to_thread(self._time.now)
        await self._begin()
        self._node.clock.jump(
            now_s
        )  # before it does anything: by itself it reads the time only at its first heartbeat
        await self._jump(now_s)
        await self.settle()

    # Time -------------------------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        """The time of this world, in UTC."""
        return datetime.fromtimestamp(self._node.clock.now(), UTC)

    async def advance(self, duration: timedelta | float) -> None:
        """Let time pass: all that becomes due meanwhile happens, each at its time. Raises `NotSettledError`."""
        seconds = duration.total_seconds() if isinstance(duration, timedelta) else float(duration)
        target_s = self._node.clock.now() + seconds
        await self.settle()
        while True:
            due_s = await self._next_due()
            if due_s is None or due_s >= target_s:
                break
            await self._jump(max(due_s, self._node.clock.now()) + _JUST_AFTER_S)
            await self.settle()
        await self._jump(target_s)
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing moves without more time or another message. Raises `NotSettledError`."""
        node = self._node
        quiet = tries = 0
        try:
            async with asyncio.timeout(self._patience_s):
                while quiet < 2:
                    node.engine.look(list(node.engine.runs))
                    await self._flushed()
                    if self._moving():
                        quiet = tries = 0
                        await asyncio.sleep(_LOOK_S)
                        continue
                    due_s = await self._due_in_database()
                    if due_s is not None and due_s <= node.clock.now() and tries < _TRIES:
                        tries, quiet = tries + 1, 0
                        node.claims.ask()
                        await asyncio.sleep(_LOOK_S)
                    else:
                        quiet += 1
        except TimeoutError:
            runs = [run for run in node.engine.runs.values() if _moves(run)]
            at_work = ", ".join(f"{path} of run {run.id}" for run in runs for path in run.calls)
            msg = f"after {self._patience_s:g} s something still moves: {at_work or 'claims'}"
            raise NotSettledError(msg) from None

    async def _jump(self, to_s: float) -> None:
        assert self._time is not None
        node = self._node
        node.clock.jump(await asyncio.to_thread(self._time.move, to_s))
        node.traffic.forget_time()
        for run in list(node.engine.runs.values()):
            for call in list(run.calls.values()):
                due = call.due is not None and call.due <= node.clock.now()
                if due and call.resume is not None and node.engine.interrupt(run, call):
                    call.resume()
        node.claims.ask()

    async def _next_due(self) -> float | None:
        in_memory = [
            call.due
            for run in self._node.engine.runs.values()
            for call in run.calls.values()
            if call.state is CallState.WAITING and call.due is not None
        ]
        in_database = await self._due_in_database()
        now_s = self._node.clock.now()
        if in_database is not None and in_database > now_s:  # else nobody here can claim it
            in_memory.append(in_database)
        return min(in_memory, default=None)

    async def _due_in_database(self) -> float | None:
        async with self._node.pool.connection() as connection:
            row = await (await connection.execute(self._q.next_due)).fetchone()
        return None if row is None or row[0] is None else float(row[0])

    async def _flushed(self) -> None:
        """Everything that was pending is durable."""
        done = asyncio.Event()
        self._node.writer.touch().after.append(done.set)
        await done.wait()

    def _moving(self) -> bool:
        node = self._node
        return (
            node.engine.moving
            or node.claims.loading > 0
            or node.claims.reserved > 0
            or any(_moves(run) for run in node.engine.runs.values())
        )

    @property
    def _node(self) -> Node:
        return self.troth.node


def _moves(run: ActiveRun) -> bool:
    unwritten = run.last_batch is not None and not run.last_batch.done
    return run.dirty or run.releasing or unwritten or run.parked is not None or not run.resting


@contextmanager
def _elsewhere(troth: Troth, url: str, schema: str) -> Iterator[None]:
    """The program works in another place meanwhile."""
    before = troth.url, troth.schema
    troth.url, troth.schema = url, schema
    for part in troth.parts:
        part.bind(schema)
    try:
        yield
    finally:
        troth.url, troth.schema = before
        for part in troth.parts:
            part.bind(troth.schema)
