"""The search: pure, in memory, over small integers. It knows nothing of SQL, HTTP or Python code.

A state is (world, live attempts, warm processes, clients, what was heard, what is under way). One priority queue explores by cost: an
error that the code survives, a crash, a lost answer, a caller who does not wait, an expired key cost 1 each, everything else
nothing. So what is found first needs the fewest faults, and when the queue is empty the graph is *closed*: it speaks for any
number of crashes and retries.

What can happen next is in `steps`. What the code does after a local history and what an operation does to a world are asked of a
`Program`, which runs real code and keeps tables (`tables.Tables`), or is a dictionary in a test.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from troth.lab.model import DONE, GONE, State, Step
from troth.lab.program import Judging, Program
from troth.lab.steps import Edge, Limits, Moves


@dataclass
class Graph:
    """What the search has seen."""

    initial: State
    moves: Moves
    closed: bool = False
    states: int = 0
    steps: int = 0
    cost: int = 0
    """Everything cheaper than this was explored."""
    violations: dict[int, State] = field(default_factory=dict)
    first: float | None = None
    """Seconds until the first violation."""
    rested: bool = False
    """Whether there is a state in which everybody is at rest: elsewhere nothing is said of promises about it."""
    hurried: bool = False
    """The search ended early, because a promise was broken and the others had their time."""
    grown: set[str] = field(default_factory=set)
    excluded: bool = False
    classes: dict[tuple[str, int, str], tuple[State, int]] = field(default_factory=dict)
    """Per kind of edge (action, call, outcome): the first edge of this kind, by state and number."""
    parents: dict[State, tuple[State | None, int, int]] = field(default_factory=dict)
    """Per state: from where it was reached first, by which of the edges, at what cost."""

    def path(self, state: State) -> list[Step]:
        """The steps from the beginning to a state."""
        steps: list[Step] = []
        parent, number, _ = self.parents[state]
        while parent is not None:
            steps.append(self._edges(parent)[number][0])
            parent, number, _ = self.parents[parent]
        return steps[::-1]

    def representatives(self) -> Iterator[list[Step]]:
        """Few paths that together have an edge of every kind that the search has seen."""
        seen: set[tuple[str, int, str]] = set()
        for kind, (state, number) in sorted(
            self.classes.items(), key=lambda one: -sum(1 for _ in self.ancestors(one[1][0]))
        ):
            if kind not in seen:
                path = [*self.path(state), self._edges(state)[number][0]]
                for step in path:
                    call = self.moves.program.call(step.op) if step.op >= 0 else -1
                    seen.add((step.action, call, step.outcome.name if step.outcome else step.word))
                yield path

    def _edges(self, state: State) -> list[Edge]:
        return list(self.moves.of(state))

    def ancestors(self, state: State) -> Iterator[State]:
        """The state and those on the way to it, backwards."""
        at: State | None = state
        while at is not None:
            yield at
            at = self.parents[at][0]


def explore(
    program: Program,
    judge: Judging,
    start: State,
    limits: Limits,
    *,
    wanted: frozenset[int] | None = None,
    shortest: bool = False,
    progress: Callable[[Graph], None] | None = None,
    moves: Moves | None = None,
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
        moves: what can happen, if it is not everything.
    """
    promises = set(range(len(judge.promises)) if wanted is None else wanted)
    return _Search(program, judge, start, limits, promises, shortest=shortest, moves=moves).run(
        progress
    )


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
        moves: Moves | None,
    ) -> None:
        self._program = program
        self._judge = judge
        self._limits = limits
        self._open = promises
        self._direction = 1 if shortest else -1
        self._moves = moves or Moves(program, judge, limits)
        self._graph = Graph(start, self._moves, parents={start: (None, 0, 0)})
        self._queue: list[tuple[int, int, int, State]] = [(0, 0, 0, start)]
        self._expanded: set[State] = set()
        self._cut: set[State] = set()
        """Where the search does not go on: there is growth without end."""
        self._lively = any(judge.promises[one].kind == "eventually" for one in promises)
        self._calm: dict[State, list[State]] = {}
        """Edges without a fault, if anything is promised about where they lead."""
        self._one: dict[object, Any] = {}
        """Each of what states consist of once: there are many more states than attempts, and many more edges than states."""
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
            if self._program.excluded(state.world):
                graph.excluded = True
            elif state not in self._cut:
                self._expand(state, cost, abs(tie) + 1)
        else:
            graph.hurried = False
            graph.closed = not graph.grown and not graph.excluded
        self._check_liveness()
        return graph

    def _check(self, state: State, now: float) -> None:
        self._graph.rested = self._graph.rested or at_rest(state)
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
        calm = self._calm.setdefault(state, []) if self._lively else []
        for number, (step, found, more) in enumerate(self._moves.of(state)):
            after = self._one.setdefault(found, found) if self._lively else found
            graph.steps += 1
            call = self._program.call(step.op) if step.op >= 0 else -1
            name = step.outcome.name if step.outcome else step.word
            graph.classes.setdefault((step.action, call, name), (state, number))
            if more == 0 and self._lively:
                calm.append(after)
            known = graph.parents.get(after)
            if known is None or known[2] > cost + more:
                if known is None and not self._lively:
                    after = self._compact(after)
                graph.parents[after] = (state, number, cost + more)
                heappush(self._queue, (cost + more, self._direction * depth, graph.steps, after))
                if step.action in _ENDS and self._grows(after):
                    self._cut.add(after)

    def _compact(self, state: State) -> State:
        """The same, of parts that other states have, too."""
        once = self._one.setdefault
        attempts = once(state.attempts, state.attempts)
        if attempts is state.attempts:  # nobody has them yet
            attempts = tuple(once(one, one) for one in attempts)
            self._one[attempts] = attempts
        clients, folds = once(state.clients, state.clients), once(state.folds, state.folds)
        heard = once(state.heard, state.heard)
        return state._replace(attempts=attempts, clients=clients, folds=folds, heard=heard)

    def _grows(self, state: State) -> bool:
        """Whether on the way here, beside the same live attempts, some place in the world has become larger again and again."""
        later, times = state.world, Counter[str]()
        for earlier in self._graph.ancestors(state):
            alike = earlier.attempts == state.attempts and earlier.flying == state.flying
            if alike and (places := self._program.grown(earlier.world, later)):
                times.update(places)
                later = earlier.world
        endless = {place for place, count in times.items() if count >= self._limits.growth}
        self._graph.grown.update(endless)
        return bool(endless)

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
            stuck,
            key=lambda one: (parents[one][2], sum(1 for _ in self._graph.ancestors(one))),
            default=None,
        )

    def _good(self, promise: int, state: State) -> bool:
        if GONE in state.clients:  # who gave up was not promised anything
            return True
        if at_rest(state):
            return self._judge.holds(promise, state.world)
        return state not in self._calm  # nobody went on from here


_ENDS = {"end", "crash", "land", "start"}


def at_rest(state: State) -> bool:
    """Whether every caller has a final answer, nobody is at work and nothing is under way."""
    return state.quiet and all(client == DONE for client in state.clients)


def broken(judge: Judging, state: State, promises: set[int]) -> list[int]:
    """Which of the promises the state breaks by itself (`eventually` needs the whole graph)."""
    quiet, rest = state.quiet, at_rest(state)
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
