"""Waiting for runs to end: one query for everybody who waits in this process, hurried by a hint."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from troth.base.errors import RunNotFoundError
from troth.journal import store
from troth.journal.model import EndedRun
from troth.store.connect import AsyncPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.worker.watches import Watches

log = logging.getLogger("troth.worker")

SWEEP_S = 2.0  # how often to look when no hint comes


class Results:
    """Who waits for which run."""

    def __init__(self, schema: str, pool: AsyncPool, is_local: Callable[[UUID], bool]) -> None:
        """*is_local(id)*: is the run in this process's memory, so that its end will be told and need not be asked?"""
        self._q = store.queries(schema)
        self._pool = pool
        self._is_local = is_local
        self._waiters: dict[UUID, list[asyncio.Future[EndedRun]]] = {}
        self._since: dict[
            UUID, float
        ] = {}  # of those not known to exist: since when they are waited for
        self._hint = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.watches = Watches(self._q, pool)

    async def wait(self, run_id: UUID) -> EndedRun:
        """How the run ended; if it went on as another one, how that ended. Waits without limit.

        Raises `RunNotFoundError` if there is no such run, after `SWEEP_S`: its start may be about to commit.
        """
        ended = await self._wait(run_id)
        while ended.continued is not None:
            ended = await self._wait(ended.continued)
        return ended

    async def _wait(self, run_id: UUID) -> EndedRun:
        future: asyncio.Future[EndedRun] = asyncio.get_running_loop().create_future()
        if run_id not in self._waiters:
            self._since[run_id] = time.monotonic()
        self._waiters.setdefault(run_id, []).append(future)
        if not self._is_local(run_id):
            self._hint.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._sweep(), name="troth results")
        try:
            return await future
        finally:
            waiting = self._waiters.get(run_id, [])
            if future in waiting:
                waiting.remove(future)
                if not waiting:
                    self._forget(run_id)

    async def where(self, run_id: UUID) -> str:
        """Where the run stands, in words for somebody who waited in vain."""
        try:
            async with self._pool.connection() as connection:
                found = await store.run_state(connection, self._q, run_id)
        except (DatabaseError, StoreError, OSError) as error:
            return f"the database cannot be asked where it stands ({error})"
        if found is None:
            return "it has just ended, or there is no such run"
        state, reason = found
        if reason is None:
            return f"it is {state}"
        return f"it needs attention ({reason}); `troth run show {run_id}` says why"

    def ended(self, run: EndedRun) -> None:
        """This run has ended, durably."""
        self.watches.hint({run.id})
        for future in self._forget(run.id):
            if not future.done():
                future.set_result(run)

    def hint(self, payload: str) -> None:
        """Some runs have ended elsewhere: their ids, or '*'."""
        if not (self._waiters or self.watches):
            return
        ended = None if payload == "*" else {UUID(text) for text in payload.split(",") if text}
        self.watches.hint(ended)
        if self._waiters and (ended is None or not ended.isdisjoint(self._waiters)):
            self._hint.set()

    def missed(self) -> None:
        """Hints may have been lost."""
        self.watches.hint(None)
        if self._waiters:
            self._hint.set()

    async def close(self) -> None:
        """Stop looking; whoever still waits is cancelled."""
        await self.watches.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiting in self._waiters.values():
            for future in waiting:
                future.cancel()

    async def _sweep(self) -> None:
        while self._waiters:
            try:
                async with asyncio.timeout(SWEEP_S):
                    await self._hint.wait()
            except TimeoutError:
                pass
            self._hint.clear()
            asked = [run_id for run_id in self._waiters if not self._is_local(run_id)]
            if not asked:
                continue
            try:
                async with self._pool.connection() as connection:
                    ended = await store.ended_runs(connection, self._q, asked)
                    doubtful = self._doubtful()
                    known = (
                        await store.known_runs(connection, self._q, doubtful) if doubtful else set()
                    )
            except (DatabaseError, StoreError, OSError) as error:
                log.info("results cannot be read: %s", error)
                continue
            for run in ended:
                self.ended(run)
            for run_id in doubtful:
                if run_id in known:
                    self._since.pop(run_id, None)
                else:
                    self._absent(run_id)

    def _doubtful(self) -> Sequence[UUID]:
        """Who is waited for so long that it is asked whether they exist: once, if they do."""
        early = time.monotonic() - SWEEP_S
        return [
            run_id
            for run_id, since in self._since.items()
            if since < early and not self._is_local(run_id)
        ]

    def _absent(self, run_id: UUID) -> None:
        for future in self._forget(run_id):
            if not future.done():
                msg = f"there is no run {run_id}: it never was, its start was rolled back, or it is no longer kept"
                future.set_exception(RunNotFoundError(msg))

    def _forget(self, run_id: UUID) -> Sequence[asyncio.Future[EndedRun]]:
        self._since.pop(run_id, None)
        return self._waiters.pop(run_id, ())
