"""Breadth-first search through all states of a model."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple, Protocol, TypeVar

S = TypeVar("S")


class Violation(Exception):
    """A promise does not hold in some history."""


class Model(Protocol[S]):
    """What can be searched. States are hashable values."""

    def start(self) -> S:
        """The state in which every history begins."""

    def moves(self, s: S, /) -> Iterator[tuple[str, S, bool]]:
        """What may happen next: its name, what it leads to, and is it a fault. Raises `Violation`."""

    def goal(self, s: S, /) -> bool:
        """Has everything come to an end?"""


class Result(NamedTuple):
    """What the search found: *violation* is None when all histories keep all promises."""

    states: int
    violation: str | None
    trace: list[str]


def search(model: Model[S], limit: int = 400_000) -> Result:
    """All reachable states, breadth first. Raises `OverflowError` if there are more than *limit*.

    A state from which no continuation without further faults leads to a goal is the violation `stuck`.
    """
    start = model.start()
    index = {start: 0}
    states = [start]
    came: list[tuple[int, str]] = [(-1, "")]  # from which state, by which move
    into: list[list[int]] = [[]]  # from which states without a fault
    for at, state in enumerate(states):  # grows while it is walked
        try:
            for label, after, fault in model.moves(state):
                found = index.setdefault(after, len(states))
                if found == len(states):
                    if found > limit:
                        raise OverflowError(f"more than {limit} states")
                    states.append(after)
                    came.append((at, label))
                    into.append([])
                if not fault:
                    into[found].append(at)
        except Violation as violation:
            return Result(len(states), str(violation), _trace(came, at))
    hopeful = {at for at, state in enumerate(states) if model.goal(state)}
    todo = deque(hopeful)
    while todo:
        fresh = set(into[todo.popleft()]) - hopeful
        hopeful |= fresh
        todo.extend(fresh)
    stuck = next((at for at in range(len(states)) if at not in hopeful), None)
    return Result(
        len(states),
        None if stuck is None else "stuck",
        [] if stuck is None else _trace(came, stuck),
    )


def _trace(came: list[tuple[int, str]], at: int) -> list[str]:
    moves: list[str] = []
    while at:
        at, move = came[at]
        moves.append(move)
    return moves[::-1]
