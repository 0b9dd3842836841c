"""What a worker does now and then, whoever else does it, too: partitions ahead of time, forgetting, the minutes' counts."""

from __future__ import annotations

import time

from troth.base.clock import Clock
from troth.journal import store
from troth.journal.writer import Writer
from troth.store.connect import AsyncPool
from troth.store.queries import Queries
from troth.workflow.minutes import Minutes

_DAY_S = 86400.0
_EVERY_S = _DAY_S / 4


class Housekeeping:
    """The housekeeping of one node."""

    def __init__(
        self, pool: AsyncPool, q: Queries, clock: Clock, writer: Writer, minutes: Minutes
    ) -> None:
        self._pool = pool
        self._q = q
        self._clock = clock
        self._writer = writer
        self._minutes = minutes
        self._due = 0.0

    def is_due(self) -> bool:
        """Is there something to do? Asked with each heartbeat."""
        return self._minutes.turn(self._clock.now()) or time.monotonic() > self._due

    async def keep(self) -> None:
        """Do what is due."""
        await self._write_minutes()
        if time.monotonic() > self._due:
            self._due = time.monotonic() + _EVERY_S
            now = self._clock.now()
            async with self._pool.connection() as connection:
                await store.ensure_partitions(
                    connection, self._q, now - 7 * _DAY_S, now + 28 * _DAY_S
                )
                await connection.execute(self._q.forget_marks)
                await connection.execute(self._q.forget_minutes)

    async def close(self) -> None:
        """Write what was counted and is not written yet."""
        self._minutes.turn(self._clock.now())
        self._minutes.close()
        await self._write_minutes()

    async def _write_minutes(self) -> None:
        over = self._minutes.take()
        if not over:
            return
        try:
            async with self._pool.connection() as connection:
                await store.write_minutes(connection, self._q, self._writer.worker, over)
        except BaseException:
            self._minutes.give_back(over)
            raise
