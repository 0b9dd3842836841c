"""Loops over a table of jobs on PostgreSQL, with asyncpg: what dies is found, what is right holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.lab import worker_loops as loops
from troth.lab import Lab
from troth.lab.steps import Limits


def scenario(lab: Lab, url: str, loop: Callable[[], object]) -> None:
    lab.database(url, seed=loops.JOBS, name="db")
    lab.stripe()
    lab.workers(loop, n=2)
    lab.always("worked once", lambda w: w.db.jobs[0].runs <= 1, severity="money")
    lab.always("charged once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    lab.at_rest("every job is done", lambda w: w.db.jobs[0].state == "done", severity="stuck")
    lab.at_rest(
        "what is done was done",
        lambda w: w.db.jobs[0].state != "done" or w.stripe.charges or w.db.jobs[0].runs,
    )


@pytest.mark.parametrize(
    ("loop", "broken", "faults"),
    [
        pytest.param(
            loops.claim_commit_work, "every job is done", ("crash",), marks=pytest.mark.slow
        ),
        (loops.done_before_it_is_done, "what is done was done", ("crash",)),
        pytest.param(
            loops.work_under_a_lease, "charged once", ("second worker",), marks=pytest.mark.slow
        ),
        (loops.look_then_claim, "worked once", ("second worker",)),
    ],
)
def test_a_loop_that_is_wrong(
    lab: Lab, database_url: str, monkeypatch, loop: Callable[[], object], broken: str, faults
):
    monkeypatch.setattr(Limits, "aftermath", 0.2)
    scenario(lab, database_url, loop)
    verdict = lab.explore(budget=60, expiry=False)
    found = {one.promise.name: one.faults for one in verdict.counterexamples}
    assert found.get(broken) == faults, str(verdict)


@pytest.mark.parametrize(
    "loop",
    [
        loops.work_in_the_transaction_of_the_claim,
        pytest.param(loops.work_under_a_lease_with_a_key, marks=pytest.mark.slow),
    ],
)
def test_a_loop_that_is_right_holds(database_url: str, loop: Callable[[], object]):
    lab = Lab("loop", closer=0)
    scenario(lab, database_url, loop)
    verdict = lab.explore(budget=120, expiry=False)
    assert verdict.word == "HOLDS", str(verdict)
    assert any("one round at a time" in line for line in verdict.model)


def test_notifications_are_refused(lab: Lab, database_url: str):
    scenario(lab, database_url, loops.wait_for_a_notification)
    verdict = lab.explore(budget=20)
    assert verdict.word == "REFUSED"
    assert "notifications are not explored yet" in verdict.reason
