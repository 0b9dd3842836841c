"""Permission to call a provider, shared by all workers through PostgreSQL: rate, breaker, and calls at once.

Slots of a rate are reserved in time, many at once; leases of calls at once are kept from call to call; how calls ended is
reported in batches. So the row of a provider is written per batch and never per call, and a run that has to wait for
longer than a second is a row with a time, not an object in memory.
"""

from __future__ import annotations

import asyncio
import logging

from troth.base.clock import Clock
from troth.effect import store
from troth.effect.gate import Gate
from troth.effect.limits import declaration_of
from troth.effect.line import Line
from troth.effect.model import Provider
from troth.effect.permits import Asker, Permit, Told, Wait

__all__ = ["Permit", "Traffic", "Wait"]

log = logging.getLogger("troth.effect")


class Traffic:
    """One worker's calls to all limited providers. Belongs to the event loop that makes it."""

    def __init__(self, url: str, schema: str, clock: Clock) -> None:
        self._line = Line(url, store.queries(schema))
        self._clock = clock
        self._gates: dict[str, Gate] = {}
        self._warned: set[Provider] = set()

    def ask(
        self,
        provider: Provider,
        told: Told,
        *,
        worker: int,
        in_flight_s: float,
        slot: float | None = None,
    ) -> None:
        """Ask for permission to send one call now.

        *told* is called soon, never from within this call: with a `Permit`, or with a `Wait` if that takes longer than
        about a second; then ask again at its time, with its *slot*. *worker*: the id under which the call would be sent.
        *in_flight_s*: how long after that worker was declared dead the call can still be under way. While the database
        cannot be reached, nobody is told anything.
        """
        self._gate(provider).ask(Asker(told, worker, in_flight_s, slot))

    def back(self, permit: Permit, *, answered: bool | None) -> None:
        """The call has ended. *answered*: the provider said something, whatever; None: nothing was sent.

        Call it once for every permit; once more changes nothing.
        """
        self._gates[permit.provider].back(permit, answered=answered)

    def forget_time(self) -> None:
        """The database's time was moved (see `Clock.jump`): what was read of it is void."""
        for gate in self._gates.values():
            gate.forget_time()

    async def close(self) -> None:
        """Give back what is not in use. Who still waits is not told anything any more."""
        await asyncio.gather(*(gate.close() for gate in self._gates.values()))
        await self._line.close()

    def turns(self, provider: str) -> int:
        """How many transactions the calls to a provider have cost this worker so far."""
        gate = self._gates.get(provider)
        return gate.turns if gate else 0

    def _gate(self, provider: Provider) -> Gate:
        gate = self._gates.get(provider.name)
        if gate is None:
            declaration = declaration_of(provider)
            gate = Gate(provider.name, declaration, self._line, self._clock)
            self._gates[provider.name] = gate
        elif provider not in self._warned and gate.declaration != declaration_of(provider):
            self._warned.add(provider)
            log.warning(
                "this program declares the provider %s with different limits; those that were used first count",
                provider.name,
            )
        return gate
