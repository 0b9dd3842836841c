"""Which faults a history needs, and its twin: the same without one of them, which is fine."""

from __future__ import annotations

from dataclasses import dataclass

from troth.lab.model import State, Step
from troth.lab.program import Judging, Program
from troth.lab.search import broken
from troth.lab.show.document import Need
from troth.lab.steps import Moves
from troth.lab.study.calm import Match, Place, Reached, first_broken, reach


@dataclass(frozen=True)
class History:
    """A way through the graph: each step with the state before it."""

    promise: int
    steps: tuple[Step, ...]
    before: tuple[State, ...]

    def faults(self) -> list[int]:
        """The positions of its faults."""
        return [number for number, step in enumerate(self.steps) if step.cost]


@dataclass(frozen=True)
class Fine:
    """The twin: without the fault at this position it goes on by these steps, and is fine."""

    position: int
    steps: tuple[Step, ...]


def needs(program: Program, judge: Judging, moves: Moves, history: History) -> list[Need]:
    """For each fault, whether the promise is still broken when all others may happen and this one may not."""
    found = []
    faults = history.faults()
    for position in faults:
        others = [_signature(program, history.steps[n]) for n in faults if n != position]
        reached = reach(moves, history.before[0], faults=_only(program, others))
        step = history.steps[position]
        if first_broken(judge, reached, {history.promise}):
            found.append(Need(position, step.word, "remains"))
        elif reached.whole:
            found.append(Need(position, step.word, "vanishes"))
        else:
            why = f"the search without it did not end within {len(reached.parents):,} states"
            found.append(Need(position, step.word, "unchecked", why))
    return found


def _signature(program: Program, step: Step) -> tuple[object, ...]:
    """By what a fault is recognised on another way through the graph."""
    call = program.call(step.op) if step.op >= 0 else -1
    return step.action, step.actor, call, step.outcome.name if step.outcome else "", step.word


def _only(program: Program, others: list[tuple[object, ...]]) -> Match:
    def match(step: Step, used: int) -> int | None:
        signature = _signature(program, step)
        for number, one in enumerate(others):
            if one == signature and not used >> number & 1:
                return used | 1 << number
        return None

    return match


def twin(judge: Judging, moves: Moves, history: History) -> Fine | None:
    """The history without its last fault that can be left out so that all promises are kept to the end."""
    every = set(range(len(judge.promises)))
    for position in reversed(history.faults()):
        reached = reach(moves, history.before[position])
        for place in reached.rests():
            steps = reached.path(place)
            if steps and is_fine(judge, reached, place, every):
                return Fine(position, tuple(steps))
    return None


def is_fine(judge: Judging, reached: Reached, rest: Place, promises: set[int]) -> bool:
    """Whether no promise is broken on the way, and those about the end are true there."""
    at: Place | None = rest
    while at is not None:
        if broken(judge, at[0], promises):
            return False
        parent = reached.parents[at]
        at = None if parent is None else parent[0]
    return all(
        judge.holds(number, rest[0].world)
        for number in promises
        if judge.promises[number].kind == "eventually"
    )
