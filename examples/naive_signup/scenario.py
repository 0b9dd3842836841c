"""The scenario, the same for all versions: one user who asks again when no answer came, and what a shop promises."""

from __future__ import annotations

from fastapi import FastAPI

from examples.naive_signup import as_usual, with_keys, with_retries
from examples.naive_signup.common import create_tables
from troth.lab import Lab

VERSIONS: dict[str, FastAPI] = {
    "as usually written": as_usual.app,
    "with a tutorial's retries": with_retries.app,
    "with idempotency keys": with_keys.app,
}


def describe(lab: Lab, app: FastAPI) -> None:
    lab.database("signup.db", migrate=create_tables)
    lab.stripe()
    box = lab.mailbox()
    lab.user(lab.http(app).post("/signup", json={"email": "ada@example.com"}))
    lab.always(
        "charged at most once",
        lambda w: len(w.stripe.charges) <= 1,
        costs="49 EUR and a dispute fee",
    )
    lab.told(200, "registered and paid", lambda w: w.db.users and w.db.payments)
    lab.told(
        409, "whoever is told that the account exists has one that is paid", lambda w: w.db.payments
    )
    lab.eventually(
        "who asks long enough is registered and paid", lambda w: w.db.users and w.db.payments
    )
    lab.accept("the welcome mail may repeat", sink=box, because="harmless")
