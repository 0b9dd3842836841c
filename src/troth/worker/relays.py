"""Runs the relays of a worker process: each in a task of its own, which outlives whatever the relay raises."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from troth.base.stopping import told_to_stop
from troth.base.telemetry import SILENT, Telemetry
from troth.store.connect import pool_async
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError
from troth.store.parts import Relay, Workplace

log = logging.getLogger("troth.worker")

_AGAIN_S = (0.2, 0.5, 1.0, 2.0, 5.0, 15.0)


class _Alarm:
    """Rings for one relay."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        if told_to_stop():  # and that was lost
            raise asyncio.CancelledError
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._rung.wait()
        self._rung.clear()


class Relays:
    """The relays of one process."""

    def __init__(self, url: str, relays: Sequence[Relay], telemetry: Telemetry = SILENT) -> None:
        self._telemetry = telemetry
        # Of their own: relays do not take those of runs, nor each other's.
        self._pool = pool_async(url, 0, max(1, sum(relay.connections for relay in relays)))
        self._relays = relays
        self._alarms = [(relay.channel, _Alarm()) for relay in relays]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def channels(self) -> set[str]:
        """What they want to hear."""
        return {channel for channel, _ in self._alarms}

    async def open(self) -> None:
        """Let them begin."""
        if not self._relays:
            return
        await self._pool.open()
        for relay, (_, alarm) in zip(self._relays, self._alarms, strict=True):
            place = Workplace(self._pool, alarm, self._telemetry)
            task = asyncio.create_task(self._keep(relay, place), name=f"troth {relay.name}")
            self._tasks.append(task)

    async def close(self) -> None:
        """Stop them where they are: what they had not committed is done by others."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._pool.close()

    def heard(self, channel: str) -> None:
        """There may be something to do for those who listen to *channel*."""
        for theirs, alarm in self._alarms:
            if theirs == channel:
                alarm.ring()

    def missed(self) -> None:
        """Hints may have been lost."""
        for _, alarm in self._alarms:
            alarm.ring()

    @staticmethod
    async def _keep(relay: Relay, place: Workplace) -> None:
        tries = 0
        loop = asyncio.get_running_loop()
        while not told_to_stop():
            began = loop.time()
            try:
                await relay.work(place)
                log.error("%s stopped working by itself; it is started again", relay.name)
            except (DatabaseError, StoreError, OSError) as error:
                log.info("%s is interrupted: %s", relay.name, error)
            except Exception:
                log.exception("%s failed; it is started again", relay.name)
            tries = 0 if loop.time() - began > _AGAIN_S[-1] else tries + 1
            await asyncio.sleep(_AGAIN_S[min(tries, len(_AGAIN_S) - 1)])
