"""The engine as it is: the graph closes, every promise is kept, and real processes that are killed agree."""

from __future__ import annotations

import pytest

from tests.lab.engine import shop
from troth.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    ("workflow", "bank"),
    [(shop.pay, shop.Bank), (shop.pay_once, shop.Counter), (shop.pay_by_reference, shop.Counter)],
    ids=["keyed", "once", "asked"],
)
def test_one_worker_after_the_other(lab: Lab, database_url, workflow, bank):
    program = lab.troth(shop.troth, database_url, workers=1, lost_commits=False)
    program.starts(workflow, "49", key="k")
    shop.promise(lab, bank())
    verdict = lab.explore(budget=800, overlap=1, survived=1)
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples, str(verdict)


def test_what_fails_is_undone(lab: Lab, database_url):
    program = lab.troth(shop.troth, database_url, workers=1, lost_commits=False)
    program.starts(shop.book, "7", "0", key="k")
    shop.promise(lab, shop.Bank())
    verdict = lab.explore(budget=800, overlap=1, survived=1)
    assert not verdict.counterexamples, str(verdict)


def test_whoever_was_taken_for_dead_goes_on(lab: Lab, database_url):
    program = lab.troth(shop.troth, database_url, lost_commits=False)
    program.starts(shop.pay_once, "49", key="k")
    shop.promise(lab, shop.Counter())
    verdict = lab.explore(budget=800, overlap=2, survived=1, in_flight=0)
    assert not verdict.counterexamples, str(verdict)


def test_real_processes_agree(database_url):
    """Commits are lost, workers are killed at every kind of call, and one more time each history is what the tables say."""
    lab = Lab("pay, for real", closer=0)
    program = lab.troth(shop.troth, database_url, workers=1)
    program.starts(shop.pay, "49", key="k")
    shop.promise(lab, shop.Bank())
    verdict = lab.explore(budget=800, overlap=1, survived=1)
    assert verdict.word == "HOLDS", str(verdict)
    assert "were killed; none differed" in verdict.confirmed
