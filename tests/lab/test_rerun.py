"""A history that is carried out again is judged by every kind of promise, also by those that look beyond its end."""

from __future__ import annotations

import sqlite3

import pytest

from troth.lab import Lab
from troth.lab.rerun import Kept
from troth.lab.verdict import Verdict

SEED = "CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT); INSERT INTO jobs VALUES (1, 'new')"
repaired = False


def work() -> int:
    """Takes a job in one transaction and finishes it in another; what was taken is taken by nobody else."""
    db = sqlite3.connect("jobs.db")
    (state,) = db.execute("SELECT state FROM jobs").fetchone()
    if state == "new" or repaired:
        db.execute("UPDATE jobs SET state = 'taken' WHERE state <> 'done'")
        db.commit()
        db.execute("UPDATE jobs SET state = 'done'")
        db.commit()
    return 200


def eventually_done(lab: Lab) -> None:
    lab.eventually("the job is done", lambda w: w.db.jobs[0].state == "done")


def never_back(lab: Lab) -> None:
    def step(last: str, w) -> str:
        now = w.db.jobs[0].state
        return "back" if (last, now) in {("taken", "taken again"), ("done", "taken")} else now

    lab.monitor("done stays done", init="new", step=step, holds=lambda value: value != "back")


def described(promised, handler=work) -> Lab:
    lab = Lab("rerun", closer=0)
    lab.database("jobs.db", seed=SEED)
    lab.user(handler)
    promised(lab)
    return lab


def again(found: Verdict, lab: Lab) -> Verdict:
    (example,) = found.counterexamples
    lab.again = Kept(
        example.id, "", example.promise.title, example.faults, example.schedule, "as it was shown"
    )
    return lab.explore()


def careless() -> int:
    """Whoever comes second takes the job although it is done."""
    db = sqlite3.connect("jobs.db")
    (state,) = db.execute("SELECT state FROM jobs").fetchone()
    expected = "new" if repaired else state
    db.execute("UPDATE jobs SET state = 'taken' WHERE state = ?", (expected,))
    db.commit()
    db.execute("UPDATE jobs SET state = 'done'")
    db.commit()
    return 200


@pytest.mark.parametrize(
    ("promised", "handler"), [(eventually_done, work), (never_back, careless)]
)  # fmt: skip
def test_it_is_still_broken_and_then_it_is_not(promised, handler, monkeypatch):
    found = described(promised, handler).explore()
    assert found.word == "VIOLATED", str(found)
    still = again(found, described(promised, handler))
    assert still.word == "VIOLATED", str(still)
    assert "still broken" in still.reason
    monkeypatch.setitem(globals(), "repaired", True)
    now = again(found, described(promised, handler))
    assert now.word == "BOUNDED", str(now)
    assert "breaks nothing now" in now.open_because[0]
