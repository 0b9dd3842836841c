"""A run that fails or is cancelled leaves nothing behind, whatever dies on the way; and each decision is needed."""

from __future__ import annotations

import pytest

from tests.model.undo import Rules, Scenario, Undo
from tests.model.verdicts import assert_breaks, assert_holds

# Every history of the run in which these faults happen, in any order and at any moment.
SCENARIOS = [
    Scenario(crash=1, failure=1),
    Scenario(crash=1, cancel=2),
    Scenario(crash=1, silence=1, cancel=1),
    Scenario(expiry=1, failure=1, cancel=1),
    Scenario(deploy=1, failure=1, cancel=1),
    Scenario(refusal=2, resume=1, cancel=1),
    Scenario("keyed", "keyed", crash=1, silence=1, failure=1),
    Scenario("once", "once", crash=1, silence=1, failure=1),
    Scenario("repeatable", silence=2, failure=1),
    Scenario(scoped=True, failure=1, cancel=1, crash=1),
    Scenario("once", told=True, silence=1, failure=1, cancel=1),
    Scenario(pivot=True, silence=1, failure=1, cancel=1, crash=1),
    Scenario("keyed", "keyed", pivot=True, silence=1, cancel=2, crash=1),
    Scenario(pivot=True, refusal=1, cancel=1, expiry=1),
]
LARGE = [
    Scenario(crash=2, failure=1, cancel=2),
    Scenario(crash=1, silence=2, failure=1, cancel=1),
    Scenario(crash=1, expiry=1, refusal=2, resume=1, cancel=1),
    Scenario("keyed", "keyed", crash=1, silence=1, failure=1, cancel=1),
    Scenario("keyed", "once", expiry=1, silence=2, failure=1),
    Scenario("once", "keyed", crash=1, silence=2, cancel=2),
    Scenario("repeatable", crash=1, silence=2, cancel=1),
    Scenario(scoped=True, crash=1, silence=1, failure=1, cancel=2),
    Scenario("once", told=True, crash=1, silence=2, failure=1, cancel=1),
]

FAILURE = Scenario(failure=1)
CANCEL = Scenario(cancel=1)
HALF = "failed, and half of it stands"

# Rules that are switched off; where; what is then found; and a move that its shortest trace must contain.
MUTATIONS = [
    ("settles_first", FAILURE, HALF, "it is settled failed"),
    ("attempt_is_not_effect", Scenario("keyed", silence=1, failure=1), HALF, "a is withdrawn"),
    (
        "settles_every_attempt",
        Scenario("repeatable", silence=1, failure=1),
        "landed after its undo",
        "a is not answered in time",
    ),
    ("told_is_followed", Scenario("once", told=True, silence=1, failure=1), HALF, "is told that b"),
    ("nothing_new_begins", FAILURE, HALF, "the step fails"),
    (
        "settled_is_recorded",
        Scenario(deploy=1, failure=1),
        "succeeded, and half of it stands",
        "new code goes on",
    ),
    ("reversed", FAILURE, "undone out of order", "undo a is intended"),
    ("undone_once", Scenario(scoped=True, failure=1, cancel=1), "undone twice", "it is settled"),
    ("undo_is_an_effect", Scenario(silence=1, failure=1), "undone twice", "not answered in time"),
    ("undo_must_succeed", Scenario(refusal=1, failure=1), HALF, "undo a is answered: refused"),
    ("completion_hears_cancel", CANCEL, "accepted cancel ignored", "a cancel is left"),
    ("late_cancel_undoes", CANCEL, "cancelled, and half of it stands", "a cancel is left"),
    (
        "cancel_is_recorded",
        Scenario(crash=1, cancel=1),
        "accepted cancel ignored",
        "the owner dies",
    ),
    ("undo_is_deaf", Scenario(cancel=2), "cancelled, and half of it stands", "it is settled"),
    ("undo_goes_on", Scenario(cancel=2), "undone twice", "begins the undo again"),
    (
        "first_cause_counts",
        Scenario(failure=1, cancel=1),
        "called cancelled, and had failed",
        "heard during the undo",
    ),
    (
        "pivot_stops_undo",
        Scenario(pivot=True, failure=1),
        "undone past the point of no return",
        "b is answered: landed",
    ),
    (
        "pivot_holds_cancel",
        Scenario(pivot=True, cancel=1),
        "a person is asked, and nothing failed",
        "b is answered: landed",
    ),
]


def name(scenario: Scenario) -> str:
    flags = [key for key, value in scenario._asdict().items() if value and type(value) is not str]
    return "-".join((scenario.effects, scenario.undos, *flags))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_every_history_keeps_every_promise(scenario: Scenario) -> None:
    assert_holds(name(scenario), Undo(scenario), more_than=1000)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", LARGE, ids=name)
def test_every_history_of_the_large_scenarios(scenario: Scenario) -> None:
    assert_holds(name(scenario), Undo(scenario))


@pytest.mark.parametrize(
    ("rule", "scenario", "found", "move"),
    MUTATIONS,
    ids=lambda x: str(x) if isinstance(x, str) else "",
)
def test_without_the_rule_the_promise_breaks(
    rule: str, scenario: Scenario, found: str, move: str
) -> None:
    assert_breaks(Undo(scenario, Rules(**{rule: False})), found, move)


def test_every_rule_is_tried() -> None:
    assert {case[0] for case in MUTATIONS} == set(Rules.__dataclass_fields__)
