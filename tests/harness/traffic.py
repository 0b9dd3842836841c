"""Workers that only ask for permission: what tests of traffic have several of."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from troth.base.clock import Clock
from troth.effect.model import Provider
from troth.effect.traffic import Permit, Traffic, Wait

PATIENCE_S = 20.0


class Caller:
    """One worker's traffic, with a connection of its own as in a process of its own."""

    def __init__(self, url: str, schema: str, worker: int) -> None:
        self.worker = worker
        self.clock = Clock()
        self.traffic = Traffic(url, schema, self.clock)
        self.waited: list[Wait] = []

    async def close(self) -> None:
        await self.traffic.close()

    async def kill(self) -> None:
        """End without a word."""
        for gate in self.traffic._gates.values():
            gate._closed = True
            gate._set_timer(None)
            if gate._turn is not None:
                gate._turn.cancel()
        await self.traffic._line.close()

    def ask(
        self, provider: Provider, *, slot: float | None = None, in_flight_s: float = 10.0
    ) -> asyncio.Future[Permit | Wait]:
        """What is told."""
        told: asyncio.Future[Permit | Wait] = asyncio.get_running_loop().create_future()

        def tell(said: Permit | Wait) -> None:
            if not told.cancelled():
                told.set_result(said)

        self.traffic.ask(provider, tell, worker=self.worker, in_flight_s=in_flight_s, slot=slot)
        return told

    async def said(self, provider: Provider, **how: Any) -> Permit | Wait:
        """What is told, soon."""
        return await asyncio.wait_for(self.ask(provider, **how), PATIENCE_S)

    async def permitted(self, provider: Provider, **how: Any) -> Permit:
        """A permit that is still good, asking again when it is time, as an engine does."""
        slot: float | None = None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                match await self.ask(provider, slot=slot, **how):
                    case Wait() as wait:
                        self.waited.append(wait)
                        slot = wait.slot
                        await asyncio.sleep(wait.until - self.clock.now())
                    case permit if time.monotonic() < permit.expires:
                        return permit
                    case permit:
                        self.back(permit, answered=None)
                        slot = None

    def back(self, permit: Permit, *, answered: bool | None = True) -> None:
        self.traffic.back(permit, answered=answered)

    def turns(self, provider: Provider) -> int:
        return self.traffic.turns(provider.name)


def most_in_any(span_s: float, times: list[float]) -> int:
    """How many of *times* lie in the fullest half-open span of that length."""
    ordered = sorted(times)
    most = first = 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= span_s:
            first += 1
        most = max(most, last - first + 1)
    return most
