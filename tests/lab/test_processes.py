"""Real processes that really die: only what they confirm is called HOLDS, and what they contradict is told."""

from __future__ import annotations

import os
import random
import select
import sqlite3
import time
from collections.abc import Iterator

import psycopg
import pytest

from examples.naive_signup.scenario import VERSIONS, describe
from tests.lab.corpus import CORRECT, TRAPS
from tests.lab.test_postgres import shop as postgres_shop
from troth.lab import Lab, Refusal, sqlite
from troth.lab.model import Observation, Step
from troth.lab.postgres import Postgres
from troth.lab.postgres_rules import COMMIT_DONE
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


def note() -> int:
    with psycopg.connect("") as db:
        db.execute("INSERT INTO notes VALUES (1) ON CONFLICT DO NOTHING")
    return 200


def first_of_its_kind(graph: Graph, action: str, outcome: str) -> list[Step]:
    return next(
        [*graph.path(state), graph._edges(state)[number][0]]
        for (kind, _, name), (state, number) in graph.classes.items()
        if (kind, name) == (action, outcome)
    )


def test_a_commit_whose_answer_is_lost_is_over_before_the_next_history(
    monkeypatch, database_url: str
):
    """The order is forced: the commit comes after the next history's world was made, unless that waits for the commit.

    Once, nobody waited, and a real process saw what another history had committed meanwhile.
    """
    begun, committed = os.pipe(), os.pipe()
    really, become = Postgres.really, Postgres.become
    places: list[bytes] = []

    def late(self: Postgres, op):
        if op.kind == "commit":
            select.select([begun[0]], [], [], 0.5)  # longer than the next history takes to begin
        seen = really(self, op)
        if op.kind == "commit":
            os.write(committed[1], b"x")
        return seen

    def and_then(self: Postgres, other: Postgres, part: bytes) -> None:
        become(self, other, part)
        if places:
            os.write(begun[1], b"x")
            assert select.select([committed[0]], [], [], 20)[0]
        places.append(part)

    def two(self: Graph) -> Iterator[list[Step]]:
        yield first_of_its_kind(self, "op", COMMIT_DONE.name)
        yield first_of_its_kind(self, "crash", "crash")

    monkeypatch.setattr(Postgres, "really", late)
    monkeypatch.setattr(Postgres, "become", and_then)
    monkeypatch.setattr(Graph, "representatives", two)
    lab = Lab("late", closer=0)
    lab.database(database_url, seed="CREATE TABLE notes (id int PRIMARY KEY)")
    lab.user(note)
    lab.told(200, "it is noted", lambda w: w.db.notes)
    verdict = lab.explore(overlap=1)
    assert verdict.word == "HOLDS", str(verdict)
    assert len(places) == 2


def test_what_served_a_dead_process_is_gone_before_anybody_looks(monkeypatch, database_url: str):
    """A server notices only some time later that its client is dead; so long, what that had locked would be locked."""
    left: list[int] = []
    outlive = Postgres.outlive

    def counted(self: Postgres, serving: list[int]) -> None:
        outlive(self, serving)
        left.append(len(serving))
        for pid in serving:
            assert not self._seat().run(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")[0]

    monkeypatch.setattr(Postgres, "outlive", counted)
    lab = Lab("served", closer=0)
    lab.database(database_url, seed="CREATE TABLE notes (id int PRIMARY KEY)")
    lab.user(note)
    lab.told(200, "it is noted", lambda w: w.db.notes)
    verdict = lab.explore(overlap=1)
    assert verdict.word == "HOLDS", str(verdict)
    assert max(left) == 2, "the connection of the code, and the one from which its clock is set"


def test_a_framework_is_confirmed_with_its_threads():
    verdict = scenario("framework_with_a_thread_and_a_background_task").explore()
    assert verdict.word == "HOLDS", str(verdict)


def wait_a_little() -> int:
    time.sleep(random.random())
    with sqlite3.connect("shop.db") as db:
        db.execute("INSERT INTO notes VALUES (1) ON CONFLICT DO NOTHING")
    return 200


def test_chance_is_the_same_in_a_real_process():
    """Its jitter decides nothing, but it draws; so must the process that confirms it."""
    lab = Lab("jitter", closer=0)
    lab.database("shop.db", seed="CREATE TABLE notes (id INT PRIMARY KEY)")
    lab.user(wait_a_little)
    lab.told(200, "it is noted", lambda w: w.db.notes)
    verdict = lab.explore(overlap=1)
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
