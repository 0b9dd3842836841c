"""What can happen from a state on, when nothing fails any more, or when only some given faults do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from troth.lab.model import GONE, State, Step
from troth.lab.program import Judging
from troth.lab.search import at_rest, broken
from troth.lab.steps import Moves

MOST = 3_000
"""States that are followed from one place."""

Place = tuple[State, int]
"""A state, and which of the given faults were used up on the way (a bit each)."""
Match = Callable[[Step, int], int | None]
"""The bits after a fault; None if it must not happen."""


@dataclass
class Reached:
    """What can be reached."""

    begin: Place
    parents: dict[Place, tuple[Place, Step] | None] = field(default_factory=dict)
    after: dict[Place, list[Place]] = field(default_factory=dict)
    """Edges without a fault."""
    whole: bool = True
    """Everything was followed."""

    def path(self, place: Place) -> list[Step]:
        """The steps to a place."""
        steps = []
        parent = self.parents[place]
        while parent is not None:
            place, step = parent
            steps.append(step)
            parent = self.parents[place]
        return steps[::-1]

    def rests(self) -> list[Place]:
        """Where everybody has a final answer, the nearest first."""
        return [place for place in self.parents if at_rest(place[0])]


def _calm(step: Step, used: int) -> int | None:
    del step, used
    return None


def reach(moves: Moves, start: State, *, faults: Match = _calm, most: int = MOST) -> Reached:
    """Everything that can happen from here on without faults, or with those that `faults` admits."""
    begin: Place = (start, 0)
    found = Reached(begin, {begin: None})
    frontier = deque([begin])
    while frontier:
        place = frontier.popleft()
        state, used = place
        calm = found.after.setdefault(place, [])
        for step, state_after, cost in moves.of(state):
            bits = used if cost == 0 else faults(step, used)
            if bits is None:
                continue
            after = (state_after, bits)
            if cost == 0:
                calm.append(after)
            if after not in found.parents:
                if len(found.parents) >= most:
                    found.whole = False
                    return found
                found.parents[after] = (place, step)
                frontier.append(after)
    return found


def first_broken(judge: Judging, reached: Reached, promises: set[int]) -> dict[int, Place]:
    """Where each promise is first broken; those that are not are missing."""
    left, found = set(promises), dict[int, Place]()
    for place in reached.parents:
        for promise in broken(judge, place[0], left):
            found[promise] = place
            left.discard(promise)
    if reached.whole:
        for promise in sorted(left):
            if judge.promises[promise].kind == "eventually":
                stuck = _stuck(judge, reached, promise)
                if stuck is not None:
                    found[promise] = stuck
    return found


def _stuck(judge: Judging, reached: Reached, promise: int) -> Place | None:
    """A place from which, without faults, no rest is reached in which the promise is true."""
    backward: dict[Place, list[Place]] = {}
    for place, after in reached.after.items():
        for one in after:
            backward.setdefault(one, []).append(place)
    good = {place for place in reached.parents if _good(judge, promise, place[0])}
    frontier = list(good)
    while frontier:
        for before in backward.get(frontier.pop(), ()):
            if before not in good:
                good.add(before)
                frontier.append(before)
    return next((place for place in reached.parents if place not in good), None)


def _good(judge: Judging, promise: int, state: State) -> bool:
    return GONE in state.clients or (at_rest(state) and judge.holds(promise, state.world))
