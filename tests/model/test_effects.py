"""An effect whose answer was lost happens once, and is called what it is; and each decision about it is needed."""

from __future__ import annotations

import pytest

from tests.model.effects import Effect, Rules, Scenario
from tests.model.search import search
from tests.model.verdicts import assert_breaks, assert_holds

# Every history in which these faults happen, in any order, at any moment, with any time between.
SCENARIOS = [
    Scenario(crash=1, silence=1),
    Scenario(silence=1, unwanted=1),
    Scenario(silence=2, again=1),
    Scenario(keyed=True, expiry=1),
    Scenario(keyed=True, crash=1, skew=-1),
    Scenario(keyed=True, silence=1, refusal=1),
    Scenario(keyed=True, thread=True, silence=1, refusal=1),
    Scenario(keyed=True, silence=1, unwanted=1),
    Scenario(probed=True, crash=1, silence=1, skew=1),
    Scenario(probed=True, crash=1, silence=1, skew=-1),
    Scenario(probed=True, expiry=1, silence=1, refusal=1),
    Scenario(probed=True, thread=True, silence=2, refusal=1, error=1, unwanted=1),
    Scenario(probed=True, silence=2, error=2, again=1),
    Scenario(keyed=True, probed=True, thread=True, silence=1, refusal=1),
    Scenario(repeatable=True, silence=2, refusal=1),
    # Nobody listens to threads that are late: their answers are found out by other means.
    Scenario(keyed=True, thread=True, late_counts=False, silence=1, refusal=1),
    Scenario(probed=True, thread=True, late_counts=False, silence=2),
]
LARGE = [
    Scenario(keyed=True, intents=3, silence=2, refusal=1),
    Scenario(keyed=True, crash=1, silence=1, skew=1),
    Scenario(keyed=True, crash=1, silence=1, skew=-1),
    Scenario(keyed=True, expiry=1, silence=1, unwanted=1),
    Scenario(keyed=True, probed=True, crash=1, silence=1, refusal=1, unwanted=1),
    Scenario(probed=True, crash=1, expiry=1, silence=2, skew=1, error=1, again=1),
]

SILENT = Scenario(probed=True, silence=1)
LATE = Scenario(keyed=True, thread=True, silence=1, refusal=1)

# Rules that are switched off; where; what is then found; and a move that its shortest trace must contain.
MUTATIONS = [
    (
        "send_by_checked",
        Scenario(keyed=True, expiry=1),
        "sent twice with authority",
        "declared dead",
    ),
    (
        "successor_waits",
        Scenario(keyed=True, expiry=1),
        "sent twice with authority",
        "was lost: unknown",
    ),
    (
        "takeover_is_unknown",
        Scenario(probed=True, crash=1),
        "happened twice",
        "was lost: not done",
    ),
    ("missing_waits", SILENT, "happened twice", "did not find it"),
    ("missing_counts_landing", SILENT._replace(crash=1, skew=1), "happened twice", "did not find"),
    ("missing_counts_from_begin", SILENT, "happened twice", "did not find it"),
    (
        "missing_allows_for_clocks",
        Scenario(probed=True, expiry=1, skew=1),
        "happened twice",
        "did not find it",
    ),
    ("lifetime_checked", Scenario(keyed=True, silence=1), "happened twice", "attempt 2"),
    (
        "lifetime_counts_landing",
        Scenario(keyed=True, crash=1, skew=-1),
        "happened twice",
        "attempt 2",
    ),
    (
        "refusal_is_its_own",
        Scenario(keyed=True, silence=1, refusal=1),
        "recorded as refused, with 1 there",
        "call 2 is refused",
    ),
    (
        "late_is_its_own",
        LATE,
        "happened after it was called not done",
        "call 1 is answered late: refused",
    ),
    ("result_is_final", LATE, "recorded as refused, with 1 there", "call 2 is answered: landed"),
    ("person_looks_late", Scenario(silence=1), "happened twice", "a person says: not done"),
    (
        "decision_names_attempts",
        Scenario(probed=True, silence=2, error=2, again=1),
        "happened twice",
        "a person says: not done",
    ),
    (
        "unwanted_is_settled",
        Scenario(probed=True, silence=1, unwanted=1),
        "recorded as dropped, with 1 there",
        "nobody wants it",
    ),
]


def name(scenario: Scenario) -> str:
    given = zip(scenario._asdict().items(), Scenario._field_defaults.values(), strict=True)
    return "-".join(
        key if value is True else f"{key}={value}"
        for (key, value), default in given
        if value != default
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_every_history_keeps_every_promise(scenario: Scenario) -> None:
    assert_holds(name(scenario), Effect(scenario), more_than=300)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", LARGE, ids=name)
def test_every_history_of_the_large_scenarios(scenario: Scenario) -> None:
    assert_holds(name(scenario), Effect(scenario))


@pytest.mark.parametrize(
    ("rule", "scenario", "found", "move"),
    MUTATIONS,
    ids=lambda x: str(x) if isinstance(x, str) else "",
)
def test_without_the_rule_the_promise_breaks(
    rule: str, scenario: Scenario, found: str, move: str
) -> None:
    assert_breaks(Effect(scenario, Rules(**{rule: False})), found, move)


def test_every_rule_is_tried() -> None:
    assert {case[0] for case in MUTATIONS} == set(Rules.__dataclass_fields__)


def test_a_call_that_may_land_at_any_time_is_beyond_every_rule() -> None:
    """The assumption: a `def` body gives its client the timeout, and `lands_within` is true."""
    result = search(Effect(Scenario(probed=True, thread=True, silence=1, unbounded=True)))
    assert result.violation == "happened twice"


def test_clocks_that_differ_by_more_than_is_allowed_for_are_beyond_every_rule() -> None:
    result = search(Effect(Scenario(probed=True, crash=1, silence=1, skew=2)))
    assert result.violation == "happened twice"
