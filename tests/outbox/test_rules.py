"""What may be published, and what follows an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth import UsageError
from troth.outbox import Delivered, Refused, Terms, Unsettled
from troth.outbox.model import STANDARD_WEBHOOKS, TRANSITIONS, State
from troth.outbox.rules import after, require_publishable, require_types, wait_before

draws = st.floats(0, 1)
outcomes = st.one_of(
    st.builds(Delivered, st.text()),
    st.builds(Refused, st.text()),
    st.builds(
        Unsettled,
        st.text(),
        sent=st.booleans(),
        retry_after_s=st.none() | st.floats(0, 1e9),
        disable=st.none() | st.text(min_size=1),
    ),
)
terms = st.builds(
    Terms,
    forever=st.booleans(),
    delivery=st.sampled_from(["at_least_once", "at_most_once"]),
    schedule=st.sampled_from([STANDARD_WEBHOOKS, (0.0,), (0.0, 5.0)]),
)


@given(terms, st.integers(1, 30), outcomes, draws, st.booleans())
def test_what_follows_is_legal_and_is_never_a_repetition_that_was_forbidden(
    terms, tries, outcome, draw, to_endpoint
):
    then = after(terms, tries, outcome, draw, to_endpoint=to_endpoint)
    assert then.state in TRANSITIONS[State.PENDING] | {State.PENDING}
    assert (then.state == State.DELIVERED) == isinstance(outcome, Delivered) == then.works
    maybe_there = isinstance(outcome, Unsettled) and outcome.sent
    if terms.delivery == "at_most_once" and maybe_there:
        assert then.state == State.IN_DOUBT
    if terms.delivery == "at_least_once":
        assert then.state != State.IN_DOUBT
    if terms.forever and isinstance(outcome, Unsettled):
        assert then.state != State.DEAD
    assert 0 <= then.wait_s <= 86400 * 1.1


@given(draws)
def test_the_schedule_is_that_of_standard_webhooks_within_a_tenth(draw):
    waits = [wait_before(Terms(), number, draw) for number in range(1, 11)]
    assert waits == pytest.approx(STANDARD_WEBHOOKS, rel=0.1001)
    assert wait_before(Terms(), 11, draw) is None


def test_a_wish_to_be_left_alone_for_longer_is_kept_up_to_a_day():
    asked = [Unsettled("503", retry_after_s=seconds) for seconds in (0.5, 60, 10**9)]
    assert [after(Terms(), 1, each, 0.5).wait_s for each in asked] == [5, 60, 86400]


def test_every_state_but_dropped_leads_on():
    assert {state for state, to in TRANSITIONS.items() if not to} == {State.DROPPED}
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(
    ("kind", "key", "payload", "headers"),
    [
        ("", None, b"1", {}),
        ("in voice", None, b"1", {}),
        ("a\nb", None, b"1", {}),
        ("a", "", b"1", {}),
        ("a", "k\0", b"1", {}),
        ("a", "k" * 501, b"1", {}),
        ("a", None, b"1" * 101, {}),
        ("a", None, b"1", {"x y": "1"}),
        ("a", None, b"1", {"x": "1\r\nevil: 2"}),
        ("a", None, b"1", {"x": "é"}),
    ],
)
def test_what_no_destination_can_carry_is_refused(kind, key, payload, headers):
    with pytest.raises(UsageError):
        require_publishable(kind, key, payload, headers, 100)


@pytest.mark.parametrize("types", [[], "invoice.*", ["*.paid"], ["a*b"], [""], ["a b"]])
def test_patterns_that_nothing_can_match_are_refused(types):
    with pytest.raises(UsageError):
        require_types(types)
