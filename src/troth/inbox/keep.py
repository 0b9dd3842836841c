"""Forgetting what is old, in batches: ids after the time that they are to be remembered, bodies maybe earlier."""

from __future__ import annotations

from typing import Final

from troth.inbox import store
from troth.inbox.model import State
from troth.inbox.rules import OPEN
from troth.store.connect import AsyncConnection
from troth.store.parts import Workplace

BATCH: Final = 1000
_EVERY_S: Final = 3600.0
_SETTLED: Final = tuple(state for state in State if state not in OPEN)


class Keeper:
    """Forgets the settled events of one source. What is open stays, however old."""

    channel = "inbox_keep"
    connections = 1

    def __init__(self, source: str, schema: str, keep_s: float, bodies_s: float) -> None:
        self._source = source
        self._schema = schema
        self._keep_s = keep_s
        self._bodies_s = bodies_s

    @property
    def name(self) -> str:
        """For logs."""
        return f"memory of inbox {self._source}"

    async def work(self, place: Workplace) -> None:
        """Forget once an hour, until cancelled. Several processes do not wait for each other."""
        while True:
            async with place.connections.connection() as connection:
                await self.forget(connection)
            await place.alarm.wait(_EVERY_S)

    async def forget(self, connection: AsyncConnection) -> int:
        """Forget all that is old; how many events. A batch is a transaction of its own (*connection*: autocommit)."""
        forgotten, schema, source = 0, self._schema, self._source
        for state in _SETTLED:
            count = BATCH
            while count == BATCH:
                count = await store.forget(connection, schema, source, state, self._keep_s, BATCH)
                forgotten += count
        count = BATCH if self._bodies_s < self._keep_s else 0
        while count == BATCH:
            count = await store.forget_bodies(connection, schema, source, self._bodies_s, BATCH)
        return forgotten
