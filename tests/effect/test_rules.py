"""What may be done about an effect: every combination of what can be recorded, against the promise."""

from __future__ import annotations

import itertools
import socket
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth import Provider, UsageError
from troth.effect.model import MARGIN_S, EffectRules, Outcome
from troth.effect.rules import History, Move, may_repeat, next_move, outcome_of
from troth.workflow.definition import effect_rules

NOW = 1_000_000.0
TIMEOUT_S = 10.0
HOUR = timedelta(hours=1)
LIFETIME_S = 3600.0
KEY_MARGIN_S = 60.0
LAST_USE_S = LIFETIME_S - KEY_MARGIN_S - TIMEOUT_S - MARGIN_S  # after the first intent

DEDUPES = Provider("dedupes", key_lifetime=HOUR)
FORGETS = Provider("forgets")

RULES = {
    "dedupes": EffectRules(DEDUPES, None, TIMEOUT_S),
    "dedupes, at most once": EffectRules(DEDUPES, "at_most_once", TIMEOUT_S),
    "forgets, at most once": EffectRules(FORGETS, "at_most_once", TIMEOUT_S),
    "at most once": EffectRules(None, "at_most_once", TIMEOUT_S),
    "at least once": EffectRules(None, "at_least_once", TIMEOUT_S),
    "forgets, at least once": EffectRules(FORGETS, "at_least_once", TIMEOUT_S),
}
REPEATABLE = {
    "dedupes": True,
    "dedupes, at most once": True,  # the second call is the same request to this provider
    "forgets, at most once": False,
    "at most once": False,
    "at least once": True,
    "forgets, at least once": True,
}
OUTCOMES = (None, Outcome.NOT_DONE, Outcome.UNKNOWN)
DUES = {"none": None, "past": NOW - 1, "now": NOW, "later": NOW + 1}


def expected(
    *, last: Outcome | None, unknown: bool, due: str, exhausted: bool, repeatable: bool
) -> Move:
    """The whole table, in words of its own: one row per line, the first that fits."""
    rows: list[tuple[bool, Move]] = [
        (last is None, Move.WAIT_OUT),
        (unknown and not repeatable, Move.DOUBT),
        (unknown and exhausted, Move.DOUBT),
        (not unknown and exhausted, Move.GIVE_UP),
        (due == "later", Move.WAIT),
        (True, Move.SEND),
    ]
    return next(move for fits, move in rows if fits)


@pytest.mark.parametrize("name", RULES)
def test_the_whole_table(name: str) -> None:
    for last, unknown, due, exhausted in itertools.product(
        OUTCOMES, (False, True), DUES, (False, True)
    ):
        history = History(
            attempts=1,
            first_sent_s=NOW - 5,
            last_outcome=last,
            unknown=unknown,
            due_s=DUES[due],
            exhausted=exhausted,
        )
        assert next_move(RULES[name], history, NOW) is expected(
            last=last, unknown=unknown, due=due, exhausted=exhausted, repeatable=REPEATABLE[name]
        ), history


@pytest.mark.parametrize("name", RULES)
def test_what_was_never_intended_is_sent(name: str) -> None:
    assert next_move(RULES[name], History(), NOW) is Move.SEND


@pytest.mark.parametrize(
    ("age_s", "move"),
    [
        (0.0, Move.SEND),
        (LAST_USE_S - 0.001, Move.SEND),
        (LAST_USE_S, Move.DOUBT),
        (LIFETIME_S, Move.DOUBT),
        (LIFETIME_S * 10, Move.DOUBT),
    ],
)
def test_a_key_is_used_until_a_repeat_could_meet_its_end(age_s: float, move: Move) -> None:
    history = History(2, NOW - age_s, Outcome.UNKNOWN, unknown=True)
    assert next_move(RULES["dedupes"], history, NOW) is move


def test_what_provably_did_not_happen_is_sent_again_even_with_an_old_key() -> None:
    history = History(2, NOW - LIFETIME_S * 10, Outcome.NOT_DONE)
    assert next_move(RULES["dedupes"], history, NOW) is Move.SEND


def test_a_short_lifetime_keeps_a_quarter_as_margin() -> None:
    rules = EffectRules(Provider("p", key_lifetime=timedelta(seconds=100)), None, TIMEOUT_S)
    assert may_repeat(rules, first_sent_s=0.0, now_s=63.9)
    assert not may_repeat(rules, first_sent_s=0.0, now_s=64.0)


# ── properties ──────────────────────────────────────────────────────────────────────────────────

providers = st.none() | st.builds(
    Provider,
    st.just("p"),
    key_lifetime=st.none()
    | st.timedeltas(timedelta(minutes=1, microseconds=1), timedelta(days=60)),
)
rules_ = st.builds(
    EffectRules,
    providers,
    st.sampled_from([None, "at_most_once", "at_least_once"]),
    st.floats(0.01, 600),
)
times = st.floats(0, 100) | st.floats(0, 10_000_000)
histories = st.builds(
    History,
    attempts=st.integers(1, 100),
    first_sent_s=times,
    last_outcome=st.sampled_from(OUTCOMES),
    unknown=st.booleans(),
    due_s=st.none() | times,
    exhausted=st.booleans(),
)


@given(rules_, histories, times)
def test_unknown_is_never_sent_when_it_may_not_be_repeated(
    rules: EffectRules, history: History, now_s: float
) -> None:
    assert history.first_sent_s is not None
    if history.unknown and not may_repeat(rules, first_sent_s=history.first_sent_s, now_s=now_s):
        assert next_move(rules, history, now_s) in {Move.DOUBT, Move.WAIT_OUT}


@given(rules_, histories, times)
def test_a_key_is_never_used_later_than_its_lifetime_allows(
    rules: EffectRules, history: History, now_s: float
) -> None:
    lifetime_s = rules.key_lifetime_s
    assert history.first_sent_s is not None
    if history.unknown and lifetime_s and next_move(rules, history, now_s) is Move.SEND:
        latest_arrival_s = now_s + rules.timeout_s + MARGIN_S
        assert latest_arrival_s < history.first_sent_s + lifetime_s - min(60, lifetime_s / 4)


@given(rules_, histories, times)
def test_nothing_is_sent_before_it_is_due_or_after_the_last_attempt_or_while_one_may_be_in_flight(
    rules: EffectRules, history: History, now_s: float
) -> None:
    if next_move(rules, history, now_s) is Move.SEND:
        assert history.due_s is None or history.due_s <= now_s
        assert not history.exhausted
        assert history.last_outcome is not None


@given(rules_, histories, times, times)
def test_doubt_does_not_go_away_by_waiting(
    rules: EffectRules, history: History, now_s: float, later_s: float
) -> None:
    if next_move(rules, history, now_s) is Move.DOUBT:
        assert next_move(rules, history, now_s + later_s) is Move.DOUBT


@given(rules_)
def test_a_lost_attempt_is_waited_out_for_as_long_as_it_can_be_on_its_way(
    rules: EffectRules,
) -> None:
    assert rules.in_flight_s >= rules.timeout_s + MARGIN_S


# ── what an exception says ──────────────────────────────────────────────────────────────────────


def raised(error: BaseException, *, cause: BaseException | None = None) -> BaseException:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError(), Outcome.NOT_DONE),
        (socket.gaierror(), Outcome.NOT_DONE),
        (raised(RuntimeError(), cause=ConnectionRefusedError()), Outcome.NOT_DONE),
        (raised(OSError(), cause=raised(ValueError(), cause=socket.gaierror())), Outcome.NOT_DONE),
        (TimeoutError(), Outcome.UNKNOWN),
        (ConnectionResetError(), Outcome.UNKNOWN),
        (BrokenPipeError(), Outcome.UNKNOWN),
        (ConnectionError(), Outcome.UNKNOWN),
        (OSError(), Outcome.UNKNOWN),
        (ValueError("a bug after the call"), Outcome.UNKNOWN),
        (raised(RuntimeError(), cause=ConnectionResetError()), Outcome.UNKNOWN),
    ],
    ids=repr,
)
def test_unknown_unless_it_is_known_to_be_harmless(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert outcome_of(first) is Outcome.UNKNOWN


def test_a_refusal_that_was_handled_before_says_nothing_about_the_call_after_it() -> None:
    """The first address refused, the second one took the request and did not answer."""

    def falls_back() -> None:
        try:
            raise ConnectionRefusedError
        except ConnectionRefusedError:
            raise TimeoutError  # noqa: B904  (a fallback inside the handler is what is tested)

    with pytest.raises(TimeoutError) as caught:
        falls_back()
    assert isinstance(caught.value.__context__, ConnectionRefusedError)
    assert outcome_of(caught.value) is Outcome.UNKNOWN


def test_the_chain_of_requests_is_read_from_its_arguments() -> None:
    """requests raises its ConnectionError inside a handler, with urllib3's error as its argument."""
    reason = raised(OSError("new connection"), cause=ConnectionRefusedError())
    of_urllib3 = raised(RuntimeError("max retries"), cause=reason)
    assert outcome_of(OSError(of_urllib3)) is Outcome.NOT_DONE


# ── declarations ────────────────────────────────────────────────────────────────────────────────


def test_an_effect_must_say_what_unknown_means() -> None:
    with pytest.raises(UsageError, match="may it be sent again"):
        effect_rules("e", provider=FORGETS, delivery=None, timeout=1)
    with pytest.raises(UsageError, match="may it be sent again"):
        effect_rules("e", provider=None, delivery=None, timeout=1)
    assert effect_rules("e", provider=DEDUPES, delivery=None, timeout=HOUR).timeout_s == 3600


@pytest.mark.parametrize("timeout", [0, -1, timedelta(0)])
def test_an_effect_needs_a_timeout(timeout: float | timedelta) -> None:
    with pytest.raises(UsageError, match="greater than 0"):
        effect_rules("e", provider=DEDUPES, delivery=None, timeout=timeout)


def test_a_lifetime_that_leaves_no_time_to_retry_is_refused() -> None:
    with pytest.raises(UsageError, match="too short"):
        Provider("p", key_lifetime=timedelta(minutes=1))
