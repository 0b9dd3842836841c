"""The table E: what an operation does to a world, every outcome of it, each done once on the real thing."""

from __future__ import annotations

from dataclasses import dataclass

from troth.lab import faults
from troth.lab.database import Database
from troth.lab.edge import clock
from troth.lab.mailbox import Mailbox
from troth.lab.model import Answer, Branch, Interned, Observation, Op, Outcome, Refused
from troth.lab.provider import Provider
from troth.lab.world import Worlds, decode, encode, grown


class Issued:
    """How many ticks and seeds were given out: a part of the world only if they cannot be recognised in it."""

    name = "lab.issued"

    def initial(self) -> bytes:
        return encode(0)

    def view(self, part: bytes) -> object:
        return decode(part)


Part = Database | Provider | Mailbox | Issued


@dataclass(frozen=True)
class Effect:
    """What an operation did when it happened."""

    world: int
    opened: int
    observation: int


class Effects:
    """Worlds, operations, observations and answers by number, and what leads from one to the other.

    Args:
        components: what the world consists of.
        bounds: per "table.column", the largest value that is explored.
        reuses: whether a tick or a seed of which the world has no trace may be given out again.
    """

    def __init__(
        self, components: tuple[Part, ...], bounds: dict[str, int], *, reuses: bool
    ) -> None:
        self.components = components
        self.worlds = Worlds(components)
        self.ops: Interned[Op] = Interned()
        self.observations: Interned[Observation] = Interned()
        self.answers: Interned[Answer] = Interned()
        self.opened: Interned[tuple[Op, ...]] = Interned()
        self.opened.add(())
        self._names = {component.name: index for index, component in enumerate(components)}
        self._bounds = bounds
        self._reuses = reuses
        self._effects: dict[tuple[int, int, int], Effect] = {}
        self._branches: dict[tuple[int, int, int], tuple[Branch, ...]] = {}
        self._grown: dict[tuple[int, int], frozenset[str]] = {}

    @property
    def performed(self) -> int:
        """How many operations were really done."""
        return len(self._effects)

    def branches(self, world: int, opened: int, op: int) -> tuple[Branch, ...]:
        """Every outcome of an operation, the likely one first."""
        place = (world, opened, op)
        if place not in self._branches:
            asked = self.ops[op]
            part = self.part(asked)
            reads_only = isinstance(part, Provider) and part.reads_only(asked)
            possible = faults.outcomes(asked, self.opened[opened], reads_only=reads_only)
            found = [self._branch(world, opened, op, outcome) for outcome in possible]
            self._branches[place] = tuple(branch for branch in found if branch is not None)
        return self._branches[place]

    def grown(self, before: int, after: int) -> frozenset[str]:
        """Where the second world is the first and more."""
        pair = (before, after)
        if pair not in self._grown:
            self._grown[pair] = grown(self.worlds[before], self.worlds[after], tuple(self._names))
        return self._grown[pair]

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

    def part(self, op: Op) -> Part | None:
        """What the operation is addressed to; None for the clock, random values and answers."""
        return self.components[self._names[op.target]] if op.target else None

    def _branch(self, world: int, opened: int, op: int, outcome: Outcome) -> Branch | None:
        asked = self.ops[op]
        if asked.kind == "clock":
            return self._clock(world, opened, outcome)
        if asked.kind == "draw":
            world, seed = self._issue(world, self.fresh_seed(world))
            return Branch(outcome, world, opened, self.observations.add(Observation(seed)))
        if asked.kind == "answer":
            status, body = asked.params  # as `request` writes it
            told = 1 + self.answers.add(Answer(status, body)) if outcome is faults.RECEIVED else 0
            return Branch(outcome, world, opened, self.observations.add(Observation()), told)
        if not outcome.happens:
            assert outcome.observation is not None
            return Branch(outcome, world, opened, self.observations.add(outcome.observation))
        effect = self._effect(world, opened, op)
        seen = (
            effect.observation
            if outcome.observation is None
            else self.observations.add(outcome.observation)
        )
        return Branch(outcome, effect.world, effect.opened, seen)

    def fresh_seed(self, world: int) -> int:
        """The smallest seed that left no trace."""
        return clock.names.fresh(self.worlds[world])

    def _clock(self, world: int, opened: int, outcome: Outcome) -> Branch | None:
        """A later tick than all in the world; or the latest of them again, if there is one."""
        latest = self.worlds.latest_tick(world)
        if outcome is faults.SAME_TICK and latest == 0:
            return None
        world, tick = (
            (world, latest) if outcome is faults.SAME_TICK else self._issue(world, latest + 1)
        )
        self.worlds.issue(tick)
        running = self.opened.add((*self.opened[opened], Op("clock", params=(tick,))))
        return Branch(outcome, world, running, self.observations.add(Observation(tick)))

    def _issue(self, world: int, number: int) -> tuple[int, int]:
        """A tick or seed to give out, and the world after it: the one proposed, or one that was never given before."""
        if self._reuses:
            return world, number
        parts = self.worlds[world]
        index = self._names[Issued.name]
        never = decode(parts[index]) + 1
        return self._placed(parts, index, encode(never)), never

    def _effect(self, world: int, opened: int, op: int) -> Effect:
        """Do the operation on the real thing, once per (world, open transactions, operation)."""
        place = (world, opened, op)
        if place not in self._effects:
            self._effects[place] = self._perform(world, opened, self.ops[op])
        return self._effects[place]

    def _perform(self, world: int, opened: int, op: Op) -> Effect:
        parts = self.worlds[world]
        index = self._names[op.target]
        component = self.components[index]
        assert not isinstance(component, Issued)
        if isinstance(component, Provider) and not component.knows(op):
            raise Refused(
                f"{op.text}: the model of {component.name} does not have it; add it to the model"
            )
        if not isinstance(component, Database):
            part, observation = component.perform(parts[index], op)
            return Effect(
                self._placed(parts, index, part), opened, self.observations.add(observation)
            )
        running = self.opened[opened]
        mine = tuple(one for one in running if one.target in {"", op.target})
        part, after, observation = component.perform(parts[index], mine, op)
        if part != parts[index]:
            self._check_change(component, parts[index], part, running, op)
        others = tuple(one for one in running if one.target not in {"", op.target})
        return Effect(
            self._placed(parts, index, part),
            self.opened.add((*others, *after)),
            self.observations.add(observation),
        )

    def _check_change(
        self, database: Database, before: bytes, after: bytes, running: tuple[Op, ...], op: Op
    ) -> None:
        if database.schema(before) != database.schema(after):
            raise Refused(
                f"an attempt changes the schema of {database.name}: {op.text!r}; create it with lab.database(migrate=…)"
            )
        if op.kind == "sql" and op.params[:1] == ("executescript",):
            raise Refused(
                "an attempt changes data by executescript, which commits in the middle; use execute"
            )
        if any(
            one.kind == "sql" and one.handle != op.handle and not faults.is_pragma(one.text)
            for one in running
        ):
            raise Refused(
                "two transactions are open at once in one attempt; that is not explored yet"
            )

    def _placed(self, parts: tuple[bytes, ...], index: int, part: bytes) -> int:
        return self.worlds.add((*parts[:index], part, *parts[index + 1 :]))
