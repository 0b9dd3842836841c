"""The programs of `bench.lab_beside`: small handlers on SQLite and an HTTP provider, with what is wrong with each."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import httpx

ORDERS = "CREATE TABLE orders (id INTEGER PRIMARY KEY, email TEXT UNIQUE, status TEXT DEFAULT 'new', charge TEXT)"
PAYMENTS = "CREATE TABLE payments (id INTEGER PRIMARY KEY, email TEXT {}, charge TEXT)"
ACCOUNT = "CREATE TABLE account (credit INT, spent INT); INSERT INTO account VALUES (100, 0)"
CHARGES = "https://api.stripe.com/v1/charges"
FILE = "bench-lab.db"


def connect() -> sqlite3.Connection:
    db = sqlite3.connect(FILE)
    db.row_factory = sqlite3.Row
    return db


def charge(key: str | None) -> str:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = httpx.post(CHARGES, data={"amount": "4900"}, headers=headers)
    answer.raise_for_status()
    return str(answer.json()["id"])


def buy(key: Callable[[int], str | None]) -> int:
    db = connect()
    db.execute("INSERT INTO orders (email) VALUES ('ada@example.com') ON CONFLICT DO NOTHING")
    db.commit()
    mine = db.execute("SELECT * FROM orders").fetchone()
    if mine["status"] != "paid":
        charged = charge(key(mine["id"]))
        db.execute("UPDATE orders SET status = 'paid', charge = ?", (charged,))
        db.commit()
    return 200


def without_a_key() -> int:
    return buy(lambda _: None)


def with_a_new_key() -> int:
    return buy(lambda _: str(uuid.uuid4()))


def with_a_stable_key() -> int:
    return buy(lambda number: f"order-{number}")


def asking_first() -> int:
    db = connect()
    if db.execute("SELECT 1 FROM payments").fetchone() is None:
        found = httpx.get(CHARGES).json()["data"]
        charged = found[0]["id"] if found else charge(None)
        db.execute(
            "INSERT INTO payments (email, charge) VALUES ('ada', ?) ON CONFLICT DO NOTHING",
            (charged,),
        )
        db.commit()
    return 200


def recorded_without_a_constraint() -> int:
    db = connect()
    if db.execute("SELECT 1 FROM payments").fetchone() is None:
        charged = charge("ada")
        db.execute("INSERT INTO payments (email, charge) VALUES ('ada', ?)", (charged,))
        db.commit()
    return 200


def recorded_with_a_constraint() -> int:
    db = connect()
    if db.execute("SELECT 1 FROM payments").fetchone() is None:
        charged = charge("ada")
        db.execute(
            "INSERT INTO payments (email, charge) VALUES ('ada', ?) ON CONFLICT DO NOTHING",
            (charged,),
        )
        db.commit()
    return 200


def spend_what_was_read() -> int:
    db = connect()
    credit = db.execute("SELECT credit FROM account").fetchone()[0]
    if credit >= 100:
        db.execute("UPDATE account SET credit = ?, spent = spent + 100", (credit - 100,))
        db.commit()
    return 200


def spend_what_is_there() -> int:
    db = connect()
    db.execute("UPDATE account SET credit = credit - 100, spent = spent + 100 WHERE credit >= 100")
    db.commit()
    return 200


@dataclass(frozen=True)
class Program:
    handler: Callable[[], int]
    seed: str
    wrong: bool


PROGRAMS = (
    Program(without_a_key, ORDERS, wrong=True),
    Program(with_a_new_key, ORDERS, wrong=True),
    Program(asking_first, PAYMENTS.format("UNIQUE"), wrong=True),
    Program(recorded_without_a_constraint, PAYMENTS.format(""), wrong=True),
    Program(spend_what_was_read, ACCOUNT, wrong=True),
    Program(with_a_stable_key, ORDERS, wrong=False),
    Program(recorded_with_a_constraint, PAYMENTS.format("UNIQUE"), wrong=False),
    Program(spend_what_is_there, ACCOUNT, wrong=False),
)


def sound(charges: int, payments: int, spent: int) -> bool:
    """What is promised of all of them."""
    return charges <= 1 and payments <= 1 and spent <= 100
