"""Each class of remedies is proposed where its evidence is, and its check says what the model says."""

from __future__ import annotations

import pytest

from tests.lab.study.shops import CASES, example
from troth.lab import Lab
from troth.lab.show.document import Remedy
from troth.lab.study import rows, varied
from troth.lab.study.evidence import Proposal


def remedy(name: str, kind: str) -> Remedy:
    found = {one.kind: one for one in example(name).study.remedies}
    assert kind in found, found
    return found[kind]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("effect_inside_a_transaction", "missing key"),
        ("effect_inside_a_transaction", "call inside a transaction"),
        ("key_that_is_forgotten", "key too short-lived"),
        ("probe_is_no_fence", "a look is no fence"),
        ("memory_that_is_not_cleared", "warm memory"),
        ("lost_update", "lost update"),
        ("payment_without_a_unique_constraint", "check, then act"),
        ("payment_without_a_unique_constraint", "no constraint"),
        ("answer_before_durability", "answered too early"),
        ("claim_without_a_condition", "claim without a condition"),
        ("marked_before_it_was_done", "two commits for one thing"),
    ],
)
def test_a_remedy_that_helps_holds_in_the_model(name, kind):
    check = remedy(name, kind).check
    assert (check.result, check.then_breaks, check.together_with) == ("holds", (), ())
    assert check.states > 0
    assert check.within


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("swallowed_error", "swallowed error"),  # it swallows those of the database, too
        ("swallowed_error", "lost answer: nobody asks"),
    ],
)
def test_a_remedy_that_is_not_enough_says_how_it_still_breaks(name, kind):
    check = remedy(name, kind).check
    assert check.result == "breaks"
    assert check.why.endswith("enough")


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("publish_before_commit", "told before the commit", "in which order"),
        ("swallowed_error", "dual write", "has a key already"),
    ],
)
def test_what_cannot_be_checked_says_so(name, kind, why):
    check = remedy(name, kind).check
    assert check.result == "unchecked"
    assert why in check.why


def test_the_evidence_is_named_by_steps_and_places():
    found = remedy("lost_update", "lost update")
    steps = example("lost_update").lines
    assert found.confidence == "certain"
    assert [steps[number - 1].op.split()[0] for number in found.steps] == [
        "SELECT",
        "COMMIT",
        "UPDATE",
    ]
    assert {steps[number - 1].attempt for number in found.steps} == {1, 2}
    assert {site.function for site in found.sites} == {"spend"}


def test_a_remedy_that_breaks_another_promise_is_told_together_with_what_mends_it(lab: Lab):
    """One transaction alone would make the retry charge a second time; with a key it does not."""
    from examples.naive_signup.scenario import VERSIONS, describe

    lab = Lab("signup", closer=120)
    describe(lab, *VERSIONS["as usually written"])
    stuck = lab.explore(
        confirm=False, overlap=1, in_flight=0, expiry=False, survived=1
    ).counterexamples[-1]
    check = next(
        one for one in stuck.study.remedies if one.kind == "two commits for one thing"
    ).check
    assert check.result == "holds"
    assert check.applied == "as one transaction"
    assert [one.split(" for ")[0] for one in check.together_with] == ["with a stable key"]


def test_without_time_nothing_is_looked_at(lab: Lab):
    CASES["lost_update"].describe(lab)
    verdict = lab.explore(confirm=False)
    assert verdict.map is None
    assert verdict.counterexamples[0].study.remedies == ()


def test_a_check_that_there_is_no_time_for_says_so():
    lab = Lab("hurried", closer=1e-9)
    CASES["lost_update"].describe(lab)
    (found,) = lab.explore(confirm=False).counterexamples[0].study.remedies
    assert found.check.result == "unchecked"
    assert found.check.why == "the time for it was over"


def test_a_remedy_under_which_nothing_is_done_is_none():
    """To leave a commit to a next one that never comes would keep every promise."""
    lab = Lab("one commit", closer=60)
    CASES["lost_update"].describe(lab)
    real = rows.RULES

    def never(case):
        commit = next(one for one in case.events if one.commits)
        yield Proposal("never", "", "", "certain", (commit,), varied.as_one(commit.pending))

    try:
        rows.RULES = (never,)
        (example,) = lab.explore(confirm=False).counterexamples
    finally:
        rows.RULES = real
    tried = [one.check.why for one in example.study.remedies if one.kind == "never"]
    assert tried == ["as one transaction: without any fault the work is not done any more"]
