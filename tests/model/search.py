"""Breadth-first search through all states of the modelled protocol."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from tests.model.parts import Rules, Scenario, Violation, initial
from tests.model.protocol import Protocol


class Result(NamedTuple):
    """What the search found: *violation* is None when all histories keep all promises."""

    states: int
    violation: str | None
    trace: list[str]


def search(scenario: Scenario, rules: Rules = Rules(), limit: int = 400_000) -> Result:  # noqa: B008  (frozen)
    """All reachable states, breadth first. Raises `OverflowError` if there are more than *limit*."""
    protocol = Protocol(scenario, rules)
    start = protocol.begun(initial(scenario))
    index = {start: 0}
    states = [start]
    came: list[tuple[int, str]] = [(-1, "")]  # from which state, by which move
    into: list[list[int]] = [[]]  # from which states without a fault
    for at, state in enumerate(states):  # grows while it is walked
        try:
            for label, after, fault in protocol.moves(state):
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
    hopeful = {at for at, state in enumerate(states) if protocol.goal(state)}
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
