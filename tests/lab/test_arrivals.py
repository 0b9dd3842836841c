"""Deliveries, workers, timers and queues: what the model says about them, beside the corpus of handlers."""

from __future__ import annotations

import re
import sqlite3
import time

import pytest
import stripe as stripe_library

from tests.lab.bank import Bank
from tests.lab.corpus import CORRECT, TRAPS
from tests.lab.corpus.hooks import connect, credit_by_object, deposits, endpoint, pay, sweep
from tests.lab.corpus.queues import JOB, TABLES, Shop
from troth.lab import Lab, LabError
from troth.lab.deliveries import receipts, received
from troth.lab.model import Op
from troth.lab.queue import Queue
from troth.lab.steps import Limits


def names(held: set[str], **rules: bool) -> list[tuple[str, str]]:
    waiting = (("1", "a"), ("2", "b"))
    options = {"ordered": False, "loses": False} | rules
    return [
        (one.message[0] if one.message else "", one.outcome.word)
        for one in receipts(waiting, frozenset(held), **options)
    ]


def test_every_way_in_which_a_delivery_can_begin():
    assert names(set()) == [("1", ""), ("2", "message out of order")]
    assert names(set(), ordered=True) == [("1", "")]
    assert names({"1"}) == [("2", ""), ("1", "repeated delivery")]
    assert names({"1"}, ordered=True) == [("", ""), ("1", "repeated delivery")]
    assert names({"1", "2"}) == [("", ""), ("1", "repeated delivery"), ("2", "repeated delivery")]
    assert names({"1"}, loses=True)[-1] == ("2", "lost delivery")


def test_a_message_has_a_name_that_nobody_holds():
    queue = Queue("jobs")
    part = queue.published(queue.initial(), Op("publish", "jobs", params=("a",)), frozenset({"1"}))
    assert queue.waiting(part) == (("2", "a"),)
    part = queue.published(part, Op("publish", "jobs", params=("b",)), frozenset())
    assert queue.waiting(part) == (("2", "a"), ("1", "b"))
    for _ in range(3):
        part = queue.published(part, Op("publish", "jobs", params=("b",)), frozenset())
    assert [says for _, says in queue.waiting(part)] == ["a", "b", "b"]
    assert queue.waiting(queue.settled(part, "2"))[0] == ("1", "b")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "hook_with_a_sweeper",
        "hook_with_an_inbox_by_object",
        "message_by_an_outbox",
        "job_that_knows_what_was_done",
    ],
)
def test_holds_is_confirmed_by_processes_that_die(name: str):
    lab = Lab(name, closer=0)
    next(one for one in CORRECT if one.name == name).describe(lab)
    verdict = lab.prove()
    assert verdict.word == "HOLDS", str(verdict)
    assert re.search(r", [1-9]\d* of which were killed; none differed", verdict.confirmed)


def test_a_lost_job_is_told_and_studied():
    """With the closer look: the lines, the twin, the map."""
    lab = Lab("early acknowledgement")
    next(one for one in TRAPS if one.name == "job_acknowledged_before_it_is_done").describe(lab)
    verdict = lab.explore()
    found = verdict.counterexamples[0]
    told = [line.happened for line in found.lines]
    assert any(one.startswith('received 1: {"job":"a"}') for one in told), told
    assert any(one.startswith("acknowledge to jobs: jobs.messages - id=1") for one in told), told
    assert verdict.map is not None
    assert verdict.map.rows
    assert {cell.fault for row in verdict.map.rows for cell in row.cells} >= {
        "crash",
        "lost acknowledgement",
    }
    assert any("jobs: at least once" in line for line in verdict.model)


def test_rest_is_when_what_is_waiting_was_delivered(lab: Lab):
    """So a promise about it can be broken: it is not simply never asked."""
    deposits(lab, endpoint(credit_by_object))
    lab.at_rest("nothing is ever credited", lambda w: not w.db.account[0].credit)
    verdict = lab.explore(budget=20)
    assert [one.promise.name for one in verdict.counterexamples] == ["nothing is ever credited"]
    assert verdict.counterexamples[0].faults == ()


def test_rest_is_when_a_timer_has_found_nothing_to_do(lab: Lab, monkeypatch):
    monkeypatch.setattr(Limits, "aftermath", 0.1)
    lab.database(
        "hooks.db",
        seed="CREATE TABLE account (credit INT); INSERT INTO account VALUES (0); CREATE TABLE seen (id TEXT PRIMARY KEY)",
    )
    lab.stripe()
    lab.user(pay, overlap=1, again=lambda answer: False)
    lab.timer(sweep)
    lab.at_rest(
        "what was paid is credited", lambda w: w.db.account[0].credit == len(w.stripe.charges)
    )
    verdict = lab.explore(budget=20)
    assert verdict.closed, str(verdict)
    assert not verdict.counterexamples, str(verdict)
    lab.at_rest("nothing is ever credited", lambda w: not w.db.account[0].credit)
    assert lab.explore(budget=20).word == "VIOLATED"


def count() -> None:
    db = connect()
    with db:
        db.execute("UPDATE account SET credit = 1 - credit")


def test_who_never_rests_is_told_so(lab: Lab):
    """A timer that changes something every time: what is promised of a rest is not tried, and that is not called kept."""
    lab.database(
        "hooks.db", seed="CREATE TABLE account (credit INT); INSERT INTO account VALUES (0)"
    )
    lab.timer(count)
    lab.at_rest("whatever", lambda w: False)
    verdict = lab.explore(budget=20)
    assert verdict.word == "BOUNDED"
    assert not verdict.closed
    assert any("nobody ever comes to a rest" in line for line in verdict.open_because)


def loop_for_ever() -> None:
    while True:
        db = sqlite3.connect("queues.db")
        row = db.execute("SELECT id FROM orders WHERE status = 'new' LIMIT 1").fetchone()
        if row is None:
            db.close()
            time.sleep(1)
            continue
        with db:
            db.execute("UPDATE orders SET status = 'packed' WHERE id = ?", row)
        pause()
        with db:
            db.execute("UPDATE orders SET status = 'sent' WHERE id = ?", row)
        db.close()


def pause() -> None:
    time.sleep(5)  # not the loop's own: it goes on


def test_an_endless_loop_is_one_round_up_to_where_it_sleeps(lab: Lab):
    lab.database("queues.db", seed=TABLES + "INSERT INTO orders (email) VALUES ('ada'), ('bob');")
    lab.workers(loop_for_ever, n=1)
    lab.at_rest("all are sent", lambda w: {one.status for one in w.db.orders} == {"sent"})
    lab.at_rest("none is sent", lambda w: {one.status for one in w.db.orders} == {"new"})
    verdict = lab.explore(budget=20)
    found = {one.promise.name: one.faults for one in verdict.counterexamples}
    assert len(found["all are sent"]) == 1, (
        "who dies, or fails, while it packs; but not by the pause"
    )
    assert found["none is sent"] == ()
    assert any("cut where it sleeps" in line for line in verdict.model)


def spin() -> None:
    while True:
        sqlite3.connect("queues.db").execute("SELECT 1").fetchone()


def test_a_loop_that_never_sleeps_is_refused(lab: Lab):
    lab.database("queues.db", seed=TABLES)
    lab.workers(spin)
    lab.at_rest("whatever", lambda w: True)
    verdict = lab.explore(budget=20)
    assert verdict.word == "REFUSED"
    assert "one attempt does not end" in verdict.reason


def test_a_signature_is_one_that_the_library_accepts(lab: Lab):
    def verified(event: dict[str, object]) -> int:
        del event
        return 200

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        try:
            stripe_library.Webhook.construct_event(body, headers["stripe-signature"], "whsec_1")
        except stripe_library.SignatureVerificationError:
            status = 400
        else:
            status = 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def scenario(secret: str) -> str:
        made = Lab("signed", closer=0)
        stripe = made.stripe()
        made.user(pay, overlap=1, again=lambda answer: False)
        made.delivers(stripe.events, to=made.http(app).post("/hook"), sign=stripe.sign(secret))
        made.told(400, "never refused", lambda w: False)
        return made.explore(confirm=False, expiry=False).word

    assert scenario("whsec_1") == "BOUNDED"
    assert scenario("whsec_2") == "VIOLATED"


def send_once() -> int:
    Shop.send(JOB)
    return 200


def test_what_is_wrong_with_a_test_is_said(lab: Lab):
    queue = lab.queue("jobs")
    with pytest.raises(LabError, match="Give a handler"):
        lab.workers(queue)
    with pytest.raises(LabError, match="at least one"):
        lab.workers(loop_for_ever, n=0)
    with pytest.raises(LabError, match="for the messages of a queue"):
        lab.workers(loop_for_ever, send_once)
    stranger = Bank()
    with pytest.raises(LabError, match="not in the world"):
        lab.delivers(stranger.events, to=lab.http(endpoint(lambda event: 200)).post("/"))
    with pytest.raises(LabError, match=r"to=lab\.http"):
        lab.delivers(lab.stripe().events, to=send_once)  # type: ignore[arg-type]
    with pytest.raises(LabError, match="plain data"):
        queue.send({"db": object()})


def test_what_is_received_is_no_call_of_a_provider():
    assert not Bank().lands_late(received("bank"))
    assert not Bank().irreversible(received("bank"))


def test_what_a_history_assumes_is_said(monkeypatch):
    monkeypatch.setattr(Limits, "aftermath", 0.0)
    lab = Lab("order")
    next(one for one in TRAPS if one.name == "hook_that_trusts_the_order").describe(lab)
    found = lab.explore(confirm=False).counterexamples[0]
    assert "what is delivered can come out of order" in found.study.assumptions


def take_apart(message: dict[str, object]) -> None:
    with sqlite3.connect("queues.db") as db:
        db.execute("INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING", (message.pop("job"),))


def test_a_handler_may_change_the_message_that_it_gets(lab: Lab):
    """It comes from the broker anew every time."""
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(send_once, overlap=1, again=lambda answer: False)
    lab.workers(queue, take_apart, n=1)
    lab.always("it is known by its name", lambda w: {one.id for one in w.db.seen} <= {"a"})
    verdict = lab.explore(budget=20)
    assert verdict.closed, str(verdict)
