"""One process's place in a cell: its connections, its identity, and, if it executes, its claim loop.

A node is a worker (it claims and executes runs) or a client (it starts runs and waits for them). Both write through the
same group commit under a worker id. When that id is declared dead, everything in memory is dropped and the node begins
anew under another one: nothing it held counts any more, and nothing it held is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Self
from uuid import UUID

from troth.base import events, settings
from troth.base.clock import Clock
from troth.base.resources import OpenResources
from troth.base.telemetry import SILENT, Telemetry
from troth.effect.traffic import Traffic
from troth.journal import store
from troth.journal.bell import DONE, MAIL, READY, Bell
from troth.journal.membership import Beat, Heart
from troth.journal.model import Batch, EndedRun, Reply, Start
from troth.journal.starts import require_same_start
from troth.journal.writer import Writer
from troth.store.connect import AsyncPool, connect_async, pool_async, pool_blocking
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.migrate import require_schema
from troth.store.parts import Relay
from troth.worker.claims import Claims
from troth.worker.housekeeping import Housekeeping
from troth.worker.reaper import Reaper
from troth.worker.relays import Relays
from troth.worker.requests import Requests
from troth.worker.results import Results
from troth.workflow.definition import Workflow
from troth.workflow.engine import Engine
from troth.workflow.perform import StepPerformer
from troth.workflow.telling import brief
from troth.workflow.transact import Transactor

log = logging.getLogger("troth.worker")

CLIENT_LEASE_S = 60.0
_BEATS_PER_LEASE = 5
_OWN_CONNECTIONS = 4  # for claims, results, hints and takeovers: steps cannot starve them
_RETRY_S = 0.2
_BUSY_AGAIN_S = 0.05
STRAY_S = 10.0  # a run that stood for so long in a queue that this program does not have is moved into one that it has


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """How a node behaves. Times in seconds. What is left out is what the environment says, or the default.

    What each means is in docs/reference/settings.md. Raises `UsageError` if the environment says what cannot be.
    """

    concurrency: int = field(default_factory=lambda: settings.read().concurrency)
    connections: int = field(default_factory=lambda: settings.read().connections)
    threads: int = field(default_factory=lambda: settings.read().threads)
    lease_s: float = field(default_factory=lambda: settings.read().lease_s)
    block_limit_s: float = field(default_factory=lambda: settings.read().block_limit_s)
    drain_s: float = field(default_factory=lambda: settings.read().drain_s)
    journal_warning: int = field(default_factory=lambda: settings.read().journal_warning)
    journal_limit: int = field(default_factory=lambda: settings.read().journal_limit)


class Node:
    """A worker or a client of one cell. Open it in the event loop that will use it."""

    def __init__(
        self,
        url: str,
        schema: str,
        cell: int,
        workflows: Mapping[str, Workflow[Any, Any]],
        options: NodeOptions,
        *,
        executes: bool,
        relays: Sequence[Relay] = (),
        resources: OpenResources | None = None,
        telemetry: Telemetry = SILENT,
    ) -> None:
        self.schema, self.options, self.telemetry = schema, options, telemetry
        self.executes = executes
        self.clock = Clock()
        self.q = store.queries(schema)
        self.pool = pool_async(url, 0, _OWN_CONNECTIONS)
        self._url = url
        self._step_pool = pool_async(url, 0, options.connections)
        self._blocking_step_pool = pool_blocking(url, 0, options.connections)
        self._threads = ThreadPoolExecutor(options.threads, thread_name_prefix="troth step")
        self._heart: Heart | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._local: set[UUID] = set()  # started and executed here: others need not be told
        self._workflows = workflows
        self._strays_due = 0.0
        self._closing, self._loop = False, asyncio.get_running_loop()

        self.writer = Writer(url, schema, self, telemetry)
        self.engine = Engine(
            self.writer,
            self.clock,
            self,
            journal_warning=options.journal_warning,
            journal_limit=options.journal_limit,
            telemetry=telemetry,
        )
        self._transactor = Transactor(
            schema, self._step_pool, self._blocking_step_pool, self._threads, self.clock
        )
        self.traffic = Traffic(url, schema, self.clock)
        self.engine.performer = StepPerformer(
            self.engine, self._transactor, self.traffic, self._threads, resources
        )
        self.claims = Claims(
            self.writer,
            self.engine,
            self.clock,
            self.pool,
            self.q,
            workflows,
            options.concurrency,
            self._spawn,
            telemetry,
        )
        self.requests = Requests(
            self.writer,
            self.clock,
            self.pool,
            self.q,
            cell,
            self.claims,
            started=self._started,
            telemetry=telemetry,
        )
        self.results = Results(schema, self.pool, self.engine.runs.__contains__)
        self.bell = Bell(url, schema, self.pool, heard=self._heard, missed=self._missed)
        self._reaper = Reaper(
            self.pool, self.q, self.writer, released=self._runs_released, telemetry=telemetry
        )
        self._housekeeping = Housekeeping(
            self.pool, self.q, self.clock, self.writer, self.engine.tell.minutes
        )
        self._relays = Relays(url, relays if executes else (), telemetry)

    # Coming and going -------------------------------------------------------------------------------------------------

    async def open(self) -> Self:
        """Connect and join. Raises `StoreError` if the database or its schema is not usable."""
        connection = await connect_async(self._url)
        try:
            await require_schema(connection, self.schema)
        finally:
            await connection.close()
        await self.pool.open()
        await self._step_pool.open()
        self._blocking_step_pool.open(wait=False)
        await self._join()
        if self.executes:
            await self._housekeeping.keep()
            self.claims.open = True
            self.bell.open(READY, MAIL, DONE, *self._relays.channels)
            await self._relays.open()
        else:
            self.bell.open(DONE)
        return self

    @property
    def request_pool(self) -> AsyncPool:
        """Connections for requests: those that steps of runs use in a worker, and nothing else in a client."""
        return self._step_pool

    async def _join(self) -> None:
        lease_s = self.options.lease_s if self.executes else CLIENT_LEASE_S
        name = f"{socket.gethostname()}:{os.getpid()}"
        async with self.pool.connection() as connection:
            worker = await store.register(
                connection,
                self.q,
                name,
                executes=self.executes,
                lease_s=lease_s,
                workflows=sorted(self._workflows) if self.executes else (),
            )
        self._transactor.worker = worker
        self.writer.open(worker)
        self._heart = Heart(
            self._url,
            self.schema,
            worker=worker,
            interval_s=lease_s / _BEATS_PER_LEASE,
            block_limit_s=self.options.block_limit_s,
            acknowledged=lambda: self.writer.acknowledged,
            clock=self.clock,
            on_beat=self._on_beat,
            on_fenced=self.fenced,
            telemetry=self.telemetry,
        )
        self._heart.start()
        log.info("%s %d joined %s", "worker" if self.executes else "client", worker, self.schema)
        self.telemetry.emit(events.WorkerBegan(worker, name, self.executes))

    def fenced(self, error: BaseException) -> None:
        """This worker id is dead: forget everything and begin anew (called by the writer and the heart)."""
        if self._closing or self._heart is None:
            return
        log.warning("worker %d was declared dead (%s); beginning anew", self.writer.worker, error)
        self._heart.stop()
        self._heart = None
        runs = len(self.engine.runs)
        self.telemetry.emit(events.WorkerFenced(self.writer.worker, runs, brief(error)))
        self.engine.forget_all()
        self._local.clear()
        self._spawn(self._rejoin())

    async def _rejoin(self) -> None:
        await self.writer.abandon()
        while self._heart is None:
            try:
                await self._join()
            except (DatabaseError, StoreError, OSError) as error:
                log.warning("cannot join again yet: %s", error)
                await asyncio.sleep(_RETRY_S)
        pending = self.requests.pending()
        in_doubt, self.writer.in_doubt = self.writer.in_doubt, None
        await self.requests.resubmit(pending, in_doubt)
        self.claims.ask()

    async def close(self) -> None:
        """Leave: running steps end, the rest is handed over at once, what is pending is made durable."""
        self._closing = True
        self.claims.close()
        await self._relays.close()
        if self.executes:
            await self._drain()
        await self.writer.close()
        if self._heart is not None:
            self._heart.stop()
        with contextlib.suppress(DatabaseError, StoreError, OSError):
            await self._housekeeping.close()
        if not self.engine.runs:
            await self._resign()
        self.engine.forget_all()
        self.requests.close()
        await self.traffic.close()
        await self.results.close()
        await self.bell.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.pool.close()
        await self._step_pool.close()
        await self._loop.run_in_executor(None, self._blocking_step_pool.close)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _drain(self) -> None:
        began = time.monotonic()
        self.engine.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.drain_s):
                while self.engine.runs or self.claims.loading:
                    await self._progress()
        if self.engine.runs:
            log.warning("%d runs are left to peers in mid-step", len(self.engine.runs))
        took_s, left = time.monotonic() - began, len(self.engine.runs)
        self.telemetry.emit(events.WorkerDrained(self.writer.worker, took_s, left))

    async def _progress(self) -> None:
        """Wait until a flush has returned, or a moment."""
        done = asyncio.Event()
        self.writer.batch.after.append(done.set)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await done.wait()

    async def _resign(self) -> None:
        with contextlib.suppress(DatabaseError, StoreError, OSError):
            async with self.pool.connection() as connection:
                await store.resign(connection, self.q, self.writer.worker)
                if self.executes:
                    await connection.execute(self.q.ring, (f"{self.schema}.{READY}", ""))

    # What the journal and the engine say ------------------------------------------------------------------------------

    def moving(self) -> bool:
        """Will runs that have something new say more in a moment? (asked by the writer)"""
        return self.engine.moving

    def flushed(self, batch: Batch, reply: Reply) -> None:
        """A batch is durable (called by the writer)."""
        self.requests.flushed(batch, reply)
        self.engine.flushed(batch, reply)
        if batch.claim:
            self.claims.flushed(reply)
        if reply.busy_undoing:
            self._loop.call_later(
                _BUSY_AGAIN_S, self._undoing, self.writer.worker, reply.busy_undoing
            )

    def _undoing(self, worker: int, runs: frozenset[UUID]) -> None:
        """Say again that these runs undo: their rows were locked."""
        still = [run_id for run_id in runs if run_id in self.engine.runs]
        if still and self.writer.worker == worker:
            self.writer.touch().undoing.extend(still)

    def poisoned(self, run_id: UUID, error: BaseException) -> None:
        """The database refuses what was to be stored of a run or a message (called by the writer)."""
        self.requests.poisoned(run_id, error)
        self.engine.poisoned(run_id, error)

    def _started(self, start: Start, workflow: Workflow[Any, Any]) -> None:
        if start.claim:
            self._local.add(start.id)
            self.engine.activate_started(start, workflow)
        else:
            self.released(start.starts_at)

    def reserve(self, workflow: Workflow[Any, Any]) -> bool:
        """Keep room for a run that another one starts (called by the engine)."""
        return self.claims.reserve(workflow)

    def started(self, start: Start, workflow: Workflow[Any, Any], *, fresh: bool) -> None:
        """A run that another one starts is durable, or will not be (called by the engine)."""
        self.claims.reserved -= start.claim
        if fresh:
            self._started(start, workflow)

    async def require_same(self, start: Start, run_id: UUID) -> None:
        """Raise `KeyConflictError` if that run was another request (called by the engine)."""
        found = None
        while True:
            try:
                async with self.pool.connection() as connection:
                    found = await store.run_input(connection, self.q, run_id)
                break
            except (DatabaseError, StoreError, OSError) as error:
                log.info("what a key has started cannot be read yet: %s", error)
                await asyncio.sleep(_RETRY_S)
        require_same_start(start.key or "", run_id, found, start.workflow, start.input)

    def ended(self, runs: list[EndedRun]) -> None:
        """Runs have ended, durably (called by the engine)."""
        for run in runs:
            self.results.ended(run)
            if run.id in self._local:
                self._local.discard(run.id)
            else:
                self.bell.ring(DONE, run.id)
        self._slots_freed({run.workflow for run in runs})

    def released(self, wake_at: float | None) -> None:
        """A run may be claimed at that time, by anybody (called by the engine)."""
        if wake_at is not None:
            if wake_at <= self.clock.now() + 1:
                self.bell.ring(READY)
            self.claims.left_behind(wake_at)
        self._slots_freed(self._workflows)

    def _slots_freed(self, workflows: Collection[str]) -> None:
        """There is room in memory, and perhaps in the queues of these workflows."""
        self.claims.slots_freed()
        queues = {
            known.queue.name
            for name in workflows
            if (known := self._workflows.get(name)) and known.queue and known.queue.limited
        }
        if queues and not self.claims.queue_slots_freed(queues):
            self.bell.ring(READY)

    # Heartbeats and hints ---------------------------------------------------------------------------------------------

    def _on_beat(self, beat: Beat) -> None:
        for peer, stopped_at in beat.dead:
            self._spawn(self._reaper.take_over(peer, stopped_at))
        for peer in beat.gone:
            self._spawn(self._reaper.release(peer))
        if beat.mail:
            self.engine.look(beat.mail)
        if beat.due is not None:
            self.claims.due_at(beat.due)
        if beat.queues:
            self._look_at(beat.queues)
        if self.executes and self._housekeeping.is_due():
            self._spawn(self._housekeeping.keep())

    def _look_at(self, queues: list[str]) -> None:
        """Runs stand in line in these queues. Hints hurry, but it is this look that leaves none behind."""
        strays = [queue for queue in queues if queue not in self.claims.queues]
        if len(strays) < len(queues):
            self.claims.ask()
        if strays and time.monotonic() > self._strays_due:
            self._strays_due = time.monotonic() + STRAY_S
            self._spawn(self._adopt(strays))

    async def _adopt(self, queues: list[str]) -> None:
        """Nobody may serve these queues any more: move the runs of our workflows to where these are served now."""
        now = {w.name: w.queue.name if w.queue else None for w in self._workflows.values()}
        for queue in queues:
            async with self.pool.connection() as connection:
                moved = await store.adopt(connection, self.q, queue, STRAY_S, now)
            if moved:
                log.warning(
                    "%d runs were moved out of queue %s, which no workflow of this program has",
                    moved,
                    queue,
                )
                self._runs_released()

    def _heard(self, channel: str, payload: str) -> None:
        if channel == READY:
            self.claims.ask()
        elif channel == MAIL:
            self.engine.look([UUID(payload)])
        elif channel == DONE:
            self.results.hint(payload)
        else:
            self._relays.heard(channel)

    def _missed(self) -> None:
        self.claims.ask()
        self.results.missed()
        self._relays.missed()

    def _runs_released(self) -> None:
        self.bell.ring(READY)
        self.claims.ask()

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("in the background: %s: %s", type(error).__name__, error)
