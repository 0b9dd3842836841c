"""The decisions, as functions of data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from troth.base.backoff import Retry
from troth.inbox import rules
from troth.inbox.model import Claimed, Event, Handler, State

EVENT = Event(
    "s",
    "e",
    "a.b.c",
    "o",
    datetime(2026, 1, 1, tzinfo=UTC),
    None,
    b"{}",
    {},
    datetime(2026, 1, 1, tzinfo=UTC),
    "webhook",
)
DAY = 86400.0


def claimed(failures: int = 0, parks: int = 0, parked_s: float | None = None) -> Claimed:
    return Claimed(EVENT, failures, parks, parked_s, overtaken=False)


def test_the_handler_that_says_most_is_meant() -> None:
    async def function(*_: object) -> None: ...

    made = {name: Handler(function, (), True, Retry()) for name in ("a.b.c", "a.*", "a.b.*", "*")}
    for kind, name in {"a.b.c": "a.b.c", "a.b.d": "a.b.*", "a.x": "a.*", "z": "*"}.items():
        assert rules.handler_of(made, kind) is made[name]
    assert rules.handler_of({"a.*": made["a.*"]}, "b.a") is None
    assert rules.handler_of({"[ab]": made["*"]}, "a") is None  # only * is a pattern


@given(st.integers(0, 20), st.integers(0, 20), st.none() | st.floats(0, 10 * DAY))
def test_every_verdict_is_a_legal_transition(
    failures: int, parks: int, parked_s: float | None
) -> None:
    it = claimed(failures, parks, parked_s)
    verdicts = [
        rules.applied(it, blocks=True), rules.superseded(it, "x"), rules.ignored(it),
        rules.came_early(it, "x", Retry(), 3 * DAY), rules.failed(it, "x", Retry(), blocks=True),
    ]  # fmt: skip
    for verdict in verdicts:
        for state in (State.RECEIVED, State.PARKED):
            assert verdict.state in rules.BY_WORKERS[state]
        assert verdict.wait_s >= 0


def test_failing_is_tried_again_and_ends() -> None:
    retry = Retry(attempts=3, first=timedelta(seconds=8))
    assert rules.failed(claimed(0), "x", retry, blocks=True).state is State.RECEIVED
    assert 4 <= rules.failed(claimed(0), "x", retry, blocks=True).wait_s <= 8
    last = rules.failed(claimed(2), "x", retry, blocks=False)
    assert (last.state, last.failures, last.blocks) == (State.QUARANTINED, 3, False)


def test_being_early_ends_by_age_and_never_blocks() -> None:
    parking = Retry(first=timedelta(seconds=10), longest=timedelta(hours=1))
    first = rules.came_early(claimed(), "x", parking, 3 * DAY)
    assert (first.state, first.parks, first.blocks) == (State.PARKED, 1, False)
    near = rules.came_early(claimed(parks=50, parked_s=3 * DAY - 60), "x", parking, 3 * DAY)
    assert near.state is State.PARKED
    assert near.wait_s <= 60
    late = rules.came_early(claimed(parks=51, parked_s=3 * DAY), "x", parking, 3 * DAY)
    assert (late.state, late.blocks) == (State.QUARANTINED, False)


def test_reasons_can_be_stored() -> None:
    assert rules.cut("a\0b\ud800") == "a\ufffdb?"
    assert len(rules.cut("x" * 100_000)) == rules.REASON_LIMIT


def test_a_sweep_begins_behind_what_is_older_than_the_overlap() -> None:
    trail = ((100.0, "a"), (200.0, "b"), (290.0, "c"))
    assert rules.begin_at(trail, 300.0, 50.0) == "b"
    assert rules.begin_at(trail, 300.0, 0.0) == "c"
    assert rules.begin_at(trail, 300.0, 250.0) is None
    assert rules.begin_at((), 300.0, 0.0) is None


@given(
    st.lists(st.tuples(st.floats(0, 10_000), st.integers(0, 1000)), max_size=300),
    st.floats(0, 2000),
)
def test_a_trail_never_begins_later_than_the_overlap_allows(
    pages: list[tuple[float, int]], overlap: float
) -> None:
    """The place to begin lies before every event that is younger than the overlap, however many pages there were."""
    trail: rules.Trail = ()
    newest: dict[str, float] = {}
    now = highest = 0.0
    for number, (made, later) in enumerate(sorted(pages)):
        now = max(now, made) + later
        highest = max(highest, made)
        newest[str(number)] = highest
        trail = rules.extend(trail, str(number), [made], now, overlap)
        begin = rules.begin_at(trail, now, overlap)
        assert begin is None or newest[begin] <= now - overlap
        assert len(trail) <= rules.TRAIL_LIMIT + 1
        assert [at for at, _ in trail] == sorted(at for at, _ in trail)


def test_a_page_without_events_changes_nothing() -> None:
    assert rules.extend(((1.0, "a"),), "b", [], 5.0, 1.0) == ((1.0, "a"),)
    assert rules.extend(((1.0, "a"),), None, [2.0], 5.0, 1.0) == ((1.0, "a"),)
