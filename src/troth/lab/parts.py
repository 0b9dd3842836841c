"""The parts of a world, and what becomes of them without a call: time passes, keys run out, effects are under way, tables grow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from troth.lab.database import Database
from troth.lab.mailbox import Mailbox
from troth.lab.model import Interned, Op
from troth.lab.provider import Provider
from troth.lab.queue import Queue
from troth.lab.redis import Redis
from troth.lab.world import Worlds, decode, encode, grown


class Issued:
    """How many ticks and seeds were given out: a part of the world only if they cannot be recognised in it."""

    name = "lab.issued"

    def initial(self) -> bytes:
        return encode(0)

    def view(self, part: bytes) -> object:
        return decode(part)


Part = Database | Provider | Mailbox | Queue | Redis | Issued


class Parts:
    """Worlds and operations by number, over what a world consists of.

    Args:
        components: what the world consists of.
        bounds: per "table.column", the largest value that is explored.
    """

    def __init__(self, components: tuple[Part, ...], bounds: dict[str, int]) -> None:
        self.components = components
        self.worlds = Worlds(components)
        self.ops: Interned[Op] = Interned()
        self._names = {component.name: index for index, component in enumerate(components)}
        self._bounds = bounds
        self._grown: dict[tuple[int, int], frozenset[str]] = {}

    def part(self, op: Op) -> Part | None:
        """What the operation is addressed to; None for the clock, random values and answers."""
        return self.components[self._names[op.target]] if op.target else None

    def sent(self, world: int, op: int, *, dead: bool) -> int:
        """The world when an effect is under way whose caller has given up, or is dead."""
        asked = self.ops[op]
        provider = self.part(asked)
        assert isinstance(provider, Provider)
        within = provider.lands_within(asked)
        return self._timed(world, lambda database, part: database.sent(part, within, dead=dead))

    def _later(self, world: int, seconds: float) -> int:
        return self._timed(world, lambda database, part: database.later(part, seconds))

    def _timed(self, world: int, change: Callable[[Database, bytes], bytes]) -> int:
        """The world after what concerns the databases that keep its time."""
        parts = tuple(
            change(component, part) if isinstance(component, Database) else part
            for component, part in zip(self.components, self.worlds[world], strict=True)
        )
        return world if parts == self.worlds[world] else self.worlds.add(parts)

    def aged(self, world: int) -> list[tuple[int, Provider]]:
        """The worlds in which a provider has forgotten its oldest key."""
        found = []
        parts = self.worlds[world]
        for index, component in enumerate(self.components):
            if isinstance(component, Provider) and component.keys and component.keys.lifetime:
                part = component.expired(parts[index], self.worlds.latest_tick(world))
                if part is not None:
                    lived = component.keys.lifetime.total_seconds()
                    after = self._later(self._placed(parts, index, part), lived)
                    found.append((after, component))
        return found

    def lapsed(self, world: int) -> list[tuple[int, timedelta]]:
        """The worlds in which a key of Redis has run out, and how long that one was to live."""
        parts = self.worlds[world]
        return [
            (self._placed(parts, index, part), time)
            for index, component in enumerate(self.components)
            if isinstance(component, Redis)
            for part, time in component.lapsed(parts[index])
        ]

    def waits(self, world: int, op: int) -> bool:
        """Whether the operation cannot happen before another lets go of a key of Redis."""
        asked = self.ops[op]
        if asked.kind != "redis":
            return False
        index = self._names[asked.target]
        component = self.components[index]
        return isinstance(component, Redis) and component.waits(self.worlds[world][index], asked)

    def released(self, world: int, op: int) -> int:
        """The world in which that has happened."""
        index = self._names[self.ops[op].target]
        component, parts = self.components[index], self.worlds[world]
        assert isinstance(component, Redis)
        return self._placed(parts, index, component.released(parts[index], self.ops[op]))

    def grown(self, before: int, after: int) -> frozenset[str]:
        """Where the second world is the first and more."""
        pair = (before, after)
        if pair not in self._grown and self._appends(before, after):
            self._grown[pair] = frozenset()
        if pair not in self._grown:
            self._grown[pair] = grown(self.worlds[before], self.worlds[after], tuple(self._names))
        return self._grown[pair]

    def _appends(self, before: int, after: int) -> bool:
        """Whether they differ in a database that is appended to by design, and not without end."""
        return any(
            isinstance(component, Database) and component.appends and old != new
            for component, old, new in zip(
                self.components, self.worlds[before], self.worlds[after], strict=True
            )
        )

    def excluded(self, world: int) -> bool:
        """Whether a value is beyond the user's bound."""
        if not self._bounds:
            return False
        database = next(part for part in self.components if isinstance(part, Database))
        rows = database.view(self.worlds[world][self._names[database.name]])
        return any(
            row[column] is not None and row[column] > most
            for place, most in self._bounds.items()
            for table, column in [place.split(".")]
            for row in getattr(rows, table)
        )

    def _placed(self, parts: tuple[bytes, ...], index: int, part: bytes) -> int:
        return self.worlds.add((*parts[:index], part, *parts[index + 1 :]))
