"""What a test says about its own limits is counted, printed, and never makes a verdict better than it is."""

from __future__ import annotations

import smtplib
import sqlite3

import httpx
import pytest

from troth.lab import Lab, LabError, Violation

COUNTER = (
    "CREATE TABLE jobs (id INTEGER PRIMARY KEY, attempts INTEGER); INSERT INTO jobs VALUES (1, 0)"
)
API = "https://api.stripe.com/v1"


def count_for_ever():
    db = sqlite3.connect("app.db")
    db.execute("UPDATE jobs SET attempts = attempts + 1")
    db.commit()
    return 500


def counting(lab: Lab) -> None:
    lab.database("app.db", seed=COUNTER)
    lab.user(count_for_ever)
    lab.always("one job", lambda w: len(w.db.jobs) == 1)


def test_growth_without_end_is_named(lab: Lab):
    counting(lab)
    verdict = lab.explore()
    assert verdict.word == "BOUNDED"
    assert not verdict.closed
    assert any("grows without end: db.jobs" in line for line in verdict.open_because)


def test_a_bound_opens_the_graph_and_says_so(lab: Lab):
    counting(lab)
    lab.bound("jobs.attempts", 2)
    verdict = lab.explore()
    assert not verdict.closed
    assert "bounded by the test: jobs.attempts <= 2" in verdict.open_because
    with pytest.raises(LabError, match=r"table\.column"):
        lab.bound("attempts", 2)


def test_an_ignored_column_closes_the_graph_and_is_printed(lab: Lab):
    counting(lab)
    lab.ignore(column="jobs.attempts", because="nobody reads it")
    verdict = lab.explore()
    assert verdict.closed, str(verdict)
    assert "ignored column: jobs.attempts, because nobody reads it" in verdict.model


def test_something_must_be_ignored_for_a_reason(lab: Lab):
    with pytest.raises(LabError, match="one of column=, memory=, path="):
        lab.ignore(because="just so")


def test_a_budget_only_opens_the_graph(lab: Lab):
    counting(lab)
    verdict = lab.explore(budget=0)
    assert verdict.word == "BOUNDED"
    assert not verdict.closed
    assert any("budget" in line for line in verdict.open_because)


def mail_each_time():
    sqlite3.connect("app.db").close()
    with smtplib.SMTP("mail.example.com") as server:
        server.sendmail("a@example.com", "b@example.com", "Subject: hello\n\nhello")
    return 500


def test_a_sink_saturates_so_that_repetitions_close(lab: Lab):
    lab.database("app.db", seed=COUNTER)
    box = lab.mailbox()
    lab.user(mail_each_time)
    lab.accept("the mail may repeat", sink=box, because="harmless")
    lab.always(
        "nobody else gets mail",
        lambda w: all(m.to == ["b@example.com"] for m in w.mailbox.messages),
    )
    verdict = lab.explore()
    assert verdict.closed, str(verdict)
    assert not verdict.warnings
    assert verdict.accepted == ("the mail may repeat, because harmless",)


def test_what_was_accepted_but_never_happens_is_a_warning(lab: Lab):
    counting(lab)
    lab.ignore(column="jobs.attempts", because="nobody reads it")
    lab.accept("the mail may repeat", sink=lab.mailbox(), because="harmless")
    verdict = lab.explore()
    assert verdict.warnings == ("accepted, but it never happened: the mail may repeat",)


def charge_then_refund():
    charge = httpx.post(f"{API}/charges", headers={"Idempotency-Key": "a"}).json()
    httpx.post(f"{API}/refunds", data={"charge": charge["id"]}, headers={"Idempotency-Key": "b"})
    return 200


def test_a_monitor_sees_what_is_gone_later(lab: Lab):
    """That there once was a charge without a refund is true of a history, not of the last world."""
    lab.stripe()
    lab.user(charge_then_refund)
    lab.monitor(
        "never an open charge",
        init=False,
        step=lambda seen, w: seen or any(not one.refunded for one in w.stripe.charges),
        holds=lambda seen: not seen,
        severity="litter",
    )
    verdict = lab.explore()
    (example,) = verdict.counterexamples
    assert example.faults == ()


def test_only_money_lies_stuck_and_lost_fail_a_test(lab: Lab):
    lab.stripe()
    lab.user(charge_then_refund)
    lab.always("no customer", lambda w: not w.stripe.charges, severity="litter")
    verdict = lab.prove()
    assert verdict.word == "BOUNDED"
    assert len(verdict.counterexamples) == 1
    assert verdict.exit_status == 2


def test_what_costs_money_fails(lab: Lab):
    lab.stripe()
    lab.user(charge_then_refund)
    lab.always("no charge", lambda w: not w.stripe.charges, costs="49 EUR")
    with pytest.raises(Violation, match="49 EUR"):
        lab.prove()


def test_every_verdict_admits_what_was_not_explored(lab: Lab):
    counting(lab)
    text = str(lab.explore())
    assert "real processes" in text
    text += str(lab.explore(overlap=1, in_flight=0, expiry=False))
    for dimension in ("overlap", "late landing", "expiry"):
        assert f"{dimension}: " in text
    assert "HOLDS" not in text
