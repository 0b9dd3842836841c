"""Declarations that contradict themselves, and what sound ones allow. No database."""

from __future__ import annotations

from enum import StrEnum

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.machine.conftest import LEGAL, STATES, reachable, subscription
from troth.base.errors import UsageError
from troth.machine import Machine, Transition, rules


def machine(*transitions, final=("end",), initial="new", **more) -> Machine:
    return Machine("thing", initial=initial, final=final, transitions=transitions, **more)


GO = Transition("go", "new", "end")


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (lambda: machine(GO, final={"end", "gone"}), ["no state 'gone'"]),
        (lambda: machine(GO, states=["new", "fin"]), ["no state 'end'", "'fin'"]),
        (lambda: machine(GO, states=["new", "end", "odd"]), ["'odd'"]),
        (lambda: machine(GO, initial="start"), ["'start'"]),
        (lambda: machine(GO, Transition("back", "end", "new")), ["'end' is final", "'back'"]),
        (lambda: machine(GO, Transition("err", "new", "stuck")), ["'stuck'", "final"]),
        (lambda: machine(GO, final=()), ["'end'", "final"]),
        (lambda: machine(GO, Transition("x", "island", "end")), ["no way", "'island'"]),
        (lambda: machine(GO, Transition("go", "new", "new")), ["'go'", "'new' twice", "'end'"]),
        (lambda: machine(GO, Transition("go", ["new"], "end")), ["'new' twice"]),
        (lambda: machine(GO, Transition("go", [], "end")), ["'go'", "nowhere"]),
        (lambda: machine(GO, Transition("", "new", "end")), ["an event"]),
        (lambda: machine(GO, Transition("a\nb", "new", "end")), ["'a\\nb'"]),
        (lambda: machine(GO, Transition("x" * 61, "new", "end")), ["60"]),
        (lambda: machine(GO, Transition("x", "new", 3)), ["not 3"]),
        (machine, ["'new'"]),
    ],
)
def test_a_declaration_that_contradicts_itself_names_the_culprit(declare, said):
    with pytest.raises(UsageError) as caught:
        declare()
    message = str(caught.value)
    assert "'thing'" in message
    assert all(word in message for word in said), message


def test_states_and_events_may_be_enums():
    class Event(StrEnum):
        GO = "go"

    class State(StrEnum):
        NEW = "new"
        END = "end"

    made = Machine(
        "thing",
        initial=State.NEW,
        final={State.END},
        states=State,
        transitions=[Transition(Event.GO, State.NEW, State.END)],
    )
    assert made.declaration.moves == {"new": {"go": "end"}, "end": {}}
    names = [made.declaration.initial, *made.declaration.states, *made.declaration.events]
    assert {type(name) for name in names} == {str}
    assert made.mermaid() == machine(GO).mermaid()


def test_ways_of_the_sample():
    found = subscription().declaration
    assert found.moves == {
        state: {event: to for (one, event), to in LEGAL.items() if one == state} for state in STATES
    }
    for state in STATES:
        assert set(rules.ways_from(found, state)) == reachable(state)
        assert set(rules.ways_to(found, state)) == {s for s in STATES if state in reachable(s)}


names = st.sampled_from("abcdef")
tables = st.dictionaries(st.tuples(names, st.sampled_from("uvw")), names, min_size=1, max_size=12)


@given(tables)
def test_a_way_is_legal_and_none_is_shorter(table):
    states = {one for one, _ in table} | set(table.values())
    final = states - {one for one, _ in table}
    transitions = [Transition(event, one, to) for (one, event), to in table.items()]
    initial = next(one for one, _ in table)
    try:
        found = Machine("m", initial=initial, final=final, transitions=transitions).declaration
    except UsageError as error:
        assert "there is no way" in str(error)  # noqa: PT017
        assume(False)
        return
    for start in states:
        frontier, distance = {start}, {start: 0}
        while frontier := {to for (one, _), to in table.items() if one in frontier} - set(distance):
            distance |= dict.fromkeys(frontier, max(distance.values()) + 1)
        ways = rules.ways_from(found, start)
        assert {state: len(way) for state, way in ways.items()} == distance
        for end, way in ways.items():
            here = start
            for event in way:
                here = table[here, event]
            assert here == end
        for event in "uvw":
            early = any((state, event) in table for state in distance)
            assert rules.is_early(found, start, event) == early
