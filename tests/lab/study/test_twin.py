"""Needs and twins: what is claimed of a history was tried."""

from __future__ import annotations

import pytest

from tests.lab.corpus.shop import ORDERS, charge, connect, order, paid
from tests.lab.study.shops import example
from troth.lab import Lab
from troth.lab.model import DONE, State, Step
from troth.lab.promise import Promise
from troth.lab.study import examine
from troth.lab.study.calm import Reached
from troth.lab.study.twin import History, is_fine


@pytest.mark.parametrize(
    "name", ["key_that_is_forgotten", "lost_update", "answer_before_durability"]
)
def test_every_fault_of_a_smallest_history_is_needed(name):
    found = example(name)
    assert len(found.study.needs) == len(found.faults) > 0
    for need in found.study.needs:
        assert need.result == "vanishes"
        assert found.lines[need.step - 1].word == need.fault


def test_of_what_begins_beside_another_one_sees_beside_what():
    lines = example("lost_update").lines
    second = next(number for number, line in enumerate(lines) if line.word == "second caller")
    assert lines[second - 1].op.startswith("UPDATE"), "it has written, and not committed yet"
    assert lines[second - 1].attempt != lines[second].attempt


def test_the_twin_is_the_same_without_one_fault_and_every_promise_is_kept():
    twin = example("lost_update").study.twin
    assert twin is not None
    assert twin.without == "the second caller"
    assert twin.ending == "spend is told 200, spend is told 409, and every promise is kept"
    assert twin.steps[-1].told.startswith("→ 409")


def test_a_history_without_a_fault_needs_none_and_has_no_twin():
    lab = Lab("always wrong", closer=1)
    lab.database("shop.db", seed=ORDERS)
    lab.user(lambda: order(connect()) and 200, overlap=1)
    lab.told(200, "there is no order", lambda w: not w.db.orders)
    (found,) = lab.explore(confirm=False, survived=1, in_flight=0, expiry=False).counterexamples
    assert found.faults == ()
    assert found.study.needs == ()
    assert found.study.twin is None


def buy_twice_in_doubt() -> int:
    """Charges again if it does not know; one crash is enough, and so is one lost answer."""
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"]))
    return 200


def test_a_fault_that_is_not_needed_is_found(monkeypatch):
    """The smallest history, and a crash before it that changes nothing."""
    lab = Lab("doubt", closer=60)
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(buy_twice_in_doubt, overlap=1)
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1)
    seen = []
    real = examine.needs

    def asked(program, judge, moves, history):
        """First with a crash and a new attempt put before it."""
        steps, before = [], []
        state = history.before[0]
        while not any(step.action == "crash" for step, *_ in moves.of(state)):
            step, after, _ = next(iter(moves.of(state)))
            steps.append(step)
            before.append(state)
            state = after
        crash, _, _ = next(edge for edge in moves.of(state) if edge[0].action == "crash")
        longer = (*steps, crash, *history.steps), (*before, state, *history.before)
        seen.extend(real(program, judge, moves, History(history.promise, *longer)))
        return real(program, judge, moves, history)

    monkeypatch.setattr(examine, "needs", asked)
    assert lab.explore(confirm=False, survived=1, in_flight=0, expiry=False).counterexamples
    assert [one.result for one in seen] == ["remains", "vanishes"]


def test_what_must_be_possible_is_said():
    assert example("key_that_is_forgotten").study.assumptions == (
        "stripe forgets keys after 1 day, 0:00:00",
    )
    assert example("lost_update").study.assumptions == (
        "two requests can be served at the same time",
    )
    assert example("answer_before_durability").study.assumptions == ()
    assert example("memory_that_is_not_cleared").study.assumptions == (
        "a process that has served one attempt serves the next",
    )


def test_a_way_on_which_a_promise_is_broken_is_no_twin():
    """In the end all is well, but it was not on the way."""

    class Judging:
        promises = (Promise("always", "never two", bool, "lost"),)
        bad = 1

        def holds(self, promise: int, world: int) -> bool:
            return world != self.bad

    worlds = [State(world, (), (), (DONE,), frozenset(), ()) for world in range(3)]
    places = [(state, 0) for state in worlds]
    step = Step("end")
    reached = Reached(
        places[0], {places[0]: None, places[1]: (places[0], step), places[2]: (places[1], step)}
    )
    assert not is_fine(Judging(), reached, places[2], {0})
    Judging.bad = 7
    assert is_fine(Judging(), reached, places[2], {0})
