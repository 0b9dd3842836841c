"""Webhooks: what a provider's own state brings about. Twice, out of order, early, and sometimes never."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.lab.corpus import correct, correct_and_large, trap
from tests.lab.corpus.shop import API, charge
from tests.lab.corpus.traps import HOUR
from troth.lab import Lab

TABLES = """
CREATE TABLE account (credit INT NOT NULL);
INSERT INTO account VALUES (0);
CREATE TABLE seen (id TEXT PRIMARY KEY);
CREATE TABLE orders (id INTEGER PRIMARY KEY, charge TEXT UNIQUE, status TEXT NOT NULL);
CREATE TABLE subscriptions (id TEXT PRIMARY KEY, status TEXT NOT NULL);
"""
App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any
]


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("hooks.db")
    db.row_factory = sqlite3.Row
    return db


def endpoint(handler: Callable[[dict[str, Any]], int]) -> App:
    """A webhook without a framework: the event as a dictionary, the status as a number."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        event = json.loads((await receive())["body"])
        status = handler(event)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


def pay() -> int:
    charge("deposit", key="deposit")
    return 200


def deposits(lab: Lab, app: App, *, loses: bool = False) -> None:
    """Somebody pays once; what the webhook hears of it is credited."""
    lab.database("hooks.db", seed=TABLES)
    stripe = lab.stripe()
    lab.user(pay, overlap=1, within=HOUR)
    lab.delivers(stripe.events, to=lab.http(app).post("/hook"), loses=loses)
    lab.always("credited once", lambda w: w.db.account[0].credit <= 1, costs="49 EUR")
    lab.at_rest(
        "what was paid is credited",
        lambda w: w.db.account[0].credit == min(len(w.stripe.charges), 1),
    )


def credit_it(event: dict[str, Any]) -> int:
    db = connect()
    db.execute("UPDATE account SET credit = credit + 1")
    db.commit()
    return 200


@trap("VIOLATED", "crash")
def hook_that_believes_in_once(lab: Lab) -> None:
    deposits(lab, endpoint(credit_it))


def credit_unless_seen(event: dict[str, Any]) -> int:
    db = connect()
    if db.execute("SELECT 1 FROM seen WHERE id = ?", (event["id"],)).fetchone():
        return 200
    db.execute("INSERT INTO seen VALUES (?)", (event["id"],))
    db.execute("UPDATE account SET credit = credit + 1")
    db.commit()
    return 200


def intend() -> int:
    answer = httpx.post(
        f"{API}/payment_intents", data={"amount": "4900"}, headers={"Idempotency-Key": "deposit"}
    )
    answer.raise_for_status()
    return 200


@trap("VIOLATED")
def hook_that_knows_events_and_not_objects(lab: Lab) -> None:
    """It has an inbox. But of one payment there are two events, each with an id of its own."""
    lab.database("hooks.db", seed=TABLES)
    stripe = lab.stripe()
    lab.user(intend, overlap=1, within=HOUR)
    lab.delivers(stripe.events, to=lab.http(endpoint(credit_unless_seen)).post("/hook"))
    lab.always("credited once", lambda w: w.db.account[0].credit <= 1, costs="49 EUR")


def credit_by_object(event: dict[str, Any]) -> int:
    thing = event["data"]["object"]
    db = connect()
    with db:
        made = db.execute("INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING", (thing["id"],))
        if made.rowcount:
            db.execute("UPDATE account SET credit = credit + 1")
    return 200


@correct
def hook_with_an_inbox_by_object(lab: Lab) -> None:
    deposits(lab, endpoint(credit_by_object))


async def accept_then_commit(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, as is advised, and works afterwards, in memory."""
    assert scope["type"] == "http"
    event = json.loads((await receive())["body"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})
    credit_by_object(event)


@trap("VIOLATED", "crash")
def hook_that_accepts_before_it_commits(lab: Lab) -> None:
    """The inbox is right. But the provider was told 2xx before anything was durable, and does not come again."""
    deposits(lab, accept_then_commit)


@trap("VIOLATED", "lost delivery")
def hook_without_a_sweeper(lab: Lab) -> None:
    """A provider that gives up (its endpoint was disabled, its retries ran out) leaves the payment unknown to the books."""
    deposits(lab, endpoint(credit_by_object), loses=True)


def sweep() -> None:
    """Looks at all payments, whether or not anybody told about them."""
    answer = httpx.get(f"{API}/charges")
    answer.raise_for_status()
    for one in answer.json()["data"]:
        credit_by_object({"data": {"object": one}})


@correct_and_large
def hook_with_a_sweeper(lab: Lab) -> None:
    deposits(lab, endpoint(credit_by_object), loses=True)
    lab.timer(sweep)


# ── early ────────────────────────────────────────────────────────────────────────────────────────


def buy() -> int:
    db = connect()
    made = charge("order", key="order")
    with db:
        db.execute(
            "INSERT INTO orders (charge, status) VALUES (?, 'new') ON CONFLICT DO NOTHING", (made,)
        )
    return 200


def orders(lab: Lab, handler: Callable[[dict[str, Any]], int]) -> None:
    lab.database("hooks.db", seed=TABLES)
    stripe = lab.stripe()
    lab.user(buy, overlap=1, within=HOUR)
    lab.delivers(stripe.events, to=lab.http(endpoint(handler)).post("/hook"), n=1)
    lab.at_rest("every order is paid", lambda w: all(one.status == "paid" for one in w.db.orders))


def mark_the_order(event: dict[str, Any]) -> int:
    db = connect()
    with db:
        db.execute(
            "UPDATE orders SET status = 'paid' WHERE charge = ?", (event["data"]["object"]["id"],)
        )
    return 200


@trap("VIOLATED", "delivery meanwhile")
def hook_that_is_early(lab: Lab) -> None:
    """The event comes before the order is stored, finds nothing, and is accepted."""
    orders(lab, mark_the_order)


def mark_the_order_or_come_again(event: dict[str, Any]) -> int:
    db = connect()
    with db:
        marked = db.execute(
            "UPDATE orders SET status = 'paid' WHERE charge = ?", (event["data"]["object"]["id"],)
        )
    return 200 if marked.rowcount else 404


@correct_and_large
def hook_that_asks_to_come_again(lab: Lab) -> None:
    """What it does not know yet it does not accept."""
    orders(lab, mark_the_order_or_come_again)


# ── order ────────────────────────────────────────────────────────────────────────────────────────


def subscribe_and_cancel() -> int:
    keyed = {"Idempotency-Key": "subscription"}
    made = httpx.post(f"{API}/subscriptions", data={"price": "basic"}, headers=keyed)
    made.raise_for_status()
    httpx.delete(f"{API}/subscriptions/{made.json()['id']}").raise_for_status()
    return 200


def subscriptions(lab: Lab, handler: Callable[[dict[str, Any]], int]) -> None:
    lab.database("hooks.db", seed=TABLES)
    stripe = lab.stripe()
    lab.user(subscribe_and_cancel, overlap=1, within=HOUR)
    lab.delivers(stripe.events, to=lab.http(endpoint(handler)).post("/hook"), n=1)
    lab.at_rest(
        "what is canceled there is canceled here",
        lambda w: (
            {one.id: one.status for one in w.db.subscriptions}
            == {one["id"]: one["status"] for one in w.stripe.subscriptions}
        ),
    )


def store_what_it_says(event: dict[str, Any]) -> int:
    thing = event["data"]["object"]
    db = connect()
    with db:
        db.execute(
            "INSERT INTO subscriptions VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status",
            (thing["id"], thing["status"]),
        )
    return 200


@trap("VIOLATED", "message out of order")
def hook_that_trusts_the_order(lab: Lab) -> None:
    """Created comes after canceled, and the subscription lives on in the books."""
    subscriptions(lab, store_what_it_says)


def store_what_is_final(event: dict[str, Any]) -> int:
    thing = event["data"]["object"]
    db = connect()
    with db:
        db.execute(
            "INSERT INTO subscriptions VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status "
            "WHERE subscriptions.status <> 'canceled'",
            (thing["id"], thing["status"]),
        )
    return 200


@correct_and_large
def hook_whose_states_only_go_forward(lab: Lab) -> None:
    subscriptions(lab, store_what_is_final)
