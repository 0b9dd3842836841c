"""What a room offers to a program that includes it: definitions bound to a schema, and work for worker processes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from troth.base.telemetry import SILENT, Telemetry

if TYPE_CHECKING:
    from troth.store.connect import AsyncConnection


class Connections(Protocol):
    """A pool of connections in autocommit mode."""

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """One of them, for the duration of a `with`."""


class Alarm(Protocol):
    """Tells a relay when to look again."""

    async def wait(self, seconds: float) -> None:
        """Return when somebody says that there is something to do, and after *seconds* at the latest."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a relay is given to work with."""

    connections: Connections
    alarm: Alarm
    telemetry: Telemetry = SILENT


class Relay(Protocol):
    """Work that goes on beside the runs, in every worker process. Several processes do it at once."""

    @property
    def name(self) -> str:
        """For logs: what it is."""

    @property
    def channel(self) -> str:
        """A NOTIFY of `<schema>.<channel>` sets off its alarm. It only hurries: a relay looks by itself, too."""

    @property
    def connections(self) -> int:
        """How many connections it uses at once, at most."""

    async def work(self, place: Workplace) -> None:
        """Work until cancelled, which may happen at any await. If it raises, it is called again a little later."""


class Part(Protocol):
    """A definition of a room (a machine, an inbox …) that a program includes in its `Troth`."""

    @property
    def name(self) -> str:
        """Its name among the definitions of its kind."""

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema from now on. Called once."""

    @property
    def relays(self) -> Sequence[Relay]:
        """What worker processes have to do for it."""
