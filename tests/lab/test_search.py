"""The search over a program that is a dictionary: no database, no code, only numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from troth.lab.faults import (
    ANSWERED,
    BLOCKED,
    LOST,
    RECEIVED,
    TIMEOUT_DONE,
    TIMEOUT_LATE,
    TIMEOUT_NOT,
    Outcome,
)
from troth.lab.model import NEW, Attempt, Branch, Next, State
from troth.lab.promise import Promise
from troth.lab.search import explore
from troth.lab.steps import Limits, Moves

OK, FAILED = 1, 2  # observations


@dataclass
class Toy:
    """Worlds are numbers of charges. The code charges, and again after a failure if it retries, then answers."""

    tries: int = 1
    keyed: bool = False
    most: int = 50
    histories: dict[tuple[int, ...], int] = field(default_factory=dict)
    keys: list[tuple[int, ...]] = field(default_factory=list)

    def _number(self, key: tuple[int, ...]) -> int:
        if key not in self.histories:
            self.histories[key] = len(self.keys)
            self.keys.append(key)
        return self.histories[key]

    def begin(self, actor: int, memory: int) -> int:
        return self._number(())

    def following(self, history: int, world: int, opened: int) -> Next:
        seen = self.keys[history]
        if len(seen) < self.tries and OK not in seen:
            return Next(op=0)
        answered = len(seen) > self.tries or (OK in seen and seen[-1] == 0)
        return Next(op=None) if answered else Next(op=1 if OK in seen else 2)

    def branches(
        self, world: int, opened: int, others: tuple[int, ...], op: int
    ) -> tuple[Branch, ...]:
        if op:
            return tuple(
                Branch(outcome, world, 0, 0, told=op if outcome is RECEIVED else 0)
                for outcome in (RECEIVED, LOST)
            )
        done = self.charged(world)
        return tuple(Branch(*one) for one in self._charge(world, done))

    def charged(self, world: int) -> int:
        return world if self.keyed and world else min(world + 1, self.most)

    def _charge(self, world: int, done: int) -> list[tuple[Outcome, int, int, int]]:
        return [
            (ANSWERED, done, 0, OK),
            (TIMEOUT_DONE, done, 0, FAILED),
            (TIMEOUT_NOT, world, 0, FAILED),
            (TIMEOUT_LATE, world, 0, FAILED),
        ]

    def after(self, history: int, branch: Branch) -> tuple[int, int, bool]:
        return self._number((*self.keys[history], branch.observation)), branch.opened, False

    def call(self, op: int) -> int:
        return op

    def final(self, actor: int, told: int) -> bool:
        return told == 1

    def hears(self, told: int) -> frozenset[int]:
        return frozenset()

    def local(self, op: int, opened: int) -> bool:
        return False

    def overlap(self, actor: int) -> int:
        return 2

    def canonical(self, state: State) -> State:
        return state

    def refreshed(self, state: State, op: int) -> State:
        return state

    def late(self, op: int) -> bool:
        return op == 0

    def land(self, world: int, op: int) -> int:
        return self.charged(world)

    def expiries(self, world: int) -> tuple[tuple[int, frozenset[int]], ...]:
        return ()

    def lapses(self, world: int) -> tuple[tuple[int, bool, frozenset[int]], ...]:
        return ()

    def grown(self, before: int, after: int) -> frozenset[str]:
        return frozenset({"charges"}) if after > before else frozenset()

    def excluded(self, world: int) -> bool:
        return False


class Judge:
    def __init__(self, *promises: Promise) -> None:
        self.promises = promises

    def holds(self, promise: int, world: int) -> bool:
        return bool(self.promises[promise].holds(world))

    def folds(self, world: int, previous: tuple[object, ...] | None = None) -> tuple[object, ...]:
        return ()

    def acceptable(self, promise: int, folds: tuple[object, ...]) -> bool:
        return True


def promise(kind, holds):
    return Promise(kind, "a promise", holds, "money")


START = State(0, (), (), (NEW,), frozenset(), ())
ALONE = {"overlap": 1, "in_flight": 0}
AT_MOST_ONE = promise("always", lambda charges: charges <= 1)


def faults(graph, state):
    return [step.word for step in graph.path(state) if step.cost]


def test_a_keyed_program_closes_for_any_number_of_faults():
    graph = explore(Toy(keyed=True), Judge(AT_MOST_ONE), START, Limits())
    assert graph.closed
    assert not graph.violations
    assert graph.cost > 1, "more than one fault was explored"


def test_one_fault_is_found_first():
    graph = explore(Toy(), Judge(AT_MOST_ONE), START, Limits())
    assert not graph.closed
    assert len(faults(graph, graph.violations[0])) == 1


def test_the_shortest_history_is_no_longer_than_the_first_found():
    first = explore(Toy(tries=3), Judge(AT_MOST_ONE), START, Limits())
    short = explore(Toy(tries=3), Judge(AT_MOST_ONE), START, Limits(), shortest=True)
    assert len(short.path(short.violations[0])) <= len(first.path(first.violations[0]))
    assert len(faults(short, short.violations[0])) == 1


def test_a_fault_that_persists_costs_once():
    """Three tries that all time out after the effect are one outage, and charge three times."""
    at_most_two = promise("always", lambda charges: charges <= 2)
    graph = explore(Toy(tries=3), Judge(at_most_two), START, Limits())
    assert len(faults(graph, graph.violations[0])) == 1


def test_a_fault_that_may_not_persist_does_not():
    at_most_two = promise("always", lambda charges: charges <= 2)
    graph = explore(Toy(tries=3), Judge(at_most_two), START, Limits(persists=1, **ALONE))
    assert len(faults(graph, graph.violations[0])) == 2


def test_without_survived_errors_an_attempt_meets_only_crashes():
    graph = explore(Toy(tries=3), Judge(AT_MOST_ONE), START, Limits(survived=0, **ALONE))
    assert set(faults(graph, graph.violations[0])) <= {"crash", "lost response"}


def test_a_process_can_die_before_every_operation():
    moves = Moves(Toy(tries=2), Judge(AT_MOST_ONE), Limits(**ALONE))
    frontier, died = [START], 0
    for _ in range(6):
        edges = [edge for state in frontier for edge in moves.of(state)]
        for state in frontier:
            mine = [step for step, _, _ in moves.of(state)]
            if any(step.action == "op" for step in mine):
                assert [step.cost for step in mine if step.action == "crash"] == [1]
                died += 1
        frontier = [after for _, after, _ in edges]
    assert died > 3


def test_growth_is_cut_and_opens_the_graph():
    """Nothing is promised about the number of charges, which grows with every crash."""
    graph = explore(Toy(), Judge(promise("always", lambda charges: charges >= 0)), START, Limits())
    assert graph.grown == {"charges"}
    assert not graph.closed


def test_a_finite_count_closes():
    toy = Toy(most=3)
    graph = explore(toy, Judge(promise("always", lambda charges: charges >= 0)), START, Limits())
    assert graph.closed
    assert not graph.grown


def test_eventually_is_broken_by_a_state_without_a_way_out():
    class Stuck(Toy):
        def branches(self, world, opened, others, op):
            return (
                super().branches(world, opened, others, op) if world == 0 or op else ()
            )  # the provider never answers again

        def following(self, history, world, opened):
            seen = self.keys[history]
            return Next(op=2) if world and not seen else super().following(history, world, opened)

    paid = promise("eventually", lambda charges: charges == 1)
    assert not explore(Toy(keyed=True), Judge(paid), START, Limits()).violations
    assert explore(Stuck(keyed=True), Judge(paid), START, Limits()).violations.keys() == {0}


def test_an_expired_budget_opens_the_graph_and_says_how_far_it_came():
    graph = explore(Toy(keyed=True), Judge(AT_MOST_ONE), START, Limits(seconds=0))
    assert not graph.closed
    assert not graph.violations


def test_at_rest_waits_for_the_callers_last_answer():
    """In between, one charge and no answer is no break."""
    seen_at_rest = promise("at_rest", lambda charges: charges == 1)
    graph = explore(Toy(keyed=True), Judge(seen_at_rest), START, Limits())
    assert graph.closed
    assert not graph.violations


def test_two_callers_race_without_a_fault_of_the_provider():
    """Checking before charging is enough for one attempt after the other, not for two beside each other."""

    class Asking(Toy):
        """Operation 3 asks whether there is a charge; who finds one does not charge."""

        def following(self, history, world, opened):
            seen = self.keys[history]
            if not seen:
                return Next(op=3)
            if seen[0] == 9:
                return Next(op=1) if len(seen) == 1 else Next(op=None)
            return Next(op=0) if len(seen) == 1 else Next(op=1) if len(seen) == 2 else Next(op=None)

        def branches(self, world, opened, others, op):
            if op == 3:
                return (Branch(ANSWERED, world, 0, 9 if world else 8),)
            if op == 0:
                return (Branch(ANSWERED, self.charged(world), 0, OK),)
            return super().branches(world, opened, others, op)

        def late(self, op):
            return False

    alone = explore(Asking(), Judge(AT_MOST_ONE), START, Limits(**ALONE))
    assert alone.closed
    assert not alone.violations
    both = explore(Asking(), Judge(AT_MOST_ONE), START, Limits(in_flight=0))
    assert faults(both, both.violations[0]) == ["impatient caller"]


def test_an_effect_that_is_under_way_lands_once_and_later():
    toy, judge = Toy(), Judge(AT_MOST_ONE)
    moves = Moves(toy, judge, Limits())
    flying = START._replace(flying=(0,))
    landings = [(step, after) for step, after, _ in moves.of(flying) if step.action == "land"]
    assert [after for _, after in landings] == [START._replace(world=1)]
    asked = Attempt(0, toy.begin(0, 0))
    late = [
        after
        for step, after, _ in moves.of(START._replace(attempts=(asked,)))
        if step.outcome is TIMEOUT_LATE
    ]
    assert [after.flying for after in late] == [(0,)]
    full = START._replace(attempts=(asked,), flying=(0,))
    assert all(step.outcome is not TIMEOUT_LATE for step, _, _ in moves.of(full))


def test_nothing_is_at_rest_while_an_effect_is_under_way():
    seen_at_rest = promise("at_rest", lambda charges: charges == 1)
    graph = explore(Toy(keyed=True), Judge(seen_at_rest), START, Limits())
    assert graph.closed
    assert not graph.violations


def test_who_waits_for_somebody_that_waits_for_it_is_told_so():
    """Two locks, taken in both orders: op 0 takes one, op 3 the other; an attempt holds what its `opened` says."""

    class Locks(Toy):
        def begin(self, actor, memory):
            return self._number((actor + 10,))

        def following(self, history, world, opened):
            seen = self.keys[history]
            first, second = (4, 5) if seen[0] == 10 else (5, 4)
            if len(seen) <= 2:
                return Next(op=(first, second)[len(seen) - 1])
            return Next(op=1 if seen[-1] in {OK, FAILED} else None)

        def branches(self, world, opened, others, op):
            if op in {4, 5}:
                bit = op - 3
                holders = frozenset(one for one in others if one & bit)
                if holders:
                    return (Branch(BLOCKED, world, opened, FAILED, blockers=holders),)
                return (Branch(ANSWERED, world, opened | bit, OK),)
            return (Branch(RECEIVED, world, 0, 0, told=1),)

        def call(self, op):
            return op

    toy = Locks()
    graph = explore(
        toy, Judge(promise("always", bool)), State(1, (), (), (NEW, NEW), frozenset(), ()), Limits()
    )
    assert graph.closed
    told = {
        step.outcome.name
        for state in graph.parents
        for step, _, _ in graph.moves.of(state)
        if step.outcome
    }
    assert "blocked" in told
    waiting = [
        state
        for state in graph.parents
        if len(state.attempts) == 2
        and {step.action for step, _, _ in graph.moves.of(state)} <= {"crash"}
    ]
    assert waiting == [], "nobody waits for ever"
