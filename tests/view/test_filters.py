"""One definition of a filter: what a URL says, what a command is told, what a page is given."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth.base.errors import UsageError
from troth.inbox.model import State as EventState
from troth.journal.model import Reason, RunState
from troth.outbox.model import State as DeliveryState
from troth.view.attention import AttentionFilter
from troth.view.decisions import DecisionFilter, Verdict
from troth.view.filters import Criteria, Since
from troth.view.inbox import InboxFilter
from troth.view.outbox import EndpointFilter, OutboxFilter
from troth.view.requests import RequestFilter
from troth.view.runs import RunFilter

KINDS = (
    AttentionFilter,
    DecisionFilter,
    EndpointFilter,
    InboxFilter,
    OutboxFilter,
    RequestFilter,
    RunFilter,
)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
words = st.text(min_size=1).map(str.strip).filter(bool)
values = {
    "frozenset[RunState]": st.frozensets(st.sampled_from(RunState)),
    "frozenset[Reason]": st.frozensets(st.sampled_from(Reason)),
    "str | None": st.none() | words,
    "int | None": st.none() | st.integers(),
    "UUID | None": st.none() | st.uuids(),
    "bool": st.booleans(),
    "Since": st.sampled_from([Since(), Since("2h"), Since("2026-11-24T08:00")]),
    "Verdict | None": st.none() | st.sampled_from(Verdict),
}


def some(kind: type[Criteria]) -> st.SearchStrategy[Criteria]:
    states = st.frozensets(st.sampled_from(EventState if kind is InboxFilter else DeliveryState))
    known = {**values, "frozenset[State]": states}
    return st.builds(kind, **{each.name: known[str(each.type)] for each in fields(kind)})


@given(st.sampled_from(KINDS).flatmap(some))
def test_a_filter_comes_back_from_its_url(which: Criteria) -> None:
    assert type(which).from_query(which.to_query()) == which
    assert which.is_empty() == (which == type(which)())


def test_what_a_url_says() -> None:
    which = RequestFilter.from_query(
        [("key", " k1 "), ("status", "409"), ("unanswered", "true"), ("page", "7"), ("name", "")]
    )
    assert which == RequestFilter(key="k1", status=409, unanswered=True)
    assert which.to_query() == [("key", "k1"), ("status", "409"), ("unanswered", "true")]


def test_what_a_command_is_told() -> None:
    which = AttentionFilter(frozenset({Reason.IN_DOUBT, Reason.BUG}), owner="ada", unclaimed=True)
    assert which.to_flags() == [
        "--reason", "bug", "--reason", "in_doubt", "--owner", "ada", "--unclaimed",
    ]  # fmt: skip
    assert OutboxFilter(message=UUID(int=7)).to_flags() == [
        "--message", "00000000-0000-0000-0000-000000000007",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "word", "text", "says"),
    [
        (RunFilter, "state", "gone", "state is 'gone': it must be one of ready, running"),
        (RequestFilter, "status", "ok", "status is 'ok': it must be a whole number"),
        (OutboxFilter, "endpoint", "x", "endpoint is 'x': it must be an id"),
        (AttentionFilter, "unclaimed", "yes", "unclaimed is 'yes': it must be true or false"),
        (DecisionFilter, "since", "soon", "since: 'soon' is not a time"),
    ],
)
def test_what_cannot_be_is_refused(kind, word, text, says) -> None:
    with pytest.raises(UsageError, match=says):
        kind.from_query([(word, text)])


def test_how_long_ago_stays_true_tomorrow() -> None:
    assert Since("2h").at(NOW) == datetime(2026, 11, 30, 10, tzinfo=UTC)
    assert str(Since("2h")) == "2h"
    assert not Since()
    assert Since().at(NOW).year == 1970
