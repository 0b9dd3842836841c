"""Forgetting messages whose deliveries have all ended long ago, in batches, the oldest first."""

from __future__ import annotations

from typing import Final

from troth.outbox import store
from troth.store.connect import AsyncConnection
from troth.store.parts import Workplace
from troth.store.queries import Queries

BATCH: Final = 1000
_EVERY_S: Final = 3600.0


class Keeper:
    """Forgets the old messages of one outbox. What is pending or in doubt stays, however old."""

    channel = "outbox_keep"
    connections = 1

    def __init__(self, outbox: str, queries: Queries, keep_s: float) -> None:
        self._outbox = outbox
        self._q = queries
        self._keep_s = keep_s

    @property
    def name(self) -> str:
        """For logs."""
        return f"memory of outbox {self._outbox}"

    async def work(self, place: Workplace) -> None:
        """Forget once an hour, until cancelled. Several processes do not wait for each other."""
        while True:
            async with place.connections.connection() as connection:
                await self.forget(connection)
            await place.alarm.wait(_EVERY_S)

    async def forget(self, connection: AsyncConnection) -> int:
        """Forget all that is old; how many messages. A batch is a transaction of its own (*connection*: autocommit)."""
        total, looked_at = 0, BATCH
        while looked_at == BATCH:
            looked_at, forgotten = await store.forget(
                connection, self._q, self._outbox, self._keep_s, BATCH
            )
            total += forgotten
        return total
