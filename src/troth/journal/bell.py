"""Hints between processes by LISTEN and NOTIFY. They hurry; nothing depends on them.

Notifications are sent beside the flushes, not in them: a commit that notifies takes a lock that serialises all such
commits of the server. Many hints in a short time become one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from uuid import UUID

from troth.base.stopping import told_to_stop
from troth.journal import store
from troth.store.connect import AsyncConnection, AsyncPool, connect_async, listen
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError

log = logging.getLogger("troth.journal")

READY, MAIL, DONE = "ready", "mail", "done"
_PAYLOAD_LIMIT = 7900  # bytes; the server's limit is 8000
_RECONNECT_S = (0.1, 0.2, 0.5, 1.0, 2.0)


class Bell:
    """Listens on some channels of a schema, and rings them."""

    def __init__(
        self,
        url: str,
        schema: str,
        pool: AsyncPool,
        *,
        heard: Callable[[str, str], None],
        missed: Callable[[], None],
    ) -> None:
        """*heard(channel, payload)* for each hint; *missed()* when hints may have been lost: look for yourself."""
        self._url = url
        self._schema = schema
        self._q = store.queries(schema)
        self._pool = pool
        self._heard = heard
        self._missed = missed
        self._listener: asyncio.Task[None] | None = None
        self._ringer: asyncio.Task[None] | None = None
        self._pending: dict[str, set[str]] = {}
        self._rung = asyncio.Event()
        self.listening = asyncio.Event()

    def open(self, *channels: str) -> None:
        """Start listening."""
        self._listener = asyncio.create_task(self._listen(channels), name="troth listener")

    async def close(self) -> None:
        """Stop listening and ringing."""
        tasks = [task for task in (self._listener, self._ringer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def ring(self, channel: str, payload: UUID | None = None) -> None:
        """Send a hint soon."""
        waiting = self._pending.setdefault(channel, set())
        if payload is not None:
            waiting.add(payload.hex)
        self._rung.set()
        if self._ringer is None:
            self._ringer = asyncio.create_task(self._ring(), name="troth bell")

    async def _listen(self, channels: tuple[str, ...]) -> None:
        tries = 0
        while not told_to_stop():
            connection: AsyncConnection | None = None
            try:
                connection = await connect_async(self._url)
                names = [f"{self._schema}.{channel}" for channel in channels]
                async for name, payload in listen(connection, names, ready=self._on_listening):
                    tries = 0
                    try:
                        self._heard(name.rpartition(".")[2], payload)
                    except ValueError:  # anybody may notify anything
                        log.info("a hint on %s makes no sense: %.100r", name, payload)
            except (DatabaseError, StoreError, OSError) as error:
                log.info("hints are interrupted: %s", error)
            finally:
                self.listening.clear()
                if connection is not None:
                    with contextlib.suppress(DatabaseError, OSError):
                        await connection.close()
            await asyncio.sleep(_RECONNECT_S[min(tries, len(_RECONNECT_S) - 1)])
            tries += 1

    def _on_listening(self) -> None:
        self.listening.set()
        self._missed()

    async def _ring(self) -> None:
        while not told_to_stop():
            await self._rung.wait()
            self._rung.clear()
            pending, self._pending = self._pending, {}
            try:
                async with self._pool.connection() as connection:
                    for channel, payloads in pending.items():
                        text = ",".join(payloads)
                        await connection.execute(
                            self._q.ring,
                            (
                                f"{self._schema}.{channel}",
                                text if len(text) < _PAYLOAD_LIMIT else "*",
                            ),
                        )
            except (DatabaseError, StoreError, OSError) as error:
                log.info("hints were not sent: %s", error)
                await asyncio.sleep(_RECONNECT_S[0])
