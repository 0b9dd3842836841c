"""Workers that get messages from a queue, and the code that sends them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from tests.lab.corpus import correct, correct_and_large, trap
from troth.lab import Lab

TABLES = """
CREATE TABLE account (credit INT NOT NULL);
INSERT INTO account VALUES (0);
CREATE TABLE seen (id TEXT PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT UNIQUE, status TEXT NOT NULL DEFAULT 'new');
CREATE TABLE outbox (id INTEGER PRIMARY KEY, body TEXT NOT NULL);
"""
JOB = {"job": "a"}
Work = Callable[..., object]


class Shop:
    """Where the code finds its broker: what a settings module is elsewhere."""

    send: Callable[[object], None]


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("queues.db")
    db.row_factory = sqlite3.Row
    return db


def order() -> int:
    Shop.send(JOB)
    return 200


def jobs(lab: Lab, handler: Work, acks: Any = "late") -> None:
    """A job that was sent, and is to be credited once."""
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(order, overlap=1, again=lambda answer: answer is None or answer.status >= 500)
    lab.workers(queue, handler, acks=acks)
    lab.always("credited once", lambda w: w.db.account[0].credit <= 1, severity="money")
    lab.at_rest("it is credited", lambda w: w.db.account[0].credit >= 1)


def alone(lab: Lab, handler: Work) -> None:
    """The same, of a job that is sent at most once."""
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(order, again=lambda answer: False)
    lab.workers(queue, handler)
    lab.always("credited once", lambda w: w.db.account[0].credit <= 1, severity="money")


def credit(message: dict[str, str]) -> None:
    db = connect()
    with db:
        db.execute("UPDATE account SET credit = credit + 1")


def credit_unless_seen(message: dict[str, str]) -> None:
    db = connect()
    with db:
        made = db.execute("INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING", (message["job"],))
        if made.rowcount:
            db.execute("UPDATE account SET credit = credit + 1")


@trap("VIOLATED", "crash")
def job_acknowledged_before_it_is_done(lab: Lab) -> None:
    """The worker that dies after its acknowledgement takes the job with it."""
    jobs(lab, credit_unless_seen, "early")


@trap("VIOLATED", "crash")
def job_done_before_it_is_acknowledged(lab: Lab) -> None:
    """The other order: it is done again. Without a memory of what was done it counts twice."""
    alone(lab, credit)


@correct_and_large
def job_that_knows_what_was_done(lab: Lab) -> None:
    """The memory is written in the transaction of the work."""
    jobs(lab, credit_unless_seen)


@trap("VIOLATED", "lost acknowledgement")
def job_whose_acknowledgement_is_lost(lab: Lab) -> None:
    """Acknowledged first, so that it is done at most once. But the broker may not have heard it, and nobody is told."""
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(order, again=lambda answer: False)
    lab.workers(queue, credit, acks="early", n=1)
    lab.always("credited once", lambda w: w.db.account[0].credit <= 1, severity="money")


def credit_and_acknowledge(message: dict[str, str], acknowledge: Callable[[], None]) -> None:
    db = connect()
    made = db.execute("INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING", (message["job"],))
    if made.rowcount:
        db.execute("UPDATE account SET credit = credit + 1")
    acknowledge()
    db.commit()


@trap("VIOLATED", "crash")
def job_acknowledged_before_the_commit(lab: Lab) -> None:
    """It looks done, and is not durable yet."""
    jobs(lab, credit_and_acknowledge, "manual")


def check_then_credit(message: dict[str, str]) -> None:
    db = connect()
    if db.execute("SELECT 1 FROM seen WHERE id = ?", (message["job"],)).fetchone() is None:
        db.execute("INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING", (message["job"],))
        db.execute("UPDATE account SET credit = credit + 1")
        db.commit()


@trap("VIOLATED", "second delivery", "repeated delivery")
def job_that_another_worker_has_too(lab: Lab) -> None:
    """The visibility timeout ends while the first worker is still at work: both look, and find nothing."""
    alone(lab, check_then_credit)


# ── sending ──────────────────────────────────────────────────────────────────────────────────────


def ship(message: dict[str, str]) -> None:
    db = connect()
    with db:
        db.execute("UPDATE orders SET status = 'sent' WHERE email = ?", (message["email"],))


def orders(lab: Lab, sender: Callable[[], int], handler: Work = ship) -> None:
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(sender, overlap=1)
    lab.workers(queue, handler, n=1)
    lab.at_rest(
        "every order is shipped", lambda w: all(one.status == "sent" for one in w.db.orders)
    )


def ship_if_it_is_there(message: dict[str, str]) -> None:
    db = connect()
    row = db.execute("SELECT id FROM orders WHERE email = ?", (message["email"],)).fetchone()
    if row is not None:
        with db:
            db.execute("UPDATE orders SET status = 'sent' WHERE id = ?", (row["id"],))


def send_then_commit() -> int:
    db = connect()
    with db:
        db.execute("INSERT INTO orders (email) VALUES ('ada') ON CONFLICT DO NOTHING")
        Shop.send({"email": "ada"})
    return 200


@trap("VIOLATED", "delivery meanwhile")
def message_before_the_commit(lab: Lab) -> None:
    """A quick worker does not find the order, and takes that for done."""
    orders(lab, send_then_commit, ship_if_it_is_there)


def commit_then_send() -> int:
    db = connect()
    with db:
        made = db.execute("INSERT INTO orders (email) VALUES ('ada') ON CONFLICT DO NOTHING")
    if made.rowcount:
        Shop.send({"email": "ada"})
    return 200


@trap("VIOLATED", "crash")
def message_after_the_commit_only_if_it_is_new(lab: Lab) -> None:
    """Who dies between the two never sends: the retry finds the order."""
    orders(lab, commit_then_send)


def commit_then_send_in_any_case() -> int:
    db = connect()
    with db:
        db.execute("INSERT INTO orders (email) VALUES ('ada') ON CONFLICT DO NOTHING")
    Shop.send({"email": "ada"})
    return 200


@correct_and_large
def message_after_the_commit_in_any_case(lab: Lab) -> None:
    """As long as somebody asks again, it is sent again; the worker does not mind."""
    orders(lab, commit_then_send_in_any_case)


def order_with_an_outbox() -> int:
    db = connect()
    with db:
        made = db.execute("INSERT INTO orders (email) VALUES ('ada') ON CONFLICT DO NOTHING")
        if made.rowcount:
            db.execute("INSERT INTO outbox (body) VALUES ('ada')")
    return 200


def relay() -> None:
    db = connect()
    row = db.execute("SELECT id, body FROM outbox ORDER BY id LIMIT 1").fetchone()
    if row is not None:
        Shop.send({"email": row["body"]})
        with db:
            db.execute("DELETE FROM outbox WHERE id = ?", (row["id"],))


@correct
def message_by_an_outbox(lab: Lab) -> None:
    """The message is part of the transaction, and somebody else sends it, at least once. Nobody has to ask again."""
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(order_with_an_outbox, overlap=1, again=lambda answer: False)
    lab.timer(relay)
    lab.workers(queue, ship, n=1)
    lab.at_rest(
        "every order is shipped", lambda w: all(one.status == "sent" for one in w.db.orders)
    )


def relay_what_it_has_deleted() -> None:
    db = connect()
    row = db.execute("SELECT id, body FROM outbox ORDER BY id LIMIT 1").fetchone()
    if row is not None:
        with db:
            db.execute("DELETE FROM outbox WHERE id = ?", (row["id"],))
        Shop.send({"email": row["body"]})


@trap("VIOLATED", "crash")
def outbox_that_is_emptied_first(lab: Lab) -> None:
    lab.database("queues.db", seed=TABLES)
    queue = lab.queue("jobs")
    Shop.send = queue.send
    lab.user(order_with_an_outbox, overlap=1, again=lambda answer: False)
    lab.timer(relay_what_it_has_deleted)
    lab.workers(queue, ship, n=1)
    lab.at_rest(
        "every order is shipped", lambda w: all(one.status == "sent" for one in w.db.orders)
    )


def ship_or_fail(message: dict[str, str]) -> None:
    raise RuntimeError("no such carrier")


@trap("VIOLATED")
def job_that_always_fails(lab: Lab) -> None:
    """It comes again for ever, and nobody looks: stuck, without any fault."""
    orders(lab, commit_then_send_in_any_case, ship_or_fail)
    lab.eventually(
        "every order is shipped in the end",
        lambda w: w.db.orders and w.db.orders[0].status == "sent",
    )
