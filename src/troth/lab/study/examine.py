"""Looks closer at what a search has found: needs, twin, assumptions, remedies of each broken promise, and the consequence map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from troth.lab.database import Database
from troth.lab.describe import Hidden, call, site
from troth.lab.habits import Relearn
from troth.lab.model import Refused, State, Step
from troth.lab.narrate import Narrator, attempts, collections
from troth.lab.promise import Judge
from troth.lab.provider import Provider
from troth.lab.show.compose import entries
from troth.lab.show.document import Check, Map, Need, Remedy, Site, Twin
from troth.lab.steps import Limits, Moves
from troth.lab.study.calm import reach
from troth.lab.study.consequences import Mapper
from troth.lab.study.evidence import Case, Proposal
from troth.lab.study.propose import proposals
from troth.lab.study.remedies import Checker, Way
from troth.lab.study.trace import Event, events
from troth.lab.study.twin import Fine, History, needs, twin
from troth.lab.tables import Tables
from troth.lab.verdict import Line, Study

_MEANWHILE = "what is delivered can come while others are at work"
_WORKERS = "two workers can be at work at the same time"
_ASSUMED = {
    "impatient caller": "a caller who stops waiting does not stop the attempt",
    "second caller": "two requests can be served at the same time",
    "second delivery": _MEANWHILE,
    "delivery meanwhile": _MEANWHILE,
    "second worker": _WORKERS,
    "worker meanwhile": _WORKERS,
    "message out of order": "what is delivered can come out of order",
    "repeated delivery": "what somebody is at work on can be given to somebody else, too",
    "lost delivery": "the provider can give an event up",
    "lost worker": "a process of a worker's pool can die alone",
}
"""What must be possible for a fault, by what it is counted as; of other faults nobody doubts it."""


@dataclass(frozen=True)
class Examined:
    """A broken promise, told and studied."""

    lines: tuple[Line, ...]
    study: Study


class Examiner:
    """Asks about the findings of one search.

    Args:
        tables: what the search has filled.
        judge: the promises.
        limits: of the search.
        start: its first state.
        broken: the promises that it found broken.
        hidden: names of fields whose values are not shown.
        seconds: for checks of remedies; 0: nothing is studied at all.
    """

    def __init__(
        self,
        tables: Tables,
        judge: Judge,
        limits: Limits,
        start: State,
        broken: frozenset[int],
        hidden: Hidden,
        seconds: float,
    ) -> None:
        self._tables = tables
        self._judge = judge
        self._limits = limits
        self._start = start
        self._broken = broken
        self._seconds = seconds
        self._moves = Moves(tables, judge, limits)
        self._hidden = hidden
        self._narrator = Narrator(tables, hidden)

    def map(self, accepted: frozenset[str]) -> Map | None:
        """The consequence map; None if nothing is to be studied."""
        if not self._seconds:
            return None
        try:
            mapper = Mapper(
                self._tables, self._judge, self._moves, accepted, self._seconds, self._hidden
            )
            return mapper.map(self._start)
        except (Refused, Relearn) as error:
            return Map(
                partial=f"there is no map: what a fault leads to cannot be followed: {error}"
            )

    def examine(self, promise: int, states: Sequence[State], steps: Sequence[Step]) -> Examined:
        """What can be said about a history that breaks a promise. `states` are those before the steps, and the last."""
        if not self._seconds:
            return Examined(self._narrator.lines(steps), Study())
        history = History(promise, tuple(steps), tuple(states[:-1]))
        found = events(self._tables, steps)
        fine = self._fine(history)
        case = self._case(self._tables, promise, found, states[-1], self._without(history, fine))
        offers = proposals(case)
        evidence = frozenset(one.number for offer in offers for one in offer.events)
        lines = self._narrator.lines(steps, evidence | _beside(found))
        numbers = {line.step: number for number, line in enumerate(lines, start=1)}
        try:
            wanted = self._needs(history, numbers)
        except (Refused, Relearn) as error:
            wanted = (Need(0, "", "unchecked", str(error)),)
        study = Study(
            wanted,
            None if fine is None else self._twin(history, fine, numbers),
            tuple(self._assumptions(steps)),
            self._remedies(promise, steps, offers, numbers),
            self._similar(offers),
        )
        return Examined(lines, study)

    def _needs(self, history: History, numbers: dict[int, int]) -> tuple[Need, ...]:
        return tuple(
            Need(numbers.get(one.step, 0), one.fault, one.result, one.why)
            for one in needs(self._tables, self._judge, self._moves, history)
        )

    def _fine(self, history: History) -> Fine | None:
        try:
            return twin(self._judge, self._moves, history)
        except (Refused, Relearn):
            return None

    def _without(self, history: History, fine: Fine | None) -> tuple[Event, ...]:
        if fine is None:
            return ()
        return events(self._tables, (*history.steps[: fine.position], *fine.steps))

    def _twin(self, history: History, fine: Fine, numbers: dict[int, int]) -> Twin:
        way = (*history.steps[: fine.position], *fine.steps)
        whose = attempts(way)[fine.position :]
        lines = self._narrator.lines(fine.steps, whose=whose)
        told = [
            f"{self._tables.actors[step.actor].call.label} is told {self._tables.answers[step.told - 1].status}"
            for step in way
            if step.action == "op" and step.told
        ]
        ending = f"{', '.join(dict.fromkeys(told)) or 'nobody is told anything'}, and every promise is kept"
        fault = history.steps[fine.position].word
        return Twin(numbers.get(fine.position, 0), f"the {fault}", entries(lines), ending)

    def _assumptions(self, steps: Sequence[Step]) -> list[str]:
        """What must be possible for the history to happen, beyond crashes and lost answers, which nobody can exclude."""
        found: list[str] = []
        for step in steps:
            if step.action == "expire":
                found += [
                    f"{part.name} forgets keys after {part.keys.lifetime}"
                    for part in self._tables.components
                    if isinstance(part, Provider) and part.keys and part.keys.lifetime
                ]
            elif step.action == "land":
                found.append(
                    f"{call(self._tables.ops[step.op], self._hidden)} can take effect after its caller gave up"
                )
            elif step.cost and step.word in _ASSUMED:
                found.append(_ASSUMED[step.word])
            elif step.action == "start" and step.memory:
                found.append("a process that has served one attempt serves the next")
        return list(dict.fromkeys(found))

    # ── remedies ────────────────────────────────────────────────────────────────────────────────

    def _offers(self, tables: Tables, promise: int, way: Way) -> list[Proposal]:
        steps, states = way
        history = History(promise, steps, states[:-1])
        fine = twin(self._judge, Moves(tables, self._judge, self._limits), history)
        twins = () if fine is None else (*steps[: fine.position], *fine.steps)
        found, without = events(tables, steps), events(tables, twins)
        return proposals(self._case(tables, promise, found, states[-1], without))

    def _case(
        self,
        tables: Tables,
        promise: int,
        found: tuple[Event, ...],
        last: State,
        without: tuple[Event, ...],
    ) -> Case:
        rows = {
            name: held
            for part, data in zip(tables.components, tables.worlds[last.world], strict=True)
            for name, held in collections(part, data).items()
        }
        providers = {part.name: part for part in tables.components if isinstance(part, Provider)}
        locking = any(
            part.has_row_locks for part in tables.components if isinstance(part, Database)
        )
        stuck = self._judge.promises[promise].kind == "eventually"
        told = self._told_later(tables, last) if stuck else frozenset[int]()
        return Case(found, providers, rows, without, stuck, told, locking)

    def _told_later(self, tables: Tables, last: State) -> frozenset[int]:
        try:
            reached = reach(Moves(tables, self._judge, self._limits), last)
        except (Refused, Relearn):
            return frozenset()
        steps = [parent[1] for parent in reached.parents.values() if parent is not None]
        told = {step.told for step in steps if step.action == "op" and step.told}
        return frozenset(self._tables.answers[one - 1].status for one in told)

    def _remedies(
        self,
        promise: int,
        steps: Sequence[Step],
        offers: list[Proposal],
        numbers: dict[int, int],
    ) -> tuple[Remedy, ...]:
        checker = Checker(
            self._tables,
            self._judge,
            self._start,
            self._limits,
            self._broken,
            self._offers,
            self._seconds / len(self._broken),
        )
        checks = checker.checked(promise, steps, offers)
        made = [
            self._remedy(one, check, numbers) for one, check in zip(offers, checks, strict=True)
        ]
        return tuple(sorted(made, key=lambda remedy: _worth(remedy.check)))

    def _remedy(self, offer: Proposal, check: Check, numbers: dict[int, int]) -> Remedy:
        sites = tuple(dict.fromkeys(found for one in offer.events if (found := site(one.site))))
        steps = tuple(
            sorted({numbers[one.number] for one in offer.events if one.number in numbers})
        )
        return Remedy(
            offer.kind, offer.advice, offer.because, offer.confidence, steps, sites, check
        )

    def _similar(self, offers: list[Proposal]) -> tuple[Site, ...]:
        """Other places that make a call without a key, if that is what is wrong here."""
        lacking = [one for one in offers if one.kind in {"missing key", "unstable key"}]
        known = {one.site for offer in lacking for one in offer.events}
        found: list[Site] = []
        for node in self._tables.nodes if lacking else ():
            op = None if node.op is None else self._tables.ops[node.op]
            part = None if op is None else self._tables.part(op)
            if (
                op is None
                or not isinstance(part, Provider)
                or part.reads_only(op)
                or node.site in known
            ):
                continue
            header = part.keys.header.lower() if part.keys else ""
            place = site(node.site)
            if place and header not in dict(op.params[1]):
                found.append(place)
        return tuple(dict.fromkeys(found))


def _beside(found: Sequence[Event]) -> frozenset[int]:
    """When an attempt begins beside another: what the other did last, so that one sees how far it had come."""
    numbers = set[int]()
    for start in found:
        if start.action == "start" and start.fault:
            last = {
                one.attempt: one.number
                for one in found
                if one.number < start.number and one.kind in {"sql", "http", "commit", "mail"}
            }
            numbers.update(last.values())
    return frozenset(numbers)


def _worth(check: Check) -> int:
    """The best first: what holds and breaks nothing else."""
    if check.result in {"holds", "not broken"}:
        return (
            (0 if check.result == "holds" else 1)
            + 2 * bool(check.then_breaks)
            + bool(check.together_with)
        )
    return 5 if check.result == "unchecked" else 6
