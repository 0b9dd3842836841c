"""Real processes that really die: only what they confirm is called HOLDS, and what they contradict is told."""

from __future__ import annotations

import random

import pytest

from examples.naive_signup.scenario import VERSIONS, describe
from tests.lab.corpus import CORRECT, TRAPS
from tests.lab.test_postgres import shop as postgres_shop
from troth.lab import Lab, Refusal, sqlite
from troth.lab.model import Observation
from troth.lab.search import Graph
from troth.lab.sqlite import Sqlite


def scenario(name: str) -> Lab:
    lab = Lab(name)
    next(one for one in (*CORRECT, *TRAPS) if one.name == name).describe(lab)
    return lab


def test_holds_is_said_only_after_confirmation():
    before = scenario("one_insert").explore(confirm=False)
    assert (before.word, before.closed, before.exit_status) == ("BOUNDED", True, 2)
    assert "HOLDS" not in str(before)
    assert "were not confirmed by killing processes" in str(before)
    after = scenario("one_insert").prove()
    assert (after.word, after.exit_status) == ("HOLDS", 0)
    text = str(after)
    assert "any number of crashes" in text, "never without its model"
    assert "attempts alive at once <= 2" in text
    assert "of which were killed; none differed" in text


def test_a_counterexample_is_carried_out_by_real_processes():
    verdict = scenario("publish_before_commit").explore()
    assert verdict.word == "VIOLATED"
    assert verdict.confirmed.startswith("1 histories in real processes, 1 of which were killed")


def test_real_processes_that_see_something_else_disagree(monkeypatch):
    really = Sqlite.really

    def one_row_more(self, op):
        seen = really(self, op)
        if op.kind == "sql" and op.text.startswith("INSERT"):
            return Observation((*seen.value[:2], seen.value[2] + 1, *seen.value[3:]))
        return seen

    monkeypatch.setattr(Sqlite, "really", one_row_more)
    with pytest.raises(Refusal, match="disagree") as told:
        scenario("one_insert").prove()
    assert told.value.verdict.word == "DISAGREED"
    assert told.value.verdict.exit_status == 4


def test_a_transaction_that_survives_its_process_is_noticed(monkeypatch):
    """Were a killed process's rows still there, the database would not be what the tables say."""
    real = Sqlite.twin_differs

    def with_one_row_more(self, part):
        late = sqlite._connect(self._twin)
        late.execute("INSERT INTO orders (email) VALUES ('late@example.com')")
        late.commit()
        late.close()
        return real(self, part)

    monkeypatch.setattr(Sqlite, "twin_differs", with_one_row_more)
    verdict = scenario("one_insert").explore()
    assert verdict.word == "DISAGREED"
    assert "left with something else" in verdict.reason


def test_a_framework_is_confirmed_with_its_threads():
    verdict = scenario("framework_with_a_thread_and_a_background_task").explore()
    assert verdict.word == "HOLDS", str(verdict)


def test_memory_that_two_attempts_would_share_is_not_called_holds():
    verdict = scenario("cache_of_what_never_changes").explore()
    assert verdict.word == "BOUNDED"
    assert any("overlap in one process" in one for one in verdict.open_because)


def many(monkeypatch, replays: int) -> None:
    """So many histories, drawn from the whole graph, instead of a few."""

    def drawn(self: Graph):
        states = sorted(self.parents, key=lambda one: self.parents[one][2:])
        for state in random.Random(1).choices(states, k=replays):
            yield self.path(state)

    monkeypatch.setattr(Graph, "representatives", drawn)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_histories_on_sqlite(monkeypatch):
    many(monkeypatch, 1_000)
    lab = Lab("a thousand histories")
    describe(lab, *VERSIONS["with keys and a constraint"])
    verdict = lab.explore(budget=300)
    assert verdict.word == "HOLDS", str(verdict)
    assert verdict.confirmed.startswith("1000 histories"), verdict.confirmed


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_histories_on_postgresql(monkeypatch, database_url):
    many(monkeypatch, 1_000)
    lab = Lab("a thousand histories")
    postgres_shop(lab, database_url, "UNIQUE")
    verdict = lab.explore(budget=300)
    assert verdict.word == "HOLDS", str(verdict)
    assert verdict.confirmed.startswith("1000 histories"), verdict.confirmed
