"""Watching runs: one query for everybody who watches in this process, about once a second, hurried by the hint of an end.

Who is slow to look misses what was in between, and never the latest: nothing is gathered for anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from uuid import UUID

from troth.base.errors import RunNotFoundError
from troth.journal import store
from troth.journal.model import ENDED, Standing
from troth.store.connect import AsyncPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.queries import Queries

log = logging.getLogger("troth.worker")

LOOK_S = 1.0  # how often to look when no hint comes


class Watches:
    """Who watches which run."""

    def __init__(self, q: Queries, pool: AsyncPool) -> None:
        self._q = q
        self._pool = pool
        self._watchers: dict[UUID, set[_Watcher]] = {}
        self._hint = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.looks = 0  # queries so far

    def __bool__(self) -> bool:
        return bool(self._watchers)

    async def now(self, run_id: UUID) -> Standing:
        """Where a run stands. Raises `RunNotFoundError`."""
        async with self._pool.connection() as connection:
            found = await store.watched_runs(connection, self._q, [run_id])
            while found and found[0].continued is not None:
                found = await store.watched_runs(connection, self._q, [found[0].continued])
        if not found:
            raise RunNotFoundError(f"there is no run {run_id}")
        return found[0]

    async def watch(self, run_id: UUID) -> AsyncGenerator[Standing]:
        """Where a run stands, and again when that is another, until it has ended. Raises `RunNotFoundError`.

        A run that went on as another one has not ended: that one is watched then.
        """
        watched: UUID | None = run_id
        while watched is not None:
            async with aclosing(self._watch(watched)) as standings:
                watched = None
                async for standing in standings:
                    if standing.continued is not None:
                        watched = standing.continued
                    else:
                        yield standing

    async def _watch(self, run_id: UUID) -> AsyncGenerator[Standing]:
        watcher = _Watcher()
        self._watchers.setdefault(run_id, set()).add(watcher)
        self._hint.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look(), name="troth watches")
        try:
            while True:
                await watcher.news.wait()
                watcher.news.clear()
                standing = watcher.standing
                if standing is None:
                    raise RunNotFoundError(f"there is no run {run_id}")
                yield standing
                if standing.state in ENDED:
                    return
        finally:
            watching = self._watchers.get(run_id, set())
            watching.discard(watcher)
            if not watching:
                self._watchers.pop(run_id, None)

    def hint(self, runs: AbstractSet[UUID] | None) -> None:
        """Something of these runs is new, or (None) of any."""
        if self._watchers and (runs is None or not runs.isdisjoint(self._watchers)):
            self._hint.set()

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _look(self) -> None:
        while self._watchers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._hint.wait()
            self._hint.clear()
            watched = {run_id: list(them) for run_id, them in self._watchers.items()}
            if not watched:
                return
            try:
                async with self._pool.connection() as connection:
                    found = await store.watched_runs(connection, self._q, list(watched))
            except (DatabaseError, StoreError, OSError) as error:
                log.info("runs cannot be watched: %s", error)
                continue
            self.looks += 1
            standings = {standing.id: standing for standing in found}
            for run_id, watchers in watched.items():
                for watcher in watchers:
                    watcher.see(standings.get(run_id))


class _Watcher:
    """One that watches, and what it was told last."""

    def __init__(self) -> None:
        self.standing: Standing | None = None
        self.news = asyncio.Event()
        self._looked = False

    def see(self, standing: Standing | None) -> None:
        if standing != self.standing or not self._looked:
            self.standing, self._looked = standing, True
            self.news.set()
