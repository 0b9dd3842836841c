"""The wallet, explored on a real PostgreSQL: the usual version creates and loses money, the corrected one does not."""

from __future__ import annotations

import pytest

from examples.wallet import as_usual, corrected
from examples.wallet.scenario import SCENARIOS, describe
from troth.lab import Lab

BROKEN = {
    "told_twice": {"no money is created"},
    "told_and_asked": {"no money is created"},
    "two_transfers": {
        "no money is created",
        "no more goes to bob than ada has",
        "one transfer was made, the other refused",
    },
    "transfer_and_deposit": {"no money is created", "no money is lost"},
    "one_transfer": {"the order is carried out once"},
}


@pytest.fixture(params=["psycopg", "asyncpg"])
def driver(request: pytest.FixtureRequest, monkeypatch) -> str:
    """The application connects to a server that is not there: its connections are the lab's."""
    monkeypatch.setenv("WALLET_DATABASE_URL", f"postgresql+{request.param}://wallet@nowhere/wallet")
    return request.param


with_psycopg = pytest.mark.parametrize("driver", ["psycopg"], indirect=True)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.usefixtures("driver")
def test_the_usual_version_is_found_out(lab: Lab, scenario: str, database_url: str):
    describe(lab, as_usual.app, scenario, database_url)
    verdict = lab.explore()
    assert {one.promise.name for one in verdict.counterexamples} == BROKEN[scenario], str(verdict)
    for one in verdict.counterexamples:
        assert len(one.faults) == 1, "one request beside another, or one lost answer, is enough"


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize(
    "driver", ["psycopg", pytest.param("asyncpg", marks=pytest.mark.slow)], indirect=True
)
@pytest.mark.usefixtures("driver")
def test_the_corrected_version_keeps_every_promise(lab: Lab, scenario: str, database_url: str):
    describe(lab, corrected.app, scenario, database_url)
    verdict = lab.explore()
    assert not verdict.counterexamples, str(verdict)
    assert verdict.closed, str(verdict)


@pytest.mark.usefixtures("driver")
def test_real_processes_that_die_confirm_that_the_corrected_version_holds(database_url: str):
    lab = Lab("wallet", closer=0)
    describe(lab, corrected.app, "told_twice", database_url)
    verdict = lab.explore()
    assert verdict.word == "HOLDS", str(verdict)
    assert "were killed; none differed" in verdict.confirmed


@with_psycopg
@pytest.mark.usefixtures("driver")
def test_a_row_lock_is_tried_and_holds(database_url: str):
    """The remedy is put into the statements that the ORM sends, and a real server decides."""
    lab = Lab("wallet", closer=60)
    describe(lab, as_usual.app, "told_twice", database_url)
    (example,) = lab.explore(confirm=False).counterexamples
    check = next(one.check for one in example.study.remedies if one.kind == "lost update")
    assert check.result == "holds"
    assert check.applied == "with SELECT … FOR UPDATE on deposits"
