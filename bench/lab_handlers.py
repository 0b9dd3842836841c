"""The handlers of `bench.lab`: an order of a shop, of 10, 15, 20 and 50 calls, as usually written and corrected.

Calls are statements, commits, requests and mails; a connection, its end and the answer are not counted. Every handler can be asked
again at any time: it goes on from what it finds. Corrected, each effect has a key that a repetition shares, and each row a constraint.
"""

from __future__ import annotations

import smtplib
import sqlite3
import uuid
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import Any, NamedTuple

import httpx
import psycopg
from fastapi import FastAPI
from psycopg.rows import dict_row

from troth.lab import Lab

API = "https://api.stripe.com/v1"
EMAIL = "ada@example.com"
FILE = "bench-shop.db"


class Handler(NamedTuple):
    """A scenario, how many calls one clean run makes, and the word that is true of it."""

    name: str
    calls: int
    word: str
    describe: Callable[[Lab, str], None]
    """Gets the lab and the URL of a PostgreSQL server."""


class Provider:
    """What a handler asks of others. `keyed`: whether its effects have keys that a repetition shares."""

    def __init__(self, *, keyed: bool) -> None:
        self.keyed = keyed

    def post(self, what: str, key: str, **fields: object) -> str:
        """An effect; the id of what was made."""
        headers = {"Idempotency-Key": key if self.keyed else str(uuid.uuid4())}
        answer = httpx.post(f"{API}/{what}", data=fields, headers=headers)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def mail(self, subject: str) -> None:
        """A mail to the customer."""
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = subject, "shop@example.com", EMAIL
        message.set_content("hello")
        with smtplib.SMTP("mail.example.com") as server:
            server.send_message(message)


# ── 10 calls: FastAPI, SQLite ────────────────────────────────────────────────────────────────────

ORDERS = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT UNIQUE, status TEXT NOT NULL DEFAULT 'new', charge TEXT);
CREATE TABLE invoices (id INTEGER PRIMARY KEY, order_id INTEGER {unique}, cents INTEGER);
"""


def checkout(*, correct: bool) -> FastAPI:
    """An order with a charge, an invoice and a mail."""
    app, others = FastAPI(), Provider(keyed=correct)
    ignoring = "ON CONFLICT DO NOTHING" if correct else ""

    @app.post("/orders")
    def post() -> dict[str, object]:
        db = sqlite3.connect(FILE)
        db.row_factory = sqlite3.Row
        db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (EMAIL,))
        db.commit()
        mine = db.execute("SELECT * FROM orders WHERE email = ?", (EMAIL,)).fetchone()
        number, status = mine["id"], mine["status"]
        if status == "new":
            charge = others.post("charges", f"charge-{number}", amount=4900)
            db.execute("UPDATE orders SET status = 'paid', charge = ? WHERE id = ?", (charge, number))  # fmt: skip
            db.execute(
                f"INSERT INTO invoices (order_id, cents) VALUES (?, 4900) {ignoring}", (number,)
            )
            db.commit()
        if status != "sent":
            others.mail(f"your order {number}")
            db.execute("UPDATE orders SET status = 'sent' WHERE id = ?", (number,))
            db.commit()
        db.close()
        return {"order": number}

    return app


def checkout_described(lab: Lab, *, correct: bool) -> None:
    lab.database(FILE, seed=ORDERS.format(unique="UNIQUE" if correct else ""))
    lab.stripe()
    lab.accept("the mail may repeat", sink=lab.mailbox(), because="harmless")
    lab.user(lab.http(checkout(correct=correct)).post("/orders"), within=timedelta(hours=1))
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    lab.always("one invoice at most", lambda w: len(w.db.invoices) <= 1)
    lab.told(200, "paid", lambda w: w.stripe.charges and w.db.orders[0].charge)


# ── 15 calls: a plain handler, PostgreSQL ────────────────────────────────────────────────────────

SEATS = """
CREATE TABLE seats (name text PRIMARY KEY, taken_by text);
CREATE TABLE bookings (email text PRIMARY KEY, seat text REFERENCES seats, status text NOT NULL DEFAULT 'new', payment text);
CREATE TABLE ledger (booking text {unique}, cents integer NOT NULL);
CREATE TABLE points (email text PRIMARY KEY, total integer NOT NULL);
INSERT INTO seats VALUES ('1A', NULL), ('1B', NULL);
"""


def booking(*, correct: bool) -> Callable[[], int]:
    """A seat that is held, paid, written into books, and rewarded with points."""
    others = Provider(keyed=correct)
    lock = "FOR UPDATE" if correct else ""

    def hold(db: psycopg.Connection[dict[str, Any]]) -> str:
        with db.transaction():
            db.execute("INSERT INTO bookings (email) VALUES (%s) ON CONFLICT DO NOTHING", (EMAIL,))
            mine = _one(db, f"SELECT * FROM bookings WHERE email = %s {lock}", EMAIL)
            if mine["seat"] is None:
                free = _one(
                    db,
                    f"SELECT name FROM seats WHERE taken_by IS NULL ORDER BY name LIMIT 1 {lock}",
                )
                db.execute("UPDATE seats SET taken_by = %s WHERE name = %s", (EMAIL, free["name"]))
                db.execute("UPDATE bookings SET seat = %s, status = 'held' WHERE email = %s", (free["name"], EMAIL))  # fmt: skip
                return "held"
            return str(mine["status"])

    def enter(db: psycopg.Connection[dict[str, Any]], payment: str) -> None:
        with db.transaction():
            mine = _one(db, f"SELECT status FROM bookings WHERE email = %s {lock}", EMAIL)
            if mine["status"] == "held" or not correct:
                db.execute("UPDATE bookings SET status = 'paid', payment = %s WHERE email = %s", (payment, EMAIL))  # fmt: skip
                db.execute("INSERT INTO ledger VALUES (%s, 4900)", (EMAIL,))
                db.execute(
                    "INSERT INTO points VALUES (%s, 49) ON CONFLICT (email) DO UPDATE SET total = points.total + 49",
                    (EMAIL,),
                )

    def post() -> int:
        with psycopg.connect("host=db.internal", autocommit=True, row_factory=dict_row) as db:
            status = hold(db)
            if status == "held":
                enter(db, others.post("payment_intents", f"booking-{EMAIL}", amount=4900))
            if status != "sent":
                others.mail("your ticket")
                db.execute("UPDATE bookings SET status = 'sent' WHERE email = %s", (EMAIL,))
            _one(db, "SELECT seat FROM bookings WHERE email = %s", EMAIL)
        return 200

    return post


def _one(db: psycopg.Connection[dict[str, Any]], text: str, *values: object) -> dict[str, Any]:
    row = db.execute(text, values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row


def booking_described(lab: Lab, server: str, *, correct: bool) -> None:
    lab.database(server, seed=SEATS.format(unique="UNIQUE" if correct else ""))
    lab.stripe()
    lab.accept("the ticket may come twice", sink=lab.mailbox(), because="harmless")
    lab.user(booking(correct=correct), within=timedelta(hours=1))
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    lab.always("the books have it once", lambda w: len(w.db.ledger) <= 1)
    lab.always("points once", lambda w: all(one.total <= 49 for one in w.db.points))
    lab.always("one seat at most", lambda w: sum(one.taken_by is not None for one in w.db.seats) <= 1)  # fmt: skip
    lab.told(200, "paid", lambda w: w.db.bookings[0].payment)


# ── 20 and 50 calls: an order of several lines, PostgreSQL ───────────────────────────────────────

LINES = """
CREATE TABLE carts (email text PRIMARY KEY, status text NOT NULL DEFAULT 'new', payment text);
CREATE TABLE stock (item text PRIMARY KEY, left_over integer NOT NULL);
CREATE TABLE reserved (email text, item text, PRIMARY KEY (email, item));
CREATE TABLE shipments (email text {unique}, parcel text);
CREATE TABLE audit (email text {unique}, what text);
INSERT INTO stock SELECT 'item-' || n, 10 FROM generate_series(1, {items}) AS n;
"""


def cart(items: int, *, correct: bool) -> FastAPI:
    """Reserve each item, pay for all, ship. Three calls for each item."""
    app, others = FastAPI(), Provider(keyed=correct)

    def reserve(db: psycopg.Connection[dict[str, Any]], item: str) -> None:
        with db.transaction():
            made = db.execute("INSERT INTO reserved VALUES (%s, %s) ON CONFLICT DO NOTHING", (EMAIL, item))  # fmt: skip
            if made.rowcount or not correct:
                db.execute("UPDATE stock SET left_over = left_over - 1 WHERE item = %s", (item,))

    @app.post("/cart")
    def post() -> dict[str, object]:
        with psycopg.connect("host=db.internal", autocommit=True, row_factory=dict_row) as db:
            db.execute("INSERT INTO carts (email) VALUES (%s) ON CONFLICT DO NOTHING", (EMAIL,))
            mine = _one(db, "SELECT * FROM carts WHERE email = %s", EMAIL)
            if mine["status"] == "new":
                for number in range(1, items + 1):
                    reserve(db, f"item-{number}")
                paid = others.post("payment_intents", f"cart-{EMAIL}", amount=4900)
                db.execute("UPDATE carts SET status = 'paid', payment = %s WHERE email = %s", (paid, EMAIL))  # fmt: skip
            if mine["status"] != "done":
                with db.transaction():
                    db.execute("INSERT INTO shipments VALUES (%s, 'parcel') ON CONFLICT DO NOTHING", (EMAIL,))  # fmt: skip
                    db.execute("INSERT INTO audit VALUES (%s, 'shipped') ON CONFLICT DO NOTHING", (EMAIL,))  # fmt: skip
                    db.execute("UPDATE carts SET status = 'done' WHERE email = %s", (EMAIL,))
        return {}

    return app


def cart_described(lab: Lab, server: str, items: int, *, correct: bool) -> None:
    unique = "PRIMARY KEY" if correct else ""
    lab.database(server, seed=LINES.format(unique=unique, items=items))
    lab.stripe()
    lab.user(lab.http(cart(items, correct=correct)).post("/cart"), within=timedelta(hours=1))
    lab.always("charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR")
    lab.always("shipped at most once", lambda w: len(w.db.shipments) <= 1, costs="a parcel")
    lab.always("an item is taken once", lambda w: all(one.left_over >= 9 for one in w.db.stock))
    lab.told(200, "paid", lambda w: w.db.carts[0].payment)


HANDLERS = (
    Handler("10 calls, FastAPI and SQLite, as usual", 10, "VIOLATED", lambda lab, _: checkout_described(lab, correct=False)),
    Handler("10 calls, FastAPI and SQLite, corrected", 10, "HOLDS", lambda lab, _: checkout_described(lab, correct=True)),
    Handler("15 calls, PostgreSQL, as usual", 15, "VIOLATED", lambda lab, server: booking_described(lab, server, correct=False)),
    Handler("15 calls, PostgreSQL, corrected", 15, "HOLDS", lambda lab, server: booking_described(lab, server, correct=True)),
    Handler("20 calls, FastAPI and PostgreSQL, as usual", 20, "VIOLATED", lambda lab, server: cart_described(lab, server, 4, correct=False)),
    Handler("20 calls, FastAPI and PostgreSQL, corrected", 20, "HOLDS", lambda lab, server: cart_described(lab, server, 4, correct=True)),
    Handler("50 calls, FastAPI and PostgreSQL, corrected", 50, "", lambda lab, server: cart_described(lab, server, 14, correct=True)),
)  # fmt: skip
