"""What the handlers of the corpus have in common: a table, and how one charges a card. Nothing here knows the lab."""

from __future__ import annotations

import sqlite3

import httpx

ORDERS = """
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    email TEXT UNIQUE,
    status TEXT NOT NULL DEFAULT 'new',
    key TEXT,
    charge TEXT,
    attempts INTEGER NOT NULL DEFAULT 0
);
"""
API = "https://api.stripe.com/v1"
EMAIL = "ada@example.com"


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("shop.db")
    db.row_factory = sqlite3.Row
    return db


def order(db: sqlite3.Connection, email: str = EMAIL) -> sqlite3.Row:
    """The order of this customer, made if it is not there."""
    db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (email,))
    db.commit()
    row: sqlite3.Row = db.execute("SELECT * FROM orders WHERE email = ?", (email,)).fetchone()
    return row


def charge(reference: object, key: str | None = None) -> str:
    """Charge 49 EUR; the id of the charge."""
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = httpx.post(
        f"{API}/charges", data={"amount": "4900", "reference": str(reference)}, headers=headers
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def paid(db: sqlite3.Connection, number: int, charge_id: str) -> None:
    """Write down that the order is paid."""
    db.execute("UPDATE orders SET status = 'paid', charge = ? WHERE id = ?", (charge_id, number))
    db.commit()
