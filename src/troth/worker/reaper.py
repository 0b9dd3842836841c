"""Takes over from dead workers: declares them dead, and hands their runs to whoever claims them.

A run that an open transaction of the dead worker still holds is skipped at first; then the session that holds it is
ended, whoever opened it: a frozen process must not keep its runs for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from troth.base import events
from troth.base.telemetry import SILENT, Telemetry
from troth.journal import store
from troth.journal.writer import Writer
from troth.store.connect import AsyncPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.queries import Queries

log = logging.getLogger("troth.worker")

_LOOK_S = 0.1


class Reaper:
    """Runs in a worker; several workers may do the same at once."""

    def __init__(
        self,
        pool: AsyncPool,
        q: Queries,
        writer: Writer,
        *,
        released: Callable[[], None],
        telemetry: Telemetry = SILENT,
    ) -> None:
        self._writer = writer
        self._telemetry = telemetry
        self._pool = pool
        self._q = q
        self._released = released
        self._busy: set[int] = set()

    async def take_over(self, peer: int, beat: int) -> None:
        """The peer has been silent since *beat*: take over, unless it has beaten after all."""
        if peer in self._busy:
            return
        self._busy.add(peer)
        try:
            async with self._pool.connection() as connection:
                held = await store.takeover(connection, self._q, peer, beat)
            if held is not None:
                log.warning("worker %d is dead; its runs are taken over", peer)
                self._telemetry.emit(events.WorkerTookOver(self._writer.worker, peer, held))
                await self._finish(peer, held)
        except (DatabaseError, StoreError, OSError) as error:
            log.info("takeover of worker %d is put off: %s", peer, error)
        finally:
            self._busy.discard(peer)

    async def release(self, peer: int) -> None:
        """Finish what another worker began, and perhaps died over."""
        if peer in self._busy:
            return
        self._busy.add(peer)
        try:
            async with self._pool.connection() as connection:
                held = await store.release_gone(connection, self._q, peer)
            await self._finish(peer, held)
        except (DatabaseError, StoreError, OSError) as error:
            log.info("the release of worker %d's runs is put off: %s", peer, error)
        finally:
            self._busy.discard(peer)

    async def _finish(self, peer: int, held: int) -> None:
        self._released()
        if held:
            await self._end_holders(peer)
            async with self._pool.connection() as connection:
                await store.release_gone(connection, self._q, peer)
            self._released()

    async def _end_holders(self, peer: int) -> None:
        """Wait for the rows of the dead worker in one session, and end in another whoever the first one waits for."""
        async with self._pool.connection() as waiting, self._pool.connection() as ending:
            wait = asyncio.create_task(waiting.execute(self._q.lock_gone, (peer,)))
            try:
                while not (await asyncio.wait({wait}, timeout=_LOOK_S))[0]:
                    await ending.execute(self._q.end_blockers, (waiting.info.backend_pid,))
                await wait
            finally:
                wait.cancel()
                with contextlib.suppress(asyncio.CancelledError, DatabaseError):
                    await wait
