"""The search: pure, in memory, over small integers. It knows nothing of SQL, HTTP or Python code.

A state is (world, live attempt, memory of the warm process, clients, what was heard). One priority queue explores by
cost: an error that the code survives, a crash and a lost answer cost 1 each, everything else nothing. So what is found first needs the
fewest faults, and when the queue is empty the graph is *closed*: it speaks for any number of crashes and retries.

What the code does after a local history and what an operation does to a world are asked of a `Program`, which runs real code
and keeps tables (`tables.Tables`), or is a dictionary in a test.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from troth.lab.model import ASKING, DONE, Attempt, Branch, Next, State, Step
from troth.lab.promise import Promise

Edge = tuple[Step, State, int]
"""How, to where, and at what cost."""


class Program(Protocol):
    """The system under test, as the search sees it. Worlds, histories, operations and answers are numbers."""

    def begin(self, actor: int, memory: int) -> int:
        """The empty history of an attempt of this actor in a process with this memory."""
        ...

    def following(self, history: int, world: int, opened: int) -> Next:
        """What the code does after a history."""
        ...

    def branches(self, world: int, opened: int, op: int) -> tuple[Branch, ...]:
        """Every outcome of an operation, carried out."""
        ...

    def extend(self, history: int, observation: int) -> int:
        """The history after one more observation."""
        ...

    def call(self, op: int) -> int:
        """Which call it is, whatever its parameters: to recognise a client that tries again."""
        ...

    def final(self, actor: int, told: int) -> bool:
        """Whether the actor, told this (0: nothing), asks no more."""
        ...

    def hears(self, told: int) -> frozenset[int]:
        """Which promises an answer speaks of."""
        ...

    def rest(self, world: int, memory: int) -> int:
        """The world when nobody is at work in it: worlds that then are alike get one number."""
        ...

    def grown(self, before: int, after: int) -> frozenset[str]:
        """Where the second world is the first and more."""
        ...

    def excluded(self, world: int) -> bool:
        """Whether the user bounded the search so that this world is outside."""
        ...


class Judging(Protocol):
    """The promises, as the search sees them."""

    promises: tuple[Promise, ...]

    def holds(self, promise: int, world: int) -> bool:
        """Whether it is true of the world."""
        ...

    def folds(self, world: int, previous: tuple[object, ...] | None = None) -> tuple[object, ...]:
        """The monitors' values after one more world."""
        ...

    def acceptable(self, promise: int, folds: tuple[object, ...]) -> bool:
        """Whether a monitor's value is acceptable."""
        ...


@dataclass(frozen=True)
class Limits:
    """How far the search goes.

    `survived`: episodes of errors that one attempt may survive. `persists`: how often one episode may hit the same call, while a client
    tries again. `growth`: after so many similar worlds on one path, each with more in it, the path is cut. `seconds`: wall clock.
    `aftermath`: once a promise is broken, the search for others goes on for as long as it took until then, and at least so long.
    """

    survived: int = 2
    persists: int = 5
    growth: int = 5
    seconds: float = 60.0
    aftermath: float = 2.0


@dataclass
class Graph:
    """What the search has seen."""

    initial: State
    closed: bool = False
    states: int = 0
    steps: int = 0
    cost: int = 0
    """Everything cheaper than this was explored."""
    violations: dict[int, State] = field(default_factory=dict)
    first: float | None = None
    """Seconds until the first violation."""
    hurried: bool = False
    """The search ended early, because a promise was broken and the others had their time."""
    grown: set[str] = field(default_factory=set)
    excluded: bool = False
    parents: dict[State, tuple[State | None, Step | None, int]] = field(default_factory=dict)

    def path(self, state: State) -> list[Step]:
        """The steps from the beginning to a state."""
        steps: list[Step] = []
        parent, step, _ = self.parents[state]
        while parent is not None and step is not None:
            steps.append(step)
            parent, step, _ = self.parents[parent]
        return steps[::-1]


def successors(program: Program, judge: Judging, limits: Limits, state: State) -> Iterator[Edge]:
    """Everything that can happen next."""
    attempt = state.attempt
    if attempt is None:
        for actor, client in enumerate(state.clients):
            if client == ASKING:
                for memory in sorted({0, state.memory}):
                    history = program.begin(actor, memory)
                    step = Step(
                        "start",
                        actor,
                        history,
                        before=state.world,
                        after=state.world,
                        memory=memory,
                    )
                    yield step, state._replace(attempt=Attempt(actor, history), memory=memory), 0
        return
    following = program.following(attempt.history, state.world, attempt.opened)
    if following.op is None:
        step = Step("end", attempt.actor, attempt.history, before=state.world, after=state.world)
        yield step, _over(program, state, attempt, following.memory), 0
        return
    step = Step(
        "crash",
        attempt.actor,
        attempt.history,
        following.op,
        before=state.world,
        after=state.world,
        cost=1,
    )
    yield step, _over(program, state, attempt, memory=0), 1
    for branch in program.branches(state.world, attempt.opened, following.op):
        moved = _survive(program, limits, attempt, following.op, branch)
        if moved is not None:
            after, cost = moved
            step = Step(
                "op",
                attempt.actor,
                attempt.history,
                following.op,
                branch.outcome,
                before=state.world,
                after=branch.world,
                observation=branch.observation,
                told=branch.told,
                cost=cost,
            )
            heard = state.heard | program.hears(branch.told) if branch.told else state.heard
            folds = (
                state.folds
                if branch.world == state.world
                else judge.folds(branch.world, state.folds)
            )
            yield (
                step,
                state._replace(world=branch.world, attempt=after, heard=heard, folds=folds),
                cost,
            )


def _over(program: Program, state: State, attempt: Attempt, memory: int) -> State:
    clients = list(state.clients)
    clients[attempt.actor] = DONE if program.final(attempt.actor, attempt.told) else ASKING
    world = program.rest(state.world, memory)
    return state._replace(world=world, attempt=None, memory=memory, clients=tuple(clients))


def _survive(
    program: Program, limits: Limits, attempt: Attempt, op: int, branch: Branch
) -> tuple[Attempt, int] | None:
    """The attempt after a branch and what it costs; None if that is beyond the limits.

    A fault that goes on while the client tries the same call again is the same fault: it costs nothing more.
    """
    after = attempt._replace(
        history=program.extend(attempt.history, branch.observation),
        opened=branch.opened,
        told=branch.told or attempt.told,
    )
    call = program.call(op)
    if not branch.outcome.survived:
        calm = {"failing": (), "streak": 0} if attempt.failing[:1] == (call,) else {}
        return after._replace(**calm), branch.outcome.cost  # type: ignore[arg-type]
    fault = (call, branch.observation)
    if fault == attempt.failing:
        return (
            (after._replace(streak=attempt.streak + 1), 0)
            if attempt.streak < limits.persists
            else None
        )
    if attempt.survived == limits.survived:
        return None
    return after._replace(
        survived=attempt.survived + 1, failing=fault, streak=1
    ), branch.outcome.cost


def explore(
    program: Program,
    judge: Judging,
    start: State,
    limits: Limits,
    *,
    wanted: frozenset[int] | None = None,
    shortest: bool = False,
    progress: Callable[[Graph], None] | None = None,
) -> Graph:
    """Explore until the graph closes, every wanted promise is broken, or the time is up.

    Args:
        program: the system under test.
        judge: its promises.
        start: the first state.
        limits: how far to go.
        wanted: the promises to look at; all by default.
        shortest: prefer few steps among equally few faults, for a history that a person reads. Otherwise deep first.
        progress: called about ten times a second.
    """
    promises = set(range(len(judge.promises)) if wanted is None else wanted)
    return _Search(program, judge, start, limits, promises, shortest=shortest).run(progress)


class _Search:
    def __init__(
        self,
        program: Program,
        judge: Judging,
        start: State,
        limits: Limits,
        promises: set[int],
        *,
        shortest: bool,
    ) -> None:
        self._program = program
        self._judge = judge
        self._limits = limits
        self._open = promises
        self._direction = 1 if shortest else -1
        self._graph = Graph(start, parents={start: (None, None, 0)})
        self._queue: list[tuple[int, int, int, State]] = [(0, 0, 0, start)]
        self._expanded: set[State] = set()
        self._calm: dict[State, list[State]] = {}
        """Edges without a fault."""
        self._started = time.monotonic()
        self._deadline = self._started + limits.seconds

    def run(self, progress: Callable[[Graph], None] | None) -> Graph:
        graph, next_report = self._graph, self._started + 0.1
        while self._queue:
            cost, tie, _, state = heappop(self._queue)
            if state in self._expanded:
                continue
            now = time.monotonic()
            if now > self._deadline:
                break
            if progress is not None and now > next_report:
                next_report = now + 0.1
                progress(graph)
            self._expanded.add(state)
            graph.states, graph.cost = len(self._expanded), cost
            self._check(state, now)
            if not self._open:
                return graph
            if not _outside(self._program, graph, self._limits, state):
                self._expand(state, cost, abs(tie) + 1)
        else:
            graph.hurried = False
            graph.closed = not graph.grown and not graph.excluded
        self._check_liveness()
        return graph

    def _check(self, state: State, now: float) -> None:
        for promise in broken(self._judge, state, self._open):
            self._graph.violations[promise] = state
            self._open.discard(promise)
            if self._graph.first is None:
                self._graph.first = now - self._started
                enough = now + max(self._graph.first, self._limits.aftermath)
                self._graph.hurried = enough < self._deadline
                self._deadline = min(self._deadline, enough)

    def _expand(self, state: State, cost: int, depth: int) -> None:
        graph = self._graph
        for step, after, more in successors(self._program, self._judge, self._limits, state):
            graph.steps += 1
            if more == 0:
                self._calm.setdefault(state, []).append(after)
            known = graph.parents.get(after)
            if known is None or known[2] > cost + more:
                graph.parents[after] = (state, step, cost + more)
                heappush(self._queue, (cost + more, self._direction * depth, graph.steps, after))

    def _check_liveness(self) -> None:
        for promise in sorted(self._open):
            if self._judge.promises[promise].kind == "eventually":
                stuck = self._stuck(promise)
                if stuck is not None:
                    self._graph.violations[promise] = stuck

    def _stuck(self, promise: int) -> State | None:
        """The cheapest state from which, though nothing fails any more, no good rest can be reached.

        States that were not expanded count as good: about them nothing is known.
        """
        backward: dict[State, list[State]] = {}
        for state, after in self._calm.items():
            for one in after:
                backward.setdefault(one, []).append(state)
        frontier = [state for state in self._graph.parents if self._good(promise, state)]
        reached = set(frontier)
        while frontier:
            for before in backward.get(frontier.pop(), ()):
                if before not in reached:
                    reached.add(before)
                    frontier.append(before)
        parents = self._graph.parents
        stuck = [state for state in parents if state in self._expanded and state not in reached]
        return min(
            stuck, key=lambda one: (parents[one][2], len(self._graph.path(one))), default=None
        )

    def _good(self, promise: int, state: State) -> bool:
        if at_rest(state):
            return self._judge.holds(promise, state.world)
        return state not in self._calm  # nobody went on from here


def at_rest(state: State) -> bool:
    """Whether every caller has a final answer and nobody is at work."""
    return state.attempt is None and ASKING not in state.clients


def broken(judge: Judging, state: State, promises: set[int]) -> list[int]:
    """Which of the promises the state breaks by itself (`eventually` needs the whole graph)."""
    quiet, rest = state.attempt is None, at_rest(state)
    found = []
    for index in promises:
        kind = judge.promises[index].kind
        if kind == "monitor":
            bad = not judge.acceptable(index, state.folds)
        elif (
            kind == "always"
            or (kind == "told" and quiet and index in state.heard)
            or (kind == "at_rest" and rest)
        ):
            bad = not judge.holds(index, state.world)
        else:
            bad = False
        if bad:
            found.append(index)
    return found


def _outside(program: Program, graph: Graph, limits: Limits, state: State) -> bool:
    """Whether the search does not go on from here: the user's bound, or growth without end."""
    if program.excluded(state.world):
        graph.excluded = True
        return True
    if state.attempt is not None:
        return False
    grew = [
        places
        for world in _quiet_worlds(graph, state)
        if (places := program.grown(world, state.world))
    ]
    if len(grew) < limits.growth:
        return False
    graph.grown.update(frozenset.intersection(*grew) or grew[0])
    return True


def _quiet_worlds(graph: Graph, state: State) -> Iterator[int]:
    """The different worlds, on the way to a state, in which nobody was at work."""
    seen = {state.world}
    parent: State | None = state
    while parent is not None:
        if parent.attempt is None and parent.world not in seen:
            seen.add(parent.world)
            yield parent.world
        parent = graph.parents[parent][0]
