"""The group-commit writer: the one place from which a process writes its runs.

Everything pending travels in one call of `flush`, one transaction, one durable commit; the next flush starts when the
previous one has returned. So one commit carries a result together with the intent that follows it, and hundreds of
runs share an fsync.

A connection lost during COMMIT leaves the writer itself in doubt. It sends the same flush under the same number again:
the unique mark makes the database wait for the first one and return its stored reply. There is never more than one
flush in doubt, and nothing else of this process is written meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Protocol
from uuid import UUID

from troth.base import events, ids
from troth.base.errors import HistoryLostError
from troth.base.telemetry import SILENT, Telemetry
from troth.journal import store
from troth.journal.model import Batch, Reply
from troth.store import arrays
from troth.store.connect import AsyncConnection, connect_async
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure, failure_of

log = logging.getLogger("troth.journal")

FLUSH_DEADLINE_S = 30.0
_RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_WEEK_S = 7 * 86400.0
_PARTITION_TRIES = 5
_FARTHEST_PARTITION_S = 400 * 86400.0


class Listener(Protocol):
    """Whom the writer tells what became of a batch."""

    def moving(self) -> bool:
        """Does something that is in the open batch lead to more of it in a moment?"""

    def flushed(self, batch: Batch, reply: Reply) -> None:
        """The batch is durable."""

    def poisoned(self, run_id: UUID, error: BaseException) -> None:
        """What the batch says of this run can never be stored; the rest of it is durable."""

    def fenced(self, error: BaseException) -> None:
        """Nothing that was pending was stored or will be: this worker id is dead."""


class Writer:
    """Owns one connection and one worker id. All methods belong to the event loop that called `open`."""

    def __init__(
        self, url: str, schema: str, listener: Listener, telemetry: Telemetry = SILENT
    ) -> None:
        self._telemetry = telemetry
        self._url = url
        self._q = store.queries(schema)
        self._listener = listener
        self._wake = asyncio.Event()
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.worker = 0
        self._n = 0
        self.batch = Batch()
        self.flushes = 0  # durable commits so far
        self.in_doubt: tuple[int, int, Batch] | None = None  # worker, n and content of a last flush

    def open(self, worker: int) -> None:
        """Write as *worker* from now on. Whatever was pending under another id is gone."""
        self.worker, self._n = worker, 0
        self.batch = Batch()
        self._wake.clear()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="troth journal writer")

    @property
    def acknowledged(self) -> int:
        """The number of the last flush that the database has acknowledged. Safe from any thread."""
        return self._n

    def touch(self) -> Batch:
        """The open batch, which will be flushed as soon as the one under way has returned."""
        self._wake.set()
        return self.batch

    async def close(self) -> None:
        """Flush what is pending, then stop. A flush in doubt is given up after the flush deadline."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            done, _ = await asyncio.wait({self._task}, timeout=FLUSH_DEADLINE_S)
            if not done:
                self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._disconnect()

    async def abandon(self) -> None:
        """Stop at once and forget what is pending."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._disconnect()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            # One more round of the loop: a result has woken us, and what follows from it belongs into the same flush.
            await asyncio.sleep(0)
            if self._listener.moving():  # it came only now, while another reason has woken us
                await asyncio.sleep(0)
            batch, self.batch = self.batch, Batch()
            if batch:
                try:
                    await self._commit(batch)
                except _Dead as dead:
                    self._listener.fenced(dead.cause)
                    return
                except Exception as error:
                    log.exception("the journal writer of worker %d stopped", self.worker)
                    self._listener.fenced(error)
                    return
            batch.done = True
            for call in batch.after:
                call()
            if self._closing and not self.batch:
                return

    async def _commit(self, batch: Batch) -> None:
        """Make a batch durable; what the database refuses is found by halving."""
        try:
            reply = await self._flush(batch)
        except (DatabaseError, ValueError) as error:  # ValueError: text that has no encoding
            runs = batch.runs()
            if len(runs) > 1:
                for half in batch.split():
                    if half:
                        await self._commit(half)
                return
            if not runs:
                raise
            log.error("run %s cannot be stored: %s", runs[0], error)
            self._listener.poisoned(runs[0], error)
            rest = batch.only(frozenset(), rest=True)
            if rest:
                await self._commit(rest)
        else:
            self._listener.flushed(batch, reply)

    async def _flush(self, batch: Batch) -> Reply:
        """Send a batch until the database has said what became of it. Raises `DatabaseError` if it refuses."""
        n = self._n + 1
        tries = 0
        began = time.perf_counter()
        while True:
            try:
                connection = await self._connected()
                # From here on, also if we are told meanwhile that this worker id is dead, and stop waiting.
                self.in_doubt = (self.worker, n, batch)
                async with asyncio.timeout(FLUSH_DEADLINE_S):
                    reply = await store.flush(connection, self._q, self.worker, n, batch)
            except (DatabaseError, StoreError, OSError) as error:
                await self._clear_the_way(error, batch, tries)
                if tries == 0:
                    log.warning("flush %d got no answer and is sent again: %s", n, error)
                await asyncio.sleep(_RECONNECT_S[min(tries, len(_RECONNECT_S) - 1)])
                tries += 1
            else:
                self._n = n
                self.flushes += 1
                self.in_doubt = None
                if self._telemetry.on:
                    self._tell(batch, time.perf_counter() - began, tries + 1)
                return reply

    def _tell(self, batch: Batch, seconds: float, tries: int) -> None:
        rows, size = batch.measure()
        self._telemetry.emit(events.FlushDone(self.worker, self._n, rows, size, seconds, tries))

    async def _clear_the_way(self, error: Exception, batch: Batch, tries: int) -> None:
        """Do what lets the same flush succeed when it is sent again. Raises if nothing can."""
        match failure_of(error):
            case Failure.FENCED:
                raise _Dead(error) from error
            case Failure.HISTORY_LOST:
                raise _Dead(HistoryLostError(str(error))) from error
            case Failure.LOST:
                await self._disconnect()
            case Failure.TOO_LARGE if len(batch.runs()) > 1:
                raise error  # each half needs fewer locks
            case Failure.AGAIN | Failure.CONFLICT | Failure.TOO_LARGE:
                pass
            case Failure.NO_PARTITION if (
                tries < _PARTITION_TRIES and await self._ensured_partitions(batch)
            ):
                pass
            case _:
                raise error

    async def _ensured_partitions(self, batch: Batch) -> bool:
        """Make the partitions that the runs of a batch need; False if their ids are from no sensible time."""
        now = ids.time_of(ids.new_id()).timestamp()
        times = [ids.time_of(run).timestamp() for run in batch.ids()]
        if any(abs(time - now) > _FARTHEST_PARTITION_S for time in times):
            return False
        # A peer may have made them just now; and if it fails, the flush fails again, and so do we.
        with contextlib.suppress(DatabaseError, StoreError, OSError):
            await store.ensure_partitions(
                await self._connected(), self._q, min(times), max(times) + _WEEK_S
            )
        return True

    async def _connected(self) -> AsyncConnection:
        if self._connection is None or self._connection.closed:
            self._connection = await connect_async(self._url)
            self._connection.prepare_threshold = 0
            arrays.register(self._connection)
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DatabaseError, OSError):
                await connection.close()


class _Dead(Exception):
    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause
