"""The scenario, the same for all versions: a user who asks again for an hour when no answer came, and what a shop promises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from fastapi import FastAPI

from examples.naive_signup import as_usual, with_keys, with_retries
from examples.naive_signup.common import create_tables
from troth.lab import Lab

VERSIONS: dict[str, tuple[FastAPI, Callable[[], None]]] = {
    "as usually written": (as_usual.app, create_tables),
    "with a tutorial's retries": (with_retries.app, create_tables),
    "with keys, without a constraint": (with_keys.app, partial(create_tables, "")),
    "with keys and a constraint": (with_keys.app, create_tables),
}


def describe(lab: Lab, app: FastAPI, migrate: Callable[[], None]) -> None:
    lab.database("signup.db", migrate=migrate)
    lab.stripe()
    box = lab.mailbox()
    signup = lab.http(app).post("/signup", json={"email": "ada@example.com"})
    lab.user(signup, within=timedelta(hours=1))
    lab.always(
        "charged at most once",
        lambda w: len(w.stripe.charges) <= 1,
        costs="49 EUR and a dispute fee",
    )
    lab.always("recorded at most once", lambda w: len(w.db.payments) <= 1, costs="wrong books")
    lab.told(200, "registered and paid", lambda w: w.db.users and w.db.payments)
    lab.told(
        409, "whoever is told that the account exists has one that is paid", lambda w: w.db.payments
    )
    lab.eventually(
        "who asks long enough is registered and paid", lambda w: w.db.users and w.db.payments
    )
    lab.accept("the welcome mail may repeat", sink=box, because="harmless")
