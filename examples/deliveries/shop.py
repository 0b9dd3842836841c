"""A shop that hears of payments by a webhook, and ships by a queue. It knows nothing of the lab."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import httpx
from fastapi import FastAPI

API = "https://api.stripe.com/v1"
TABLES = """
CREATE TABLE events (id TEXT PRIMARY KEY);
CREATE TABLE payments (charge TEXT PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, shipped INT NOT NULL DEFAULT 0);
CREATE TABLE outbox ("order" INTEGER PRIMARY KEY);
"""
app = FastAPI()


class Broker:
    """Whatever sends a message to the warehouse."""

    send: Callable[[object], None]


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("shop.db")
    db.row_factory = sqlite3.Row
    return db


# ── payments ─────────────────────────────────────────────────────────────────────────────────────


@app.post("/pay")
def pay() -> dict[str, str]:
    keyed = {"Idempotency-Key": "order-1"}
    answer = httpx.post(f"{API}/charges", data={"amount": "4900"}, headers=keyed)
    answer.raise_for_status()
    return {"status": "thank you"}


@app.post("/hook/as-usual")
def hear_as_usual(event: dict[str, Any]) -> None:
    """It remembers the events that it has seen. Who dies after that has seen it, and no more."""
    db = connect()
    if db.execute("SELECT 1 FROM events WHERE id = ?", (event["id"],)).fetchone():
        return
    with db:
        db.execute("INSERT INTO events VALUES (?)", (event["id"],))
    with db:
        db.execute("INSERT INTO payments VALUES (?)", (event["data"]["object"]["id"],))


@app.post("/hook")
def hear(event: dict[str, Any]) -> None:
    """It remembers what the events are about, and nothing else."""
    book(event["data"]["object"]["id"])


def book(charge: str) -> None:
    with connect() as db:
        db.execute("INSERT INTO payments VALUES (?) ON CONFLICT DO NOTHING", (charge,))


def look() -> None:
    """Every hour: what was paid, whether or not a webhook came."""
    answer = httpx.get(f"{API}/charges")
    answer.raise_for_status()
    for one in answer.json()["data"]:
        book(one["id"])


# ── shipping ─────────────────────────────────────────────────────────────────────────────────────


@app.post("/order/as-usual")
def order_as_usual() -> None:
    """The message goes out before the order is there, and a quick worker does not find it."""
    with connect() as db:
        db.execute("INSERT INTO orders (id) VALUES (1) ON CONFLICT DO NOTHING")
        Broker.send({"order": 1})


@app.post("/order")
def order() -> None:
    """The message is part of the transaction; somebody else sends it."""
    with connect() as db:
        if db.execute("INSERT INTO orders (id) VALUES (1) ON CONFLICT DO NOTHING").rowcount:
            db.execute("INSERT INTO outbox VALUES (1)")


def relay() -> None:
    """Every second: send what is to be sent. It may be sent twice; the warehouse can bear that."""
    db = connect()
    for row in db.execute("SELECT * FROM outbox").fetchall():
        Broker.send({"order": row["order"]})
        with db:
            db.execute('DELETE FROM outbox WHERE "order" = ?', (row["order"],))


def ship(message: dict[str, int]) -> None:
    """The warehouse, with one message."""
    db = connect()
    if db.execute("SELECT 1 FROM orders WHERE id = ?", (message["order"],)).fetchone():
        with db:
            db.execute("UPDATE orders SET shipped = 1 WHERE id = ?", (message["order"],))
