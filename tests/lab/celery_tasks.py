"""A Celery application as many are: an order, an invoice, a mail. Nothing here knows the lab."""

from __future__ import annotations

import sqlite3

import httpx
from celery import Celery, Task, chain, group
from celery.exceptions import Reject

app = Celery("shop", broker="redis://localhost:6379/0", backend=None)
app.conf.task_ignore_result = True

ORDERS = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, status TEXT NOT NULL DEFAULT 'new');
CREATE TABLE invoices (id INTEGER PRIMARY KEY, "order" INTEGER NOT NULL, charge TEXT);
"""


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("celery.db")
    db.row_factory = sqlite3.Row
    return db


def invoice(number: int) -> None:
    db = connect()
    with db:
        db.execute('INSERT INTO invoices ("order") VALUES (?)', (number,))


def invoice_once(number: int) -> None:
    db = connect()
    with db:
        db.execute(
            'INSERT INTO invoices ("order") SELECT ? WHERE NOT EXISTS (SELECT 1 FROM invoices WHERE "order" = ?)',
            (number, number),
        )


@app.task
def invoice_early(number: int) -> None:
    """Acknowledged before it begins: Celery's default."""
    invoice_once(number)


@app.task(acks_late=True, reject_on_worker_lost=True)
def invoice_late(number: int) -> None:
    """Acknowledged when it is done, or has failed."""
    try:
        invoice(number)
    except sqlite3.OperationalError as error:
        raise Reject(error, requeue=True) from error


@app.task(acks_late=True, reject_on_worker_lost=True)
def invoice_late_and_once(number: int) -> None:
    """An exception counts as done, whatever acks_late seems to say."""
    invoice_once(number)


@app.task(acks_late=True, reject_on_worker_lost=True)
def invoice_until_it_is_done(number: int) -> None:
    try:
        invoice_once(number)
    except sqlite3.OperationalError as error:
        raise Reject(error, requeue=True) from error


@app.task(acks_late=True)
def invoice_in_a_pool(number: int) -> None:
    """All but for `reject_on_worker_lost`."""
    try:
        invoice_once(number)
    except sqlite3.OperationalError as error:
        raise Reject(error, requeue=True) from error


@app.task(acks_late=True, reject_on_worker_lost=True)
def invoice_if_there_is_an_order(email: str) -> None:
    try:
        row = connect().execute("SELECT id FROM orders WHERE email = ?", (email,)).fetchone()
        if row is not None:
            invoice_once(row["id"])
    except sqlite3.OperationalError as error:
        raise Reject(error, requeue=True) from error


def charge(number: int, key: str | None) -> None:
    headers = {"Idempotency-Key": key} if key else {}
    answer = httpx.post(
        "https://api.stripe.com/v1/charges", data={"reference": str(number)}, headers=headers
    )
    answer.raise_for_status()


@app.task(autoretry_for=(httpx.HTTPError,), max_retries=2, retry_backoff=True)
def charge_and_try_again(number: int) -> None:
    charge(number, None)


@app.task(
    autoretry_for=(httpx.HTTPError,), max_retries=2, acks_late=True, reject_on_worker_lost=True
)
def charge_and_try_again_with_a_key(number: int) -> None:
    charge(number, f"order-{number}")


@app.task(bind=True)
def note_its_id(self: Task, number: int) -> None:
    db = connect()
    with db:
        db.execute("INSERT INTO orders (email) VALUES (?)", (self.request.id,))


@app.task(expires=60)
def expires_soon(number: int) -> None:
    invoice_once(number)


@app.task(acks_late=True, reject_on_worker_lost=True)
def pack(number: int) -> None:
    """Does nothing, and is the first of two."""


def pack_then_invoice() -> int:
    chain(pack.si(1), invoice_until_it_is_done.si(1)).delay()
    return 200


def pack_and_invoice() -> int:
    group(pack.si(1), invoice_until_it_is_done.si(1)).delay()
    return 200


def invoice_by_name() -> int:
    note_its_id.apply_async((1,), task_id="order-1")
    return 200


def send(task: Task, *args: object) -> int:
    task.delay(*args)
    return 200


def order_then_commit() -> int:
    db = connect()
    with db:
        db.execute("INSERT INTO orders (email) VALUES ('ada') ON CONFLICT DO NOTHING")
        invoice_if_there_is_an_order.delay("ada")
    return 200


def commit_then_order() -> int:
    db = connect()
    with db:
        db.execute("INSERT INTO orders (email) VALUES ('ada') ON CONFLICT DO NOTHING")
    invoice_if_there_is_an_order.delay("ada")
    return 200
