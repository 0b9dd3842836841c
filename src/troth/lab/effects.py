"""The table E: what an operation does to a world, every outcome of it, each done once on the real thing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from troth.lab import faults
from troth.lab.database import Database
from troth.lab.deliveries import held_by, holding, receipts
from troth.lab.edge import clock
from troth.lab.model import Answer, Branch, Interned, Observation, Op, Outcome, Refused
from troth.lab.parts import Issued, Part, Parts
from troth.lab.provider import Provider
from troth.lab.queue import Queue
from troth.lab.recall import Recall
from troth.lab.redis import Redis
from troth.lab.world import decode, encode


@dataclass(frozen=True)
class Effect:
    """What an operation did when it happened."""

    world: int
    opened: int
    observation: int
    blockers: tuple[int, ...] = ()
    """What those have open for whom it has to wait; it did not happen then."""
    waits: bool = False
    """Whether it cannot happen now, whoever is in the way."""


class Effects(Parts):
    """Worlds, operations, observations and answers by number, and what leads from one to the other.

    Args:
        components: what the world consists of.
        bounds: per "table.column", the largest value that is explored.
        reuses: whether a tick or a seed of which the world has no trace may be given out again.
    """

    def __init__(
        self, components: tuple[Part, ...], bounds: dict[str, int], *, reuses: bool
    ) -> None:
        super().__init__(components, bounds)
        self.observations: Interned[Observation] = Interned()
        self.answers: Interned[Answer] = Interned()
        self.opened: Interned[tuple[Op, ...]] = Interned()
        self.opened.add(())
        self._reuses = reuses
        self.recall: Recall | None = None
        """What is known from an earlier search."""
        self._effects: dict[tuple[int, int, tuple[int, ...], int], Effect] = {}
        self._branches: dict[tuple[int, int, tuple[int, ...], int], tuple[Branch, ...]] = {}
        self._standing: dict[int, int] = {}

    @property
    def performed(self) -> int:
        """How many operations were really done."""
        return len(self._effects)

    def branches(
        self, world: int, opened: int, others: tuple[int, ...], op: int
    ) -> tuple[Branch, ...]:
        """Every outcome of an operation, the likely one first.

        `others` is what other live attempts have open. The first outcome is `faults.BLOCKED` if the operation has to wait for them.
        """
        asked = self.ops[op]
        beside = self._beside(asked, others) if others else others
        place = (world, opened, beside, op)
        if place not in self._branches:
            part = self.part(asked)
            if asked.kind == "receive":
                self._branches[place] = tuple(self._receipts(world, opened, beside, asked))
                return self._branches[place]
            if isinstance(part, Database):
                possible = part.outcomes(asked, _of(part, self.opened[opened])[0])
            elif isinstance(part, Redis):
                possible = part.outcomes(asked)
            else:
                reads_only = isinstance(part, Provider) and part.reads_only(asked)
                possible = faults.outcomes(asked, reads_only=reads_only)
            found = [self._branch(world, opened, beside, op, outcome) for outcome in possible]
            self._branches[place] = tuple(branch for branch in found if branch is not None)
        return self._branches[place]

    def _beside(self, op: Op, others: tuple[int, ...]) -> tuple[int, ...]:
        """What of the others' open transactions, ticks and seeds can make a difference to the operation."""
        part = self.part(op)
        if isinstance(part, Database):
            return tuple(
                one
                for one in others
                if part.holds(tuple(o for o in self.opened[one] if o.target == part.name))
            )
        if op.kind in {"receive", "publish"}:
            return tuple(one for one in others if any(held_by(self.opened[one], op.target)))
        return others if op.kind in {"clock", "draw"} else ()

    def standing(self, opened: int) -> int:
        """What of it can still stand in the way of others, when the attempt does nothing more with it."""
        if opened not in self._standing:
            ops = self.opened[opened]
            held = [
                part.name
                for part in self.components
                if isinstance(part, Database)
                and part.holds(tuple(one for one in ops if one.target == part.name))
            ]
            self._standing[opened] = self.opened.add(
                tuple(
                    one
                    for one in ops
                    if one.kind == "receive"
                    or (held and (one.target in held or one.kind == "clock"))
                )
            )
        return self._standing[opened]

    def local(self, op: int, opened: int) -> bool:
        """Whether the operation neither changes nor sees anything that others could."""
        asked = self.ops[op]
        part = self.part(asked)
        if asked.kind == "close" and isinstance(part, Database):
            return not any(
                one.handle == asked.handle and one.kind not in {"connect", "setting"}
                for one in self.opened[opened]
            )
        return asked.kind in {"connect", "setting", "order"} or (
            asked.kind == "sql" and faults.is_setting(asked.text)
        )

    def late(self, op: int) -> bool:
        """Whether the operation can take effect after its caller gave up."""
        asked = self.ops[op]
        part = self.part(asked)
        return isinstance(part, Provider) and part.lands_late(asked)

    def land(self, world: int, op: int) -> int:
        """The world after an effect that was under way."""
        after = self._effect(world, 0, (), op).world
        return self._timed(after, lambda database, part: database.landed(part))

    def _branch(
        self, world: int, opened: int, others: tuple[int, ...], op: int, outcome: Outcome
    ) -> Branch | None:
        kind = self.ops[op].kind
        if kind == "clock":
            return self._clock(world, opened, others, outcome)
        if kind == "draw":
            return self._draw(world, opened, others, outcome)
        if kind in {"answer", "ack"}:
            return self._told(world, opened, op, outcome)
        if outcome.late and not self.late(op):
            return None
        if not outcome.happens and not self.waits(world, op):
            assert outcome.observation is not None
            opened = self._severed(opened, op) if outcome.severs else opened
            world = self.sent(world, op, dead=False) if outcome.late else world
            return Branch(outcome, world, opened, self.observations.add(outcome.observation))
        return self._happening(world, opened, others, op, outcome)

    def _told(self, world: int, opened: int, op: int, outcome: Outcome) -> Branch:
        """An answer to a caller, or an acknowledgement to a queue: who hears it takes what was delivered for accepted."""
        nothing = self.observations.add(Observation())
        if self.ops[op].kind == "ack":
            accepted, opened = self._accepted(world, opened)
            return Branch(outcome, accepted if outcome.happens else world, opened, nothing)
        status, body = self.ops[op].params  # as `request` writes it
        told = 0
        if outcome is faults.RECEIVED:
            told = 1 + self.answers.add(Answer(status, body))
            if 200 <= status < 300:
                world, opened = self._accepted(world, opened)
        return Branch(outcome, world, opened, nothing, told)

    # ── sources: queues, and the events of providers ────────────────────────────────────────────

    def has_waiting(self, source: str, world: int) -> bool:
        """Whether something is to be delivered."""
        index = self._names[source]
        return bool(self._source(source).waiting(self.worlds[world][index]))

    def _source(self, name: str) -> Queue | Provider:
        part = self.components[self._names[name]]
        assert isinstance(part, Queue | Provider)
        return part

    def _held(self, others: tuple[int, ...], source: str) -> frozenset[str]:
        return frozenset(name for one in others for name in held_by(self.opened[one], source))

    def _receipts(
        self, world: int, opened: int, others: tuple[int, ...], op: Op
    ) -> Iterator[Branch]:
        source, index = self._source(op.target), self._names[op.target]
        part = self.worlds[world][index]
        held = self._held(others, op.target)
        for one in receipts(
            source.waiting(part), held, ordered=source.ordered, loses="loses" in op.params
        ):
            after, mine, says = world, opened, None
            if one.message is not None and one.settled:
                after = self._placed(
                    self.worlds[world], index, source.settled(part, one.message[0])
                )
            elif one.message is not None:
                says = one.message[1]
                mine = self.opened.add((*self.opened[opened], holding(op, one.message)))
            yield Branch(one.outcome, after, mine, self.observations.add(Observation(says)))

    def _accepted(self, world: int, opened: int) -> tuple[int, int]:
        """The world when what an attempt holds has been accepted, and what it has open then."""
        for one in self.opened[opened]:
            if one.kind == "receive":
                index, parts = self._names[one.target], self.worlds[world]
                part = self._source(one.target).settled(parts[index], one.params[0])
                world = self._placed(parts, index, part)
        return world, self._released(opened)

    def forfeited(self, world: int, opened: int) -> int:
        """The world when the holder dies and its supervisor takes what it held for done."""
        for one in self.opened[opened]:
            part = self.part(one)
            if one.kind == "receive" and isinstance(part, Queue) and part.forfeits(one.params[1]):
                return self._accepted(world, opened)[0]
        return world

    def _released(self, opened: int) -> int:
        return self.opened.add(tuple(one for one in self.opened[opened] if one.kind != "receive"))

    def _happening(
        self, world: int, opened: int, others: tuple[int, ...], op: int, outcome: Outcome
    ) -> Branch | None:
        if self.waits(world, op):
            nothing = self.observations.add(Observation(("_", None)))
            return None if outcome.cost else Branch(faults.BLOCKED, world, opened, nothing)
        effect = self._effect(world, opened, others, op)
        if effect.waits:
            if outcome.cost:
                return None  # what has to wait has not happened
            blockers = frozenset(effect.blockers)
            return Branch(
                faults.BLOCKED, world, effect.opened, effect.observation, blockers=blockers
            )
        seen = effect.observation
        if outcome.observation is not None:
            seen = self.observations.add(outcome.observation)
        after = self._severed(effect.opened, op) if outcome.severs else effect.opened
        return Branch(outcome, effect.world, after, seen)

    def _severed(self, opened: int, op: int) -> int:
        """What is open when the connection of an operation is lost."""
        asked = self.ops[op]
        part = self.part(asked)
        assert isinstance(part, Database)
        return self.opened.add(part.without(self.opened[opened], asked.handle))

    def _draw(self, world: int, opened: int, others: tuple[int, ...], outcome: Outcome) -> Branch:
        world, seed = self._issue(world, self.fresh_seed(world, self._given("draw", others)))
        running = self.opened.add((*self.opened[opened], Op("draw", params=(seed,))))
        return Branch(outcome, world, running, self.observations.add(Observation(seed)))

    def fresh_seed(self, world: int, taken: set[int]) -> int:
        """The smallest seed that left no trace, and that no live attempt has."""
        return clock.names.fresh(self.worlds[world], taken)

    def _given(self, kind: str, others: tuple[int, ...]) -> set[int]:
        """The ticks or seeds that other live attempts have been given."""
        return {op.params[0] for one in others for op in self.opened[one] if op.kind == kind}

    def _clock(
        self, world: int, opened: int, others: tuple[int, ...], outcome: Outcome
    ) -> Branch | None:
        """A later tick than all in the world; or the latest of them again, if there is one and no day has passed."""
        latest = max(self.worlds.latest_tick(world), *self._given("clock", others), 0)
        if outcome is faults.SAME_TICK and (latest == 0 or self._a_day_after(world, latest)):
            return None
        world, tick = (
            (world, latest) if outcome is faults.SAME_TICK else self._issue(world, latest + 1)
        )
        self.worlds.issue(tick)
        running = self.opened.add((*self.opened[opened], Op("clock", params=(tick,))))
        return Branch(outcome, world, running, self.observations.add(Observation(tick)))

    def _a_day_after(self, world: int, tick: int) -> bool:
        """Whether a key has expired since this tick: then the clock shows another."""
        return any(
            isinstance(component, Provider) and component.aged_at(part) == tick
            for component, part in zip(self.components, self.worlds[world], strict=True)
        )

    def _issue(self, world: int, number: int) -> tuple[int, int]:
        """A tick or seed to give out, and the world after it: the one proposed, or one that was never given before."""
        if self._reuses:
            return world, number
        parts = self.worlds[world]
        index = self._names[Issued.name]
        never = decode(parts[index]) + 1
        return self._placed(parts, index, encode(never)), never

    def _effect(self, world: int, opened: int, others: tuple[int, ...], op: int) -> Effect:
        """Do the operation on the real thing, once per (world, open transactions, operation)."""
        place = (world, opened, others, op)
        if place not in self._effects:
            self._effects[place] = self._perform(world, opened, others, self.ops[op])
        return self._effects[place]

    def _perform(self, world: int, opened: int, others: tuple[int, ...], op: Op) -> Effect:
        parts = self.worlds[world]
        index = self._names[op.target]
        component = self.components[index]
        assert not isinstance(component, Issued)
        if isinstance(component, Provider) and not component.knows(op):
            raise Refused(
                f"{op.text}: the model of {component.name} does not have it; add it to the model"
            )
        if isinstance(component, Queue):
            held = self._held((*others, opened), op.target)
            part = component.published(parts[index], op, held)
            return Effect(
                self._placed(parts, index, part), opened, self.observations.add(Observation())
            )
        if not isinstance(component, Database):
            part, observation = component.perform(parts[index], op)
            return Effect(
                self._placed(parts, index, part), opened, self.observations.add(observation)
            )
        mine, rest = _of(component, self.opened[opened])
        beside = tuple(_of(component, self.opened[one])[0] for one in others)
        known = self.recall and self.recall.effect(component, parts[index], mine, beside, op)
        done = known or component.perform(parts[index], mine, beside, op)
        if self.recall and not known:
            self.recall.learn(component, parts[index], mine, beside, op, done)
        after = self.opened.add((*rest, *done.opened))
        seen = self.observations.add(done.observation)
        if done.blockers or done.waits:
            blockers = tuple(others[number] for number in done.blockers)
            return Effect(world, after, seen, blockers, waits=True)
        if done.part != parts[index]:
            component.check_change(parts[index], done.part, mine, beside, op)
        return Effect(self._placed(parts, index, done.part), after, seen)


def _of(database: Database, opened: tuple[Op, ...]) -> tuple[tuple[Op, ...], tuple[Op, ...]]:
    """What is open in this database, with the ticks that its clock goes by; and the rest."""
    mine = tuple(one for one in opened if one.target == database.name or one.kind == "clock")
    rest = tuple(one for one in opened if one.target != database.name and one.kind != "clock")
    return mine, rest
