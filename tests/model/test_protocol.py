"""The modelled protocol keeps its promises in every history; and each of its decisions is needed."""

from __future__ import annotations

import pytest

from tests.model.parts import Rules, Scenario
from tests.model.protocol import Protocol
from tests.model.search import search
from tests.model.verdicts import assert_breaks, assert_holds

# Every history of the run in which these faults happen, in any order and at any moment.
SCENARIOS = [
    Scenario("once"),
    Scenario("probed", crash=1, late=1, cancel=0),
    Scenario("keyed", refusal=1, cancel=0),
]
# A quarter of a minute or more each. They ask the model and not the code, so `make soak` is enough.
LARGE = [
    Scenario("keyed", loss=1, cancel=0),
    Scenario("keyed", leave=1),
    Scenario("keyed", crash=1),
    Scenario("once", cut=1),
    Scenario("probed", expiry=1, cancel=0, locks=1),
    Scenario("keyed", refusal=1, resume=1),
    Scenario("once", crash=1, expiry=1, cancel=0),
    Scenario("probed", crash=1, cut=1, cancel=0),
    Scenario("keyed", cut=1, expiry=1, cancel=0),
]


def name(scenario: Scenario) -> str:
    counts = [field for field, n in zip(scenario._fields[1:], scenario[1:], strict=True) if n]
    return "-".join((scenario.provider, *counts))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=name)
def test_every_history_keeps_every_promise(scenario: Scenario) -> None:
    assert_holds(name(scenario), Protocol(scenario, Rules()), more_than=500)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("scenario", LARGE, ids=name)
def test_every_history_of_the_large_scenarios(scenario: Scenario) -> None:
    assert_holds(name(scenario), Protocol(scenario, Rules()))


EXPIRY = Scenario("probed", expiry=1, cancel=0)
LOCKS = Scenario("probed", expiry=1, cancel=0, locks=1)
CUT = Scenario("keyed", cut=1, cancel=0)

# Rules that are switched off; where; what is then found; and a move that its shortest trace must contain.
MUTATIONS = [
    ("flush_fenced", EXPIRY, "entry written twice", "takes over"),
    ("takeover_waits", LOCKS, "message applied twice", "takes over"),
    ("takeover_reads_later", LOCKS, "message applied twice", "takes over"),
    pytest.param(
        "takeover_in_one_commit",
        Scenario("keyed", crash=1, cut=1, cancel=0),
        "stuck",
        "takes over",
        marks=pytest.mark.slow,
    ),
    ("resent_under_its_number", CUT, "flush applied twice", "again"),
    ("marked", CUT, "flush applied twice", "again"),
    ("first_mark_at_registration", CUT, "flush applied twice", "again"),
    ("marks_outlive_worker", CUT._replace(expiry=1), "message applied twice", "takes over"),
    ("history_checked", Scenario("keyed", loss=1), "history lost unnoticed", "failover"),
    ("beat_checks_history", Scenario("keyed", loss=1, cancel=0), "stuck", "failover"),
    ("send_by_checked", EXPIRY, "sent twice with authority", "has waited"),
    ("successor_waits", EXPIRY, "sent twice with authority", "has waited"),
    ("missing_waits", Scenario("probed", late=1, cancel=0), "unknown effect repeated", "missing"),
    ("unknown_is_not_failed", Scenario("once", late=1), "unknown effect repeated", "not answered"),
    ("refused_is_not_sent", Scenario("once", refusal=1), "sent without an intent", "refused"),
    ("step_fenced", Scenario("keyed", expiry=1, cancel=0), "entry written twice", "takes over"),
    ("claim_checked", Scenario("keyed", refusal=1, resume=1), "entry written twice", "resumes"),
    ("step_commit_settled", CUT, "entry written twice", "finds its step not committed"),
    ("completion_hears_cancel", Scenario("keyed"), "accepted cancel ignored", "cancel"),
    ("release_looks_again", Scenario("keyed", cancel=0), "stuck", "looks for messages"),
    ("sender_locks_run", Scenario("keyed"), "accepted cancel ignored", "cancel"),
    pytest.param(
        "sender_sees_present",
        Scenario("keyed", crash=1),
        "stuck",
        "snapshot",
        marks=pytest.mark.slow,
    ),
    ("leaving_run_is_deaf", Scenario("keyed", cancel=0), "stuck", "looks for messages"),
    ("resigning_hands_over", Scenario("keyed", leave=1, cancel=0), "stuck", "resigns"),
]


@pytest.mark.parametrize(
    ("rule", "scenario", "found", "move"),
    MUTATIONS,
    ids=lambda x: str(x) if isinstance(x, str) else "",
)
def test_without_the_rule_the_promise_breaks(
    rule: str, scenario: Scenario, found: str, move: str
) -> None:
    assert_breaks(Protocol(scenario, Rules(**{rule: False})), found, move)


def test_every_rule_is_tried() -> None:
    tried = {getattr(case, "values", case)[0] for case in MUTATIONS} | {"one_entry_per_step"}
    assert tried == set(Rules.__dataclass_fields__)


def test_the_primary_key_is_a_second_line_of_defence() -> None:
    """Alone, nobody needs it; it turns what a lost COMMIT would do twice into an error."""
    assert search(Protocol(CUT, Rules(one_entry_per_step=False))).violation is None
    both = search(Protocol(CUT, Rules(one_entry_per_step=False, step_commit_settled=False)))
    assert both.violation == "transaction step applied twice"
