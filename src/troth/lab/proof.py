"""From a scenario to a verdict: make the first world, search, look again at what was found, and say what it is worth."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from troth.lab import assumed
from troth.lab.edge import escape, installed
from troth.lab.edge.attempt import escaped
from troth.lab.habits import Habits, Relearn
from troth.lab.memory import Memory
from troth.lab.model import NEW, Refused, State, Step
from troth.lab.narrate import Narrator
from troth.lab.parts import Issued
from troth.lab.prelude import beginning
from troth.lab.processes import Confirmed, Disagreement, Zygote, confirm
from troth.lab.promise import Judge
from troth.lab.request import Stage
from troth.lab.rerun import id_of, kept_steps
from troth.lab.reuse import Reuse, fingerprint_of
from troth.lab.scenario import Scenario
from troth.lab.search import Graph, explore
from troth.lab.show.asked import asked
from troth.lab.show.document import Numbers
from troth.lab.sqlite import Sqlite
from troth.lab.steps import Limits
from troth.lab.study.examine import Examiner
from troth.lab.tables import Tables
from troth.lab.trail import Trail
from troth.lab.verdict import Counterexample, Verdict, Word

if TYPE_CHECKING:
    from troth.lab.postgres import Postgres

Progress = Callable[[str], None]


def verdict(
    scenario: Scenario,
    limits: Limits,
    progress: Progress | None = None,
    *,
    confirm: bool = True,
    reuse: Reuse | None = None,
) -> Verdict:
    """Explore a scenario. What is learned about the code on the way may start the search again.

    Raises:
        LabError: the test is wrong, or one of its promises failed.
    """
    started = time.monotonic()
    habits = Habits()
    while True:
        try:
            return Proof(
                scenario, limits, habits, started, progress, confirm=confirm, reuse=reuse
            ).run()
        except Relearn as learned:
            habits = learned.habits


@dataclass(frozen=True)
class Finding:
    """A broken promise and the way to it."""

    promise: int
    steps: list[Step]
    states: list[State]
    """Before each step, and after the last."""

    @property
    def world(self) -> int:
        """The world in the end."""
        return self.states[-1].world


class Proof:
    """One search of one scenario."""

    def __init__(
        self,
        scenario: Scenario,
        limits: Limits,
        habits: Habits,
        started: float,
        progress: Progress | None,
        *,
        confirm: bool,
        reuse: Reuse | None = None,
    ) -> None:
        self._confirm = confirm
        self._reuse = reuse if confirm else None
        self._confirmed: Confirmed | None = None
        self._scenario = scenario
        self._limits = limits
        self._habits = habits
        self._started = started
        self._progress = progress
        self._tables: Tables | None = None
        self._graph: Graph | None = None
        self._compared_after = 0

    def run(self) -> Verdict:
        """The verdict."""
        scenario = self._scenario
        escaped.clear()
        for database in scenario.databases:
            database.ignored = scenario.ignoring("column")
        try:
            return self._explored()
        except Refused as refused:
            return self._nothing("REFUSED", str(refused))
        except Disagreement as different:
            return self._nothing("DISAGREED", f"a real process and the lab disagree: {different}")
        finally:
            for database in scenario.databases:
                database.close()

    def _nothing(self, word: Word, reason: str) -> Verdict:
        """A verdict that says nothing about the code."""
        scenario = self._scenario
        counts = self._counts()
        return Verdict(word, scenario.name, reason=reason, counts=counts, test=scenario.test)

    @contextmanager
    def ready(self) -> Iterator[tuple[Tables, Judge, State, Zygote | None]]:
        """The boundary is closed around the application, and the first world is made.

        Raises:
            Refused: the application cannot be followed even before the first request.
        """
        scenario = self._scenario
        if reason := escape.opened_before(
            [one.path for one in scenario.databases if isinstance(one, Sqlite)]
        ):
            raise Refused(reason)
        components = (*scenario.components(), *((Issued(),) if self._habits.derives else ()))
        boundary = installed(
            tuple(one for one in scenario.databases if isinstance(one, Sqlite)),
            tuple(
                cast("Postgres", one)
                for one in scenario.databases
                if one.by_driver and not isinstance(one, Sqlite)
            ),
            {provider.host: provider.name for provider in scenario.providers},
            scenario.mailbox.name if scenario.mailbox else None,
            scenario.redis.name if scenario.redis else None,
            tuple(scenario.ignoring("path")),
            tuple(scenario.queues),
        )
        with (
            boundary,
            self._processes() as zygote,
            Trail() if self._reuse is not None else nullcontext() as trail,
            Stage() as stage,
            beginning(components, scenario.migrations, scenario.apps(), stage) as parts,
        ):
            roots: dict[str, object] = {"os.environ": getattr(os.environ, "_data", {})}
            for number, actor in enumerate(scenario.actors, start=1):
                roots |= {f"{k} (user {number})": v for k, v in actor.call.roots().items()}
            tables = self._tables = Tables(
                components,
                scenario.bounds,
                tuple(scenario.actors),
                stage,
                Memory(roots, scenario.ignoring("memory")),
                scenario.hears,
                self._habits,
            )
            tables.trail = trail
            judge = Judge(tuple(scenario.promises), tables.worlds)
            first = tables.worlds.rest(tables.worlds.add(parts))
            clients = (NEW,) * len(scenario.actors)
            start = State(first, (), (), clients, frozenset(), judge.folds(first))
            yield tables, judge, start, zygote

    def _explored(self) -> Verdict:
        with self.ready() as (tables, judge, start, zygote):
            told = all(actor.call.asked() is not None for actor in self._scenario.actors)
            if self._reuse is None or not told:
                return self._found(tables, judge, start, zygote)
            fingerprint = fingerprint_of(self._scenario, self._limits, tables, start)
            known = self._reuse.find(self._scenario, self._limits, fingerprint)
            if known is not None:
                return known
            tables.recall = self._reuse.recall(self._scenario, tables)
            found = self._found(tables, judge, start, zygote)
            tables.recall.keep(tables)
            self._reuse.keep(self._scenario, fingerprint, found)
            return found

    def _found(self, tables: Tables, judge: Judge, start: State, zygote: Zygote | None) -> Verdict:
        graph = self._graph = explore(tables, judge, start, self._limits, progress=self._tell)
        findings = [self._shortest(tables, judge, graph, one) for one in sorted(graph.violations)]
        self._compared_after = tables.runs
        if reason := self._in_vain(tables):
            raise Refused(reason)
        suspects = [
            step.history for finding in findings for step in finding.steps if step.history >= 0
        ]
        enough = math.inf if graph.closed else self._limits.seconds / 10
        tables.confirm(suspects if findings else None, seconds=enough)
        if zygote is not None and (findings or not tuple(self._open(tables, graph))):
            self._confirmed = confirm(
                graph,
                tables,
                zygote,
                [finding.steps for finding in findings],
                closed=graph.closed,
            )
        return self._judged(tables, graph, findings)

    @contextmanager
    def _processes(self) -> Iterator[Zygote | None]:
        """Where real processes come from: made before the application runs for the first time."""
        if not self._confirm:
            yield None
            return
        zygote = Zygote(self._scenario)
        try:
            yield zygote
        finally:
            zygote.close()

    def _shortest(self, tables: Tables, judge: Judge, graph: Graph, promise: int) -> Finding:
        """The violation with the fewest faults, reached in the fewest steps. The tables are full, so this is cheap.

        It has the whole budget again: on a busy machine, another history would be shown otherwise.
        """
        if judge.promises[promise].kind != "eventually":
            wanted = frozenset({promise})
            again = explore(
                tables, judge, graph.initial, self._limits, wanted=wanted, shortest=True
            )
            graph = again if promise in again.violations else graph
        state = graph.violations[promise]
        return Finding(promise, graph.path(state), list(graph.ancestors(state))[::-1])

    def _tell(self, graph: Graph) -> None:
        if self._progress is not None:
            self._progress(
                f"{self._scenario.name}: {graph.states:,} states, {graph.steps:,} steps, "
                f"up to {graph.cost} faults"
            )

    def _in_vain(self, tables: Tables) -> str | None:
        """Promises about code that never gets anywhere are kept, and mean nothing."""
        answers = [tables.answers[number].status for number in range(len(tables.answers))]
        if not tables.failure or not answers or min(answers) < 500:
            return None
        return f"no attempt ever succeeds, even when nothing fails: {tables.failure}"

    # ── what it is worth ────────────────────────────────────────────────────────────────────────

    def _judged(self, tables: Tables, graph: Graph, findings: list[Finding]) -> Verdict:
        scenario = self._scenario
        broken = frozenset(finding.promise for finding in findings)
        counts = self._counts()
        examiner = Examiner(
            tables,
            Judge(tuple(scenario.promises), tables.worlds),
            self._limits,
            graph.initial,
            broken,
            frozenset(scenario.hidden),
            scenario.closer,
        )
        open_because = (
            *self._open(tables, graph),
            *((assumed.TOGETHER,) if self._shares_memory() else ()),
        )
        found = Verdict(
            "BOUNDED",
            scenario.name,
            model=tuple(assumed.model(self._scenario, self._limits, len(tables.memory))),
            unexplored=tuple(self._unexplored()),
            closed=graph.closed and not open_because,
            open_because=open_because,
            counterexamples=tuple(
                self._told(tables, graph, finding, examiner) for finding in findings
            ),
            kept=tuple(one for n, one in enumerate(scenario.promises) if n not in broken),
            accepted=tuple(f"{name}, because {why}" for name, _, why in scenario.accepted),
            warnings=tuple(self._stale(tables)) if graph.closed else (),
            counts=counts,
            asked=asked(scenario, self._limits, broken, closed=graph.closed and not open_because),
            map=examiner.map(frozenset(sink.name for _, sink, _ in scenario.accepted)),
            test=scenario.test,
            confirmed=self._confirmation(),
        )
        if found.failing:
            return msgspec.structs.replace(found, word="VIOLATED")
        if found.closed and self._confirmed is not None and not found.counterexamples:
            return msgspec.structs.replace(found, word="HOLDS")
        return found

    def _confirmation(self) -> str:
        if self._confirmed is None:
            return ""
        done = self._confirmed
        kinds = f" of {done.kinds} kinds of edges" if done.kinds else ""
        return f"{done.replays} histories{kinds} in real processes, {done.deaths} of which were killed; none differed"

    def _shares_memory(self) -> bool:
        """Whether attempts in one process could see each other's memory: then only separate processes were explored."""
        return (
            self._limits.overlap > 1
            and self._tables is not None
            and (len(self._tables.memory) > 1 or self._tables.remembers)
        )

    def _told(
        self, tables: Tables, graph: Graph, finding: Finding, examiner: Examiner
    ) -> Counterexample:
        promise = self._scenario.promises[finding.promise]
        narrator = Narrator(tables, frozenset(self._scenario.hidden))
        examined = examiner.examine(finding.promise, finding.states, finding.steps)
        schedule = kept_steps(finding.steps, tables)
        faults = [step for step in finding.steps if step.cost]
        return Counterexample(
            promise,
            tuple(step.word for step in faults),
            examined.lines,
            tuple(narrator.changes(graph.initial.world, finding.world)),
            stuck=promise.kind == "eventually",
            study=examined.study,
            schedule=schedule,
            id=id_of(self._scenario.name, promise.title, schedule),
        )

    def _open(self, tables: Tables, graph: Graph) -> Iterator[str]:
        """Why the graph is not closed."""
        if graph.grown:
            places = ", ".join(sorted(graph.grown))
            yield f"grows without end: {places}; paths are cut after {self._limits.growth} more each"
        if graph.excluded:
            for column, most in self._scenario.bounds.items():
                yield f"bounded by the test: {column} <= {most}"
        if graph.closed and not graph.rested and self._speaks_of_rest():
            yield "nobody ever comes to a rest, so what is promised of it was never tried"
        for one in sorted(tables.derived):
            yield f"a time or random value reaches the world in a form that cannot be recognised: {one}"
        if graph.closed or graph.grown or graph.excluded:
            return
        if graph.violations:
            yield "the search ended early, because a promise is broken"
        else:
            yield (
                f"the budget of {self._limits.seconds:g} s ended; "
                f"everything with fewer than {graph.cost} faults was explored"
            )

    def _speaks_of_rest(self) -> bool:
        return any(promise.kind == "at_rest" for promise in self._scenario.promises)

    def _unexplored(self) -> Iterator[str]:
        memory = self._shares_memory()
        yield from assumed.unexplored(self._scenario, self._limits, shares_memory=memory)
        if self._confirmed is None:
            yield assumed.UNCONFIRMED
        elif self._confirmed.left_out:
            yield f"deadlocks in real processes: {self._confirmed.left_out} histories with one were not carried out"

    def _stale(self, tables: Tables) -> Iterator[str]:
        """What was accepted but never happened, and what was promised of an answer that nobody ever got."""
        for promise in self._scenario.promises:
            answers = (tables.answers[number] for number in range(len(tables.answers)))
            if promise.kind == "told" and not any(promise.hears(one) for one in answers):
                yield f"nobody was ever told {promise.status}, so this was never tried: {promise.name}"
        names = [part.name for part in self._scenario.components()]
        for name, sink, _ in self._scenario.accepted:
            place = names.index(sink.name)
            if not any(sink.repeats(world[place]) for world in tables.worlds):
                yield f"accepted, but it never happened: {name}"

    def _counts(self) -> Numbers:
        tables, graph = self._tables, self._graph
        seconds = time.monotonic() - self._started
        if tables is None:
            return Numbers(seconds=seconds)
        runs = self._compared_after or tables.runs
        return Numbers(
            states=graph.states if graph else 0,
            steps=graph.steps if graph else 0,
            histories=len(tables.nodes),
            worlds=len(tables.worlds),
            runs=runs,
            repeated=tables.runs - runs,
            effects=tables.performed,
            first_s=graph.first if graph else None,
            seconds=seconds,
        )
