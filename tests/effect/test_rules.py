"""What may be done about an effect: every combination of what can be recorded, against the promise."""

from __future__ import annotations

import itertools
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth import Provider, UsageError
from troth.effect.model import MARGIN_S, SEND_WITHIN_S, EffectRules, Outcome
from troth.effect.rules import History, Move, key_is_known, next_move, settles_at
from troth.workflow.consequences import effect_rules

NOW = 1_000_000.0
TIMEOUT_S = 10.0
HOUR = timedelta(hours=1)
LIFETIME_S = 3600.0
KEY_MARGIN_S = 60.0
LAST_USE_S = (
    LIFETIME_S - KEY_MARGIN_S - SEND_WITHIN_S - TIMEOUT_S - MARGIN_S
)  # after the first intent

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
    assert key_is_known(rules, first_sent_s=0.0, now_s=61.9)
    assert not key_is_known(rules, first_sent_s=0.0, now_s=62.0)


def test_what_lands_late_must_land_while_the_key_is_known() -> None:
    slow = Provider("p", key_lifetime=HOUR, lands_within=timedelta(minutes=10))
    rules = EffectRules(slow, None, TIMEOUT_S)
    assert key_is_known(rules, first_sent_s=0.0, now_s=LAST_USE_S - 600.1)
    assert not key_is_known(rules, first_sent_s=0.0, now_s=LAST_USE_S - 600)


def test_who_looks_and_finds_nothing_must_look_when_nothing_can_land_any_more() -> None:
    rules = EffectRules(Provider("p", lands_within=HOUR), None, TIMEOUT_S)
    flight_s = SEND_WITHIN_S + TIMEOUT_S + MARGIN_S
    assert settles_at(rules, last_sent_s=NOW, gave_up_s=NOW + 1) == NOW + flight_s + 3600
    assert settles_at(rules, last_sent_s=NOW, gave_up_s=NOW + 99) == NOW + 99 + MARGIN_S + 3600


# ── probes, and what nobody wants ───────────────────────────────────────────────────────────────

ASKED = EffectRules(FORGETS, None, TIMEOUT_S, probed=True)
ASKED_WITH_KEY = EffectRules(DEDUPES, None, TIMEOUT_S, probed=True)
ASKED_TWICE_IS_FINE = EffectRules(None, "at_least_once", TIMEOUT_S, probed=True)
STANDS = EffectRules(None, "at_most_once", TIMEOUT_S, stands=True)


def unknown(**more: object) -> History:
    return History(1, NOW - 5, Outcome.UNKNOWN, unknown=True, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "history", "wanted", "move"),
    [
        (ASKED, unknown(), True, Move.PROBE),
        (ASKED, unknown(probe_due_s=NOW + 1), True, Move.WAIT_TO_PROBE),
        (ASKED, unknown(probes_exhausted=True), True, Move.DOUBT),
        (ASKED, unknown(probes_exhausted=True, asked=True), True, Move.PROBE),
        (ASKED, unknown(found=True), True, Move.ACCEPT),
        (ASKED, unknown(), False, Move.PROBE),
        (ASKED_WITH_KEY, unknown(), True, Move.SEND),
        (ASKED_WITH_KEY, unknown(due_s=NOW + 1), True, Move.WAIT),
        (ASKED_WITH_KEY, unknown(exhausted=True), True, Move.PROBE),
        (ASKED_WITH_KEY, unknown(asked=True), True, Move.PROBE),
        (ASKED_WITH_KEY, unknown(), False, Move.PROBE),
        (ASKED_WITH_KEY, unknown(probes_exhausted=True), False, Move.SEND),
        (ASKED_TWICE_IS_FINE, unknown(), True, Move.PROBE),
        (ASKED_TWICE_IS_FINE, unknown(probes_exhausted=True), True, Move.SEND),
        (ASKED_TWICE_IS_FINE, unknown(probes_exhausted=True), False, Move.DOUBT),
        (RULES["at most once"], unknown(asked=True), True, Move.DOUBT),
        (RULES["at most once"], unknown(), False, Move.DOUBT),
        (RULES["at least once"], unknown(refused=True), True, Move.DOUBT),
        (STANDS, unknown(), True, Move.DOUBT),
        (STANDS, unknown(), False, Move.DROP),
        (ASKED, History(1, NOW - 5, Outcome.NOT_DONE), False, Move.DROP),
        (ASKED, History(1, NOW - 5, Outcome.REFUSED, refused=True), True, Move.REFUSE),
        (ASKED, History(1, NOW - 5, None), False, Move.WAIT_OUT),
        (ASKED, History(), False, Move.DROP),
    ],
)
def test_who_is_asked_and_what_is_sent(
    rules: EffectRules, history: History, wanted: bool, move: Move
) -> None:
    assert next_move(rules, history, NOW, wanted=wanted) is move


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
    may = key_is_known(rules, first_sent_s=history.first_sent_s, now_s=now_s)
    if history.unknown and not (may or rules.delivery == "at_least_once"):
        assert next_move(rules, history, now_s) in {Move.DOUBT, Move.WAIT_OUT}


@given(rules_, histories, times)
def test_a_key_is_never_used_later_than_its_lifetime_allows(
    rules: EffectRules, history: History, now_s: float
) -> None:
    lifetime_s = rules.key_lifetime_s
    assert history.first_sent_s is not None
    if history.unknown and lifetime_s and next_move(rules, history, now_s) is Move.SEND:
        if rules.delivery == "at_least_once":
            return
        latest_arrival_s = now_s + rules.in_flight_s + rules.lands_within_s
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


# ── declarations ────────────────────────────────────────────────────────────────────────────────


def test_an_effect_must_say_what_unknown_means() -> None:
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
