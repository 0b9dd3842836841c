"""The table H: what the code does after a local history, filled by running the real code.

A run of the real handler is fed the recorded observations of a history, without I/O, until it asks something new; it then
goes on along the likely outcomes, so that one run fills a whole path. Every later run must ask the same again, or the code
depends on something that the lab does not see, and the verdict is refused.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from types import CodeType

from troth.lab import moments
from troth.lab.alike import Alike
from troth.lab.clients import Role
from troth.lab.database import Database
from troth.lab.describe import described
from troth.lab.edge import clock
from troth.lab.edge.attempt import Attempt, escaped
from troth.lab.effects import Effects
from troth.lab.habits import Habits, Relearn
from troth.lab.memory import Carried, Memory
from troth.lab.model import Answer, Branch, Next, Observation, Op, Refused, State
from troth.lab.parts import Part
from troth.lab.postgres_rules import draws
from troth.lab.redis import SLOW
from troth.lab.request import Again, Call, Stage
from troth.lab.sequences import Freed
from troth.lab.trail import Trail
from troth.lab.twice import OTHER, nondeterminism, renamed, same
from troth.lab.world import encode


@dataclass(slots=True)
class Node:
    """A local history: its last observation, and what the code does next."""

    root: tuple[int, int]
    parent: int
    observation: int
    op: int | None = None
    site: str = ""
    ends: bool = False
    memory: int = 0
    children: dict[int, int] = field(default_factory=dict)

    @property
    def known(self) -> bool:
        """Whether the code was seen to go on from here."""
        return self.ends or self.op is not None


@dataclass(frozen=True)
class Actor:
    """Somebody who acts: what it does, how many of its attempts may be alive; a user also: when it asks again, for how long at most.

    `source`: from where a delivery takes what it brings.
    """

    call: Call
    again: Again
    overlap: int = 2
    within: timedelta | None = None
    role: Role = "user"
    source: str = ""


class Tables(Effects):
    """Implements `steps.Program` on real code: E is inherited, H is here.

    Args:
        components: what the world consists of.
        bounds: per "table.column", the largest value that is explored.
        actors: who asks what.
        stage: where attempts run.
        memory: of the process in which they run.
        hears: which promises an answer speaks of.
        habits: what is known about the code.
    """

    def __init__(
        self,
        components: tuple[Part, ...],
        bounds: dict[str, int],
        actors: tuple[Actor, ...],
        stage: Stage,
        memory: Memory,
        hears: Callable[[Answer], frozenset[int]],
        habits: Habits,
    ) -> None:
        super().__init__(components, bounds, reuses=not habits.derives)
        self.actors = actors
        self.memory = memory
        self.nodes: list[Node] = []
        self.runs = 0
        self.remembers = False
        """Whether memory changes while an attempt runs, even if it is as before in the end."""
        self.failure = ""
        """What the code let through to its server in a run in which nothing failed."""
        self._raised = ""
        self._watched: set[int] = set()
        self.derived: set[str] = set()
        self._stage = stage
        self._hears = hears
        self._heard: dict[int, frozenset[int]] = {}
        self.trail: Trail | None = None
        self.reached: dict[int, dict[CodeType, int]] = {}
        """Per history, what was executed since the one before."""
        self.twice: set[int] = set()
        """Complete histories that were executed a second time."""
        self._final: dict[tuple[int, int], bool] = {}
        self.habits = self._habits = habits
        self._roots: dict[tuple[int, int], int] = {}
        self._ends: dict[int, int | None] = {}
        self._tails: dict[tuple[int, int, int], int] = {}
        self._alike = Alike(self)
        draws = any(isinstance(part, Database) and part.draws_numbers for part in components)
        self._freed = Freed(self) if draws else None
        self._expiries: dict[int, tuple[tuple[int, frozenset[int]], ...]] = {}
        self._lapses: dict[int, tuple[tuple[int, bool, frozenset[int]], ...]] = {}
        self._called: dict[int, int] = {}
        self._calls: dict[tuple[str, str, str], int] = {}

    @property
    def uses_random(self) -> bool:
        """Whether each attempt begins with a seed of its own for the `random` module."""
        return self._habits.uses_random

    def begin(self, actor: int, memory: int) -> int:
        root = (actor, memory)
        if root not in self._roots:
            self._roots[root] = len(self.nodes)
            self.nodes.append(Node(root, -1, -1))
        return self._roots[root]

    def extend(self, history: int, observation: int) -> int:
        children = self.nodes[history].children
        if observation not in children:
            children[observation] = len(self.nodes)
            self.nodes.append(Node(self.nodes[history].root, history, observation))
        return children[observation]

    def after(self, history: int, branch: Branch) -> tuple[int, int, bool]:
        node = self.extend(self._first_asked(history), branch.observation)
        if node not in self._ends:
            self.following(node, branch.world, branch.opened)
            self._ends[node] = self._tail(node)
        same = self._ends[node]
        return (
            (node, branch.opened, False)
            if same is None
            else (same, self.standing(branch.opened), True)
        )

    def _first_asked(self, history: int) -> int:
        """Where an operation that is sent again was asked first: who sends it goes on as if nothing had been lost before.

        Real processes, which carry out what was found, check that.
        """
        asked = self.nodes[history].op
        if asked is None or not self.sends_again(asked):
            return history
        while (before := self.nodes[history].parent) >= 0 and self.nodes[before].op == asked:
            history = before
        return history

    def sends_again(self, op: int) -> bool:
        """Whether who gets no answer to this operation sends the same again, and does nothing else."""
        part = self.part(self.ops[op])
        return isinstance(part, Database) and part.sends_again(self.ops[op])

    def only_answers(self, history: int) -> bool:
        """Whether the attempt does nothing any more with what it has seen."""
        return self._ends.get(history) is not None

    def _tail(self, node: int) -> int | None:
        """The first history of the same actor after which the same answer is given, and nothing else happens."""
        asked = self.nodes[node].op
        if asked is None or self.ops[asked].kind != "answer":
            return None
        (child,) = self.nodes[node].children.values()
        if not self.nodes[child].ends:
            return None
        key = (self.nodes[node].root[0], asked, self.nodes[child].memory)
        return self._tails.setdefault(key, node)

    def following(self, history: int, world: int, opened: int) -> Next:
        node = self.nodes[history]
        if not node.known:
            self._run(history, world, opened)
        return Next(node.op, node.memory)

    def canonical(self, state: State) -> State:
        """Worlds are renumbered at rest, unless a process remembers a time that it could compare."""
        if self._freed is not None:
            state = self._freed.of(state)
        if any(moments.ticks(self.memory.text(one), self.worlds.issued) for one in state.idle):
            return state
        if state.quiet or not (state.attempts or self.worlds.issued):
            return state._replace(world=self.worlds.rest(state.world))
        return self._alike.known(state) if self.worlds.issued else state

    def refreshed(self, state: State, op: int) -> State:
        if self._freed is None or self.ops[op].kind != "sql" or not draws(self.ops[op].text):
            return state
        return self._freed.of(state)

    def fresh_seed(self, world: int, taken: set[int]) -> int:
        remembered = tuple(self.memory.text(n).encode() for n in range(len(self.memory)))
        return clock.names.fresh((*self.worlds[world], *remembered), taken)

    def expiries(self, world: int) -> tuple[tuple[int, frozenset[int]], ...]:
        if world not in self._expiries:
            self._expiries[world] = tuple(
                (after, frozenset(
                    number for number, one in enumerate(self.actors)
                    if one.within is not None and provider.outlives(one.within)
                ))
                for after, provider in self.aged(world)
            )  # fmt: skip
        return self._expiries[world]

    def lapses(self, world: int) -> tuple[tuple[int, bool, frozenset[int]], ...]:
        if world not in self._lapses:
            self._lapses[world] = tuple(
                (after, time <= SLOW, frozenset(
                    number for number, one in enumerate(self.actors) if one.within is not None and one.within <= time
                ))
                for after, time in self.lapsed(world)
            )  # fmt: skip
        return self._lapses[world]

    def overlap(self, actor: int) -> int:
        return self.actors[actor].overlap

    def role(self, actor: int) -> Role:
        return self.actors[actor].role

    def has_message(self, actor: int, world: int) -> bool:
        return self.has_waiting(self.actors[actor].source, world)

    def call(self, op: int) -> int:
        if op in self._called:
            return self._called[op]
        asked = self.ops[op]
        which = str(asked.params[2]) if asked.kind == "redis" else asked.text
        number = self._calls.setdefault((asked.kind, asked.target, which), len(self._calls))
        self._called[op] = number
        return number

    def final(self, actor: int, told: int) -> bool:
        if (actor, told) not in self._final:
            answer = self.answers[told - 1] if told else None
            self._final[actor, told] = not self.actors[actor].again(answer)
        return self._final[actor, told]

    def hears(self, told: int) -> frozenset[int]:
        if told not in self._heard:
            self._heard[told] = self._hears(self.answers[told - 1])
        return self._heard[told]

    def history(self, node: int) -> list[int]:
        """The nodes from the beginning of an attempt to this one."""
        path: list[int] = []
        while node >= 0:
            path.append(node)
            node = self.nodes[node].parent
        return path[::-1]

    def _run(self, history: int, world: int, opened: int) -> None:
        """Run the code along a history and then on along the likely outcomes, and write down what it does."""
        path = self.history(history)
        actor, memory = self.nodes[history].root
        at, place = path[0], (world, opened)

        def respond(op: Op, site: str) -> Observation:
            nonlocal at, place
            node = self.nodes[at]
            if executed:
                self._passed(at)
            number = self.ops.add(op)
            if node.known and node.op != number:
                raise Refused(
                    nondeterminism(self.ops[node.op] if node.op is not None else None, op, site)
                )
            node.op, node.site = number, site
            depth = path.index(at) + 1 if at in path else len(path)
            if depth < len(path):
                at = path[depth]
            else:
                if self.waits(place[0], number):
                    place = (
                        self.released(place[0], number),
                        place[1],
                    )  # it asks on until it gets it
                branch = self.branches(*place, (), number)[0]
                place = (branch.world, branch.opened)
                at = self.extend(at, branch.observation)
            return self.observations[self.nodes[at].observation]

        executed = False
        ended = self.recall.replay(actor, respond) if self.recall and not memory else None
        if ended is None:
            executed, at, place = True, path[0], (world, opened)
            after = self._execute(actor, memory, respond)
            self._passed(at)
        else:
            after, self._raised = 0, ended.failure
            self.twice |= {at} if ended.twice else set()
        if len(path) == 1:
            self.failure = self.failure or self._raised
        if self.nodes[at].op is not None:
            raise Refused(
                nondeterminism(self.ops[self.nodes[at].op or 0], None, self.nodes[at].site)
            )
        self.nodes[at].ends, self.nodes[at].memory = True, after

    def _passed(self, node: int) -> None:
        """Note what was executed before this history ends or goes on."""
        if self.trail is not None and self.trail.on:
            self.reached.setdefault(node, self.trail.taken())

    def _execute(self, actor: int, memory: int, respond: Callable[[Op, str], Observation]) -> int:
        """One real run. Returns the memory after it."""
        self.memory.restore(memory)
        if self.trail is not None:
            self.trail.taken()
        attempt = Attempt(respond)
        before = random.getstate()
        random.seed(0)
        unused = random.getstate()

        async def call(attempt: Attempt) -> None:
            if self._habits.uses_random:
                random.seed(clock.seed(attempt))
            await self.actors[actor].call.invoke(attempt)

        try:
            self._stage.run(attempt, call)
        finally:
            used = random.getstate() != unused
            random.setstate(before)
        self.runs += 1
        self._raised = attempt.failure
        reason = attempt.refused or next(iter(escaped), None)
        if reason:
            raise Refused(reason)
        if used and not self._habits.uses_random:
            raise Relearn(replace(self._habits, uses_random=True))
        try:
            return self.memory.capture()
        except Carried as carried:
            raise Refused(
                f"memory is carried from one attempt to the next and cannot be put back: {carried}. "
                "If it does not matter: lab.ignore(memory=…, because=…)"
            ) from carried

    def confirm(self, suspects: list[int] | None = None, *, seconds: float = inf) -> None:
        """Run histories a second time, with other ticks and seeds, and compare: all complete ones, or those through `suspects`.

        After `seconds`, the rest is left out: a graph that is open anyway need not be compared whole.

        Raises:
            Refused: the code did something else, so it depends on what the lab does not see.
            Relearn: a tick or a seed was not copied into an operation, but transformed.
        """
        if suspects is None:
            leaves = {number for number, node in enumerate(self.nodes) if node.ends}
        else:
            leaves = {self._leaf(node) for node in suspects}
        until = time.monotonic() + seconds
        for leaf in sorted(leaves - self.twice):
            if time.monotonic() > until:
                break
            self._again(leaf)
            self.twice.add(leaf)
        if self.derived and not self._habits.derives:
            raise Relearn(replace(self._habits, derives=True))

    def _leaf(self, node: int) -> int:
        """A complete history through this one. There is one, because every run goes on to the end."""
        while not self.nodes[node].ends:
            node = next(
                child for child in self.nodes[node].children.values() if self.nodes[child].known
            )
        return node

    def _again(self, leaf: int) -> None:
        path = self.history(leaf)
        _, memory = self.nodes[leaf].root
        position = 0
        seeds: list[int] = []
        ticks: list[int] = []

        def respond(op: Op, site: str) -> Observation:
            nonlocal position
            node = self.nodes[path[position]]
            expected = None if node.op is None else self.ops[node.op]
            if (
                expected is None
                or position + 1 == len(path)
                or (op.kind, op.text) != (expected.kind, expected.text)
            ):
                raise Refused(nondeterminism(expected, op, site))
            if not same(expected, op, seeds, ticks) and self._drew(path, position, op):
                self.derived.add(f"{site}: {op.kind} {op.text}")
            if (leak := clock.real_date_in(encode(op.params))) is not None:
                raise Refused(
                    f"today's date, {leak}, reaches {described(op)!r} (at {site}): a clock was read that was taken "
                    "before the lab came (as default_factory=time.ctime would)"
                )
            if path[position] not in self._watched and not self.remembers:
                self._watched.add(path[position])
                self.remembers = self.memory.changed(memory)
            position += 1
            seen = self.observations[self.nodes[path[position]].observation]
            seen = renamed(seen, seeds)
            if op.kind == "clock":
                ticks.append(int(seen.value))
                return Observation(ticks[-1] + moments.WHOLE_DAYS)
            if op.kind == "draw":
                seeds.append(int(seen.value))
                return Observation(seeds[-1] + OTHER)
            return seen

        actor, memory = self.nodes[leaf].root
        self._execute(actor, memory, respond)
        if position + 1 != len(path):
            raise Refused(nondeterminism(self.ops[self.nodes[path[position]].op or 0], None, ""))

    def _drew(self, path: list[int], position: int, op: Op) -> bool:
        """A difference without a clock or a random value before it has no explanation that the lab can see.

        Raises:
            Refused: nothing was drawn.
        """
        asked = [
            self.ops[number]
            for node in path[:position]
            if (number := self.nodes[node].op) is not None
        ]
        if any(one.kind in {"clock", "draw"} for one in asked):
            return True
        node = self.nodes[path[position]]
        raise Refused(nondeterminism(None if node.op is None else self.ops[node.op], op, node.site))
