"""What the three versions share: the table, Stripe's API, the welcome mail."""

from __future__ import annotations

import smtplib
import sqlite3
from email.message import EmailMessage

import httpx
from pydantic import BaseModel

PRICE = "4900"


class Signup(BaseModel):
    email: str


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("signup.db")
    db.row_factory = sqlite3.Row
    return db


def create_tables(payments_per_user: str = "UNIQUE") -> None:
    db = connect()
    db.executescript(f"""
        CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, customer TEXT);
        CREATE TABLE IF NOT EXISTS payments (
            id INTEGER PRIMARY KEY, user INTEGER {payments_per_user} NOT NULL, charge TEXT NOT NULL
        );
    """)
    db.close()


def stripe(path: str, fields: dict[str, str], key: str | None = None) -> dict[str, str]:
    headers = {"Authorization": "Bearer sk_test"} | ({"Idempotency-Key": key} if key else {})
    answer = httpx.post(
        f"https://api.stripe.com/v1/{path}", data=fields, headers=headers, timeout=10
    )
    answer.raise_for_status()
    created: dict[str, str] = answer.json()
    return created


def welcome(email: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Welcome!", "hello@example.com", email
    message.set_content("Your account is ready.")
    with smtplib.SMTP("smtp.example.com") as server:
        server.send_message(message)
