"""The one connection on which a worker takes its turns, at all providers, one after the other.

Not of a pool: a pool waits longer and longer before it tries a database again that was away, and calls wait for this.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from troth.store.connect import AsyncConnection, connect_async
from troth.store.failure import DatabaseError
from troth.store.queries import Queries


class Line:
    """Opened when it is first needed, and anew after every error."""

    def __init__(self, url: str, q: Queries) -> None:
        self.q = q
        self._url = url
        self._lock = asyncio.Lock()
        self._connection: AsyncConnection | None = None

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[AsyncConnection]:
        """The connection, for one turn."""
        async with self._lock:
            try:
                if self._connection is None:
                    self._connection = await connect_async(self._url)
                    await self._connection.execute(self.q.be_brief)
                yield self._connection
            except BaseException:  # a turn that was cancelled has left its answer in it
                await self._close()
                raise

    async def close(self) -> None:
        """Close the connection."""
        async with self._lock:
            await self._close()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DatabaseError, OSError):
                await connection.close()
