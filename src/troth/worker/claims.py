"""The claim loop: takes runs that nobody is working on, as many as there is room for, when there is reason to.

There is no polling. A claim travels with the next flush when somebody rings, when a run is due, when a heartbeat says
that something is due, and when the last claim left more behind and there is room again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from troth.base.clock import Clock
from troth.journal import store
from troth.journal.model import Batch, ClaimedRun, Reply
from troth.journal.writer import Writer
from troth.store.connect import AsyncPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.queries import Queries
from troth.workflow.definition import Workflow
from troth.workflow.engine import Engine

log = logging.getLogger("troth.worker")

_RETRY_S = 0.2
_CLAIM_MOST = 250  # with one flush, so that peers get their share
_WORTH_CLAIMING = 50  # free slots that are worth a claim while there are more runs than room


class Claims:
    """The claim loop of one worker."""

    def __init__(
        self,
        writer: Writer,
        engine: Engine,
        clock: Clock,
        pool: AsyncPool,
        q: Queries,
        workflows: Mapping[str, Workflow[Any, Any]],
        concurrency: int,
        spawn: Callable[[Any], None],
    ) -> None:
        """*concurrency*: runs in memory at once. *spawn* runs a coroutine for the node."""
        self._writer = writer
        self._engine = engine
        self._clock = clock
        self._pool = pool
        self._q = q
        self._workflows = workflows
        self._concurrency = concurrency
        self._spawn = spawn
        self._more = False  # the last claim got all that it asked for
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.open = False
        self.loading = 0  # runs that are claimed and not in memory yet
        self.reserved = 0  # runs that are being started, to be executed here

    @property
    def free(self) -> int:
        """Room for so many more runs."""
        return self._concurrency - len(self._engine.runs) - self.loading - self.reserved

    def reserve(self, workflow: str) -> bool:
        """Keep room for a run of this workflow, which is about to be started; False if there is none."""
        may = self.open and workflow in self._workflows and self.free > 0
        self.reserved += may
        return may

    def ask(self) -> None:
        """Claim with the next flush, as many as there is room for."""
        if not self.open:
            return
        if self.free <= 0:
            self._more = True
        elif not self._writer.batch.claim:
            batch = self._writer.touch()
            batch.claim = min(self.free, _CLAIM_MOST)
            batch.workflows = list(self._workflows)

    def left_behind(self, due: float) -> None:
        """A run was started or let go of, for whoever claims it first at that time."""
        if self.open:
            self.due_at(due)

    def slots_freed(self) -> None:
        """There is room; ask if the last claim left something behind."""
        if self._more and self.free >= min(self._concurrency, _WORTH_CLAIMING):
            self.ask()

    def due_at(self, due: float) -> None:
        """A run may be claimed at this time, database time."""
        if due <= self._clock.now():
            self.ask()
        elif self._due is None or due < self._due:
            self._due = due
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(due - self._clock.now(), self._is_due)

    def _is_due(self) -> None:
        self._due, self._timer = None, None
        self.ask()

    def flushed(self, batch: Batch, reply: Reply) -> None:
        """A batch with a claim is durable."""
        self._more = len(reply.claimed) == batch.claim
        if reply.claimed:
            self.loading += len(reply.claimed)
            self._spawn(self._load(reply.claimed, self._writer.worker))
            if self._more:
                self.ask()

    async def _load(self, run_ids: list[UUID], worker: int) -> None:
        """Read the claimed runs with their journals, and take them up."""
        runs: list[ClaimedRun] = []
        try:
            while not runs and self._writer.worker == worker:
                try:
                    async with self._pool.connection() as connection:
                        runs = await store.claimed_runs(connection, self._q, worker, run_ids)
                except (DatabaseError, StoreError, OSError) as error:
                    log.info("claimed runs cannot be read yet: %s", error)
                    await asyncio.sleep(_RETRY_S)
        finally:
            self.loading -= len(run_ids)
        if self._writer.worker == worker:
            for run in runs:
                self._engine.activate(run, self._workflows[run.workflow])

    def close(self) -> None:
        """Claim no more."""
        self.open = False
        if self._timer is not None:
            self._timer.cancel()
