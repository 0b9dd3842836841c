"""Checks remedies: puts each into the model, searches again, and says whether the promise then holds, and what else breaks.

First in the smallest model in which the violation happens (one attempt at a time, if it needs no two), which closes at once; then, for what
holds there and as far as there is time, in the whole model.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from troth.lab.database import Database
from troth.lab.habits import Relearn
from troth.lab.model import LabError, Refused, State, Step
from troth.lab.promise import Judge
from troth.lab.search import Graph, explore
from troth.lab.show.document import Check, Result
from troth.lab.show.words import enough
from troth.lab.steps import Limits, Moves
from troth.lab.study.calm import reach
from troth.lab.study.consequences import Content, content
from troth.lab.study.evidence import Proposal
from troth.lab.study.varied import Change, Narrowed, Varied
from troth.lab.tables import Tables

_AFTERMATH = 0.3
"""Seconds in which, once a promise is broken under a change, others may show that they are, too."""
MOST = 5
"""Proposals that are checked for one promise."""
_SHARE = 3
"""A check in the smallest model may take so much of the time: 1/3."""

Way = tuple[tuple[Step, ...], tuple[State, ...]]
Offers = Callable[[Tables, int, Way], list[Proposal]]
"""What would help against a violation: the tables, the promise, and the way to it."""


@dataclass(frozen=True)
class Tried:
    """What became of the promises under a change."""

    tables: Varied
    ways: dict[int, Way]
    """How each promise that is broken is."""
    closed: bool
    states: int


class Checker:
    """Checks the proposals for one broken promise.

    Args:
        tables: what the search has filled.
        judge: the promises.
        start: the first state.
        limits: of the search that found the violation.
        broken: the promises that it found broken.
        offers: finds proposals for what breaks under a change.
        seconds: for all checks together.
    """

    def __init__(
        self,
        tables: Tables,
        judge: Judge,
        start: State,
        limits: Limits,
        broken: frozenset[int],
        offers: Offers,
        seconds: float,
    ) -> None:
        self._tables = tables
        self._judge = judge
        self._start = start
        self._limits = limits
        self._broken = broken
        self._offers = offers
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def checked(
        self, promise: int, steps: Sequence[Step], proposals: list[Proposal]
    ) -> list[Check]:
        """A check for each proposal. What is not enough alone is tried together with another."""
        small = smallest(self._limits, steps)
        checks: list[Check] = []
        for number, one in enumerate(proposals):
            if one.change is None:
                checks.append(Check("", "unchecked", one.why_not))
            elif number >= MOST:
                checks.append(Check("", "unchecked", "others fit the evidence better"))
            else:
                checks.append(self._small(promise, one, small, proposals))
        solved = next((n for n, one in enumerate(checks) if _solves(one)), None)
        whole = proposals[solved].change if solved is not None else None
        if solved is not None and whole is not None and small != self._limits:
            alone = not checks[solved].together_with
            if alone and self._left() > 0:
                checks[solved] = self._whole(promise, whole, checks[solved])
        return checks

    def _small(
        self, promise: int, proposal: Proposal, limits: Limits, others: list[Proposal]
    ) -> Check:
        change = proposal.change
        assert change is not None
        seconds = min(self._left(), self._seconds / _SHARE)
        if seconds <= 0:
            return Check("", "unchecked", "the time for it was over")
        try:
            tried = self._try(promise, change, limits, seconds)
            check = self._said(promise, change, tried, limits)
            return (
                check
                if _solves(check)
                else self._together(promise, proposal, limits, others, tried) or check
            )
        except (Refused, Relearn, LabError) as error:
            return Check("", "unchecked", f"{change.says}: {error}")

    def _together(
        self, promise: int, proposal: Proposal, limits: Limits, others: list[Proposal], tried: Tried
    ) -> Check | None:
        """A second change that mends what is still or newly broken under the first; None if none is found."""
        change = proposal.change
        assert change is not None
        mending = [
            offer
            for number, way in tried.ways.items()
            for offer in self._offers(tried.tables, number, way)
        ]
        told = {change.says}
        for other in (*mending, *others):
            seconds = min(self._left(), self._seconds / _SHARE)
            if other.change is None or other.change.says in told or seconds <= 0:
                continue
            told.add(other.change.says)
            both = self._try(promise, change.and_(other.change), limits, seconds)
            check = self._said(promise, change, both, limits, (other.change.says,))
            if _solves(check):
                return check
        return None

    def _whole(self, promise: int, change: Change, before: Check) -> Check:
        """The check in the whole model, if it says more than the one before."""
        try:
            tried = self._try(promise, change, self._limits, self._left())
        except (Refused, Relearn, LabError):
            return before
        check = self._said(promise, change, tried, self._limits)
        return before if check.result == "not broken" and not check.then_breaks else check

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _said(
        self,
        promise: int,
        change: Change,
        tried: Tried,
        limits: Limits,
        together: tuple[str, ...] = (),
    ) -> Check:
        newly = sorted(tried.ways.keys() - self._broken - {promise})
        titles = tuple(self._judge.promises[number].title for number in newly)
        result: Result = (
            "breaks" if promise in tried.ways else "holds" if tried.closed else "not broken"
        )
        why = _how(tried.ways[promise]) if promise in tried.ways else ""
        return Check(
            change.says, result, why, tried.states, _within(limits, change), together, titles
        )

    def _try(self, promise: int, change: Change, limits: Limits, seconds: float) -> Tried:
        tables = Varied(self._tables, change)
        limits = replace(limits, seconds=seconds, aftermath=_AFTERMATH, **change.limits)
        start = self._start
        for database, table, columns in change.unique:
            start = _constrain(tables, start, database, table, columns)
        moves = Narrowed(tables, self._judge, limits, change)
        wanted = frozenset(range(len(self._judge.promises))) - (self._broken - {promise})
        usual = Moves(self._tables, self._judge, limits)
        if self._ends(moves, start) != self._ends(usual, self._start):
            raise LabError("without any fault the work is not done any more")
        graph = explore(tables, self._judge, start, limits, wanted=wanted, moves=moves)
        ways = {number: _way(graph, state) for number, state in graph.violations.items()}
        return Tried(tables, ways, graph.closed, graph.states)

    def _ends(self, moves: Moves, start: State) -> Content | None:
        """What there is in the end if nothing fails."""
        rest = next(iter(reach(moves, start).rests()), None)
        return None if rest is None else content(self._tables, rest[0].world)


def smallest(limits: Limits, steps: Sequence[Step]) -> Limits:
    """The limits within which a history can still happen."""
    flying = any(step.action == "land" or (step.action == "crash" and step.told) for step in steps)
    survived = sum(step.outcome is not None and step.outcome.survived for step in steps)
    return replace(
        limits,
        overlap=min(limits.overlap, max((len(step.slots) for step in steps), default=1) or 1),
        in_flight=min(limits.in_flight, int(flying)),
        survived=min(limits.survived, max(survived, 1)),
        expiry=limits.expiry and any(step.action == "expire" for step in steps),
    )


def _solves(check: Check) -> bool:
    return check.result in {"holds", "not broken"} and not check.then_breaks


def _within(limits: Limits, change: Change) -> str:
    overlap = change.limits.get("overlap", limits.overlap)
    alive = "one attempt at a time" if overlap == 1 else f"at most {overlap} attempts alive at once"
    expiry = "" if change.limits.get("expiry", limits.expiry) else ", no key expires"
    flying = f"effects under way: {limits.in_flight}" if limits.in_flight else "nothing lands late"
    return f"{alive}, {flying}, errors survived per attempt: {limits.survived}{expiry}"


def _way(graph: Graph, state: State) -> Way:
    return tuple(graph.path(state)), tuple(graph.ancestors(state))[::-1]


def _how(way: Way) -> str:
    return enough(tuple(step.word for step in way[0] if step.cost)).rstrip(".").lower()


def _constrain(
    tables: Varied, start: State, database: str, table: str, columns: tuple[str, ...]
) -> State:
    """The beginning with a unique index.

    Raises:
        LabError: there cannot be one.
    """
    parts = list(tables.worlds[start.world])
    index = next(n for n, part in enumerate(tables.components) if part.name == database)
    part = tables.components[index]
    assert isinstance(part, Database)
    names = ", ".join(f'"{column}"' for column in columns)
    made = part.with_index(parts[index], f'CREATE UNIQUE INDEX lab_remedy ON "{table}" ({names})')
    parts[index] = made
    world = tables.worlds.rest(tables.worlds.add(tuple(parts)))
    return start._replace(world=world)
