"""The claim loop: takes runs that nobody is working on, as many as there is room for, when there is reason to.

There is no polling. A claim travels with the next flush when somebody rings, when a run is due, when a heartbeat says
that something is due or stands in line, and when the last claim left something behind and there is room again: in this
process, or, if a queue's limit was met, in that queue.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from uuid import UUID

from troth.base import events
from troth.base.clock import Clock
from troth.base.telemetry import SILENT, Telemetry
from troth.journal import store
from troth.journal.model import ClaimedRun, Left, Line, Reply
from troth.journal.writer import Writer
from troth.store.connect import AsyncPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.queries import Queries
from troth.workflow.definition import Workflow
from troth.workflow.engine import Engine
from troth.workflow.queue import Queue

log = logging.getLogger("troth.worker")

_RETRY_S = 0.2
_BUSY_AGAIN_S = 0.02  # another worker counts what is in hand of a queue: ask again
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
        telemetry: Telemetry = SILENT,
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
        self._telemetry = telemetry
        self._turn = 0  # whose turn it is to be the first to get what there is room for
        self._after: dict[str, str] = {}  # the partition of each queue that was served last
        self._limited: set[str] = set()  # queues that had to leave somebody in line
        self._asking_again: asyncio.TimerHandle | None = None
        self._more = False  # the last claim got all that it asked for
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.open = False
        self.loading = 0  # runs that are claimed and not in memory yet
        self.reserved = 0  # runs that are being started, to be executed here
        self._life = 0  # which of this process's identities claims: what an earlier one claimed is not its own

    @property
    def free(self) -> int:
        """Room for so many more runs."""
        return self._concurrency - len(self._engine.runs) - self.loading - self.reserved

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues of the workflows that may be claimed, by name."""
        return {w.queue.name: w.queue for w in self._workflows.values() if w.queue is not None}

    def reserve(self, workflow: Workflow[Any, Any]) -> bool:
        """Keep room for a run of this workflow, which is about to be started; False if there is none, or if it must queue."""
        queued = workflow.queue is not None and workflow.queue.limited
        may = self.open and not queued and workflow.name in self._workflows and self.free > 0
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
            batch.lines = self._lines()

    def _lines(self) -> list[Line]:
        """The lines to claim from, another one first each time; none if no workflow has a queue."""
        queues = self.queues
        if not queues:
            return []
        lines = [Line(None, None, None, "")]
        lines += [
            Line(name, queue.concurrency, queue.per_partition, self._after.get(name, ""))
            for name, queue in queues.items()
        ]
        self._turn = (self._turn + 1) % len(lines)
        return lines[self._turn :] + lines[: self._turn]

    def left_behind(self, due: float) -> None:
        """A run was started or let go of, for whoever claims it first at that time."""
        if self.open:
            self.due_at(due)

    def slots_freed(self) -> None:
        """There is room; ask if the last claim left something behind."""
        if self._more and self.free >= min(self._concurrency, _WORTH_CLAIMING):
            self.ask()

    def queue_slots_freed(self, queues: Iterable[str]) -> bool:
        """Runs of these limited queues were let go of: one slot is worth a claim. False if only others can use it."""
        if not self.open or self.free <= 0:
            return False
        if self._more or not self._limited.isdisjoint(queues):
            self.ask()
        return True

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

    def flushed(self, reply: Reply) -> None:
        """A batch with a claim is durable."""
        self._more = reply.more
        if reply.claimed:
            self.loading += len(reply.claimed)
            self._spawn(self._load(reply.claimed, self._writer.worker, self._life))
        if self._telemetry.on:
            worker, claimed = self._writer.worker, len(reply.claimed)
            self._telemetry.emit(events.RunsAsked(worker, claimed, reply.more, self.free))
        for queue, (after, left) in reply.lines.items():
            self._after[queue] = after
            if left is Left.LIMIT:
                self._limited.add(queue)
            else:
                self._limited.discard(queue)
            if left is Left.BUSY:
                self._ask_again()
        if reply.lines and self._writer.batch.claim:
            # Asked meanwhile: it would begin after whom it was then.
            self._writer.batch.lines = self._lines()
        if self._more:
            self.ask()

    def _ask_again(self) -> None:
        if self._asking_again is None:
            wait_s = _BUSY_AGAIN_S * random.uniform(0.5, 1.5)  # noqa: S311  (not all at once)
            self._asking_again = self._loop.call_later(wait_s, self._asked_again)

    def _asked_again(self) -> None:
        self._asking_again = None
        self.ask()

    def forget(self) -> None:
        """This worker was declared dead: what it has claimed and not taken up yet is for others."""
        self._life += 1

    async def _load(self, run_ids: list[UUID], worker: int, life: int) -> None:
        """Read the claimed runs with their journals, and take them up."""
        runs: list[ClaimedRun] = []
        try:
            while not runs and self._life == life:
                try:
                    async with self._pool.connection() as connection:
                        runs = await store.claimed_runs(connection, self._q, worker, run_ids)
                except (DatabaseError, StoreError, OSError) as error:
                    log.info("claimed runs cannot be read yet: %s", error)
                if not runs:  # or they are another's by now, of which this worker has not heard yet
                    await asyncio.sleep(_RETRY_S)
        finally:
            self.loading -= len(run_ids)
        if self._life == life:
            for run in runs:
                self._engine.activate(run, self._workflows[run.workflow])

    def close(self) -> None:
        """Claim no more."""
        self.open = False
        for timer in (self._timer, self._asking_again):
            if timer is not None:
                timer.cancel()
