"""Handlers that are wrong. Each looks like something that somebody has shipped."""

from __future__ import annotations

import functools
import hashlib
import itertools
import smtplib
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx

from tests.lab.corpus import trap
from tests.lab.corpus.shop import API, EMAIL, ORDERS, charge, connect, order, paid
from troth.lab import Lab, effect
from troth.lab.provider import Call, Shelf
from troth.lab.stripe import Stripe

HOUR = timedelta(hours=1)


def shop(
    lab: Lab,
    handler: Callable[[], object],
    *,
    within: timedelta | None = HOUR,
    overlap: int = 2,
) -> None:
    """One customer who buys, and asks again for an hour; and the two promises of every shop."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(handler, within=within, overlap=overlap)
    charged_once(lab)
    lab.told(200, "the order is paid", lambda w: w.db.orders and w.db.orders[0].charge)


def charged_once(lab: Lab) -> None:
    lab.always(
        "charged at most once", lambda w: len(w.stripe.charges) <= 1, costs="49 EUR and a dispute"
    )


# ── names ────────────────────────────────────────────────────────────────────────────────────────


def buy_with_a_new_key() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=str(uuid.uuid4())))
    return 200


@trap("VIOLATED", "impatient caller")
def key_per_attempt(lab: Lab) -> None:
    """The key is made anew by every attempt, so the provider cannot know that it is the same payment."""
    shop(lab, buy_with_a_new_key)


def buy_with_a_hashed_new_key() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=hashlib.sha256(uuid.uuid4().bytes).hexdigest()))
    return 200


@trap("VIOLATED", "impatient caller")
def hashed_key_per_attempt(lab: Lab) -> None:
    """The same, and the random value cannot be recognised in the world, because it was hashed."""
    shop(lab, buy_with_a_hashed_new_key)


def buy_with_a_key_by_the_clock() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}-{int(time.time())}"))
    return 200


@trap("VIOLATED", "impatient caller")
def key_by_the_clock(lab: Lab) -> None:
    shop(lab, buy_with_a_key_by_the_clock)


def buy_by_time_of_day(email: str) -> int:
    db = connect()
    mine = order(db, email)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge("order", key=f"order-{int(time.time())}"))
    return 200


@trap("VIOLATED")
def two_customers_in_one_tick(lab: Lab) -> None:
    """The key is the second in which somebody buys: the second customer of that second gets the first one's charge."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(functools.partial(buy_by_time_of_day, EMAIL))
    lab.user(functools.partial(buy_by_time_of_day, "bob@example.com"))
    lab.at_rest(
        "everybody has a charge of their own",
        lambda w: len({row.charge for row in w.db.orders}) == len(w.db.orders),
    )


# ── counting, giving up, compensating ────────────────────────────────────────────────────────────


def buy_or_give_up() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] == "failed":
        return 402
    if mine["attempts"] >= 4:
        db.execute("UPDATE orders SET status = 'failed' WHERE id = ?", (mine["id"],))
        db.commit()
        return 402
    db.execute("UPDATE orders SET attempts = attempts + 1 WHERE id = ?", (mine["id"],))
    db.commit()
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    return 200


@trap("VIOLATED", "crash", "crash", "crash", "crash")
def gives_up_without_asking(lab: Lab) -> None:
    """After four attempts the customer is told no, though any of them may have charged."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(buy_or_give_up)
    lab.told(402, "no money was kept", lambda w: not w.stripe.charges, costs="49 EUR")


def buy_or_refund() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] in {"paid", "failed"}:
        return 200 if mine["status"] == "paid" else 402
    try:
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    except httpx.HTTPError:
        db.execute("UPDATE orders SET status = 'failed' WHERE id = ?", (mine["id"],))
        db.commit()
        found = httpx.get(f"{API}/charges", params={"reference": str(mine["id"])}).json()["data"]
        for one in found:
            httpx.post(f"{API}/refunds", data={"charge": one["id"]}).raise_for_status()
        return 402
    return 200


@trap("VIOLATED", "late effect")
def compensation_that_is_not_resumable(lab: Lab) -> None:
    """It refunds when the charge failed; if the refund fails too, the retry stops at the status that was written first."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(buy_or_refund)
    lab.told(
        402,
        "no money was kept",
        lambda w: all(one.refunded for one in w.stripe.charges),
        costs="49 EUR",
    )


# ── memory ───────────────────────────────────────────────────────────────────────────────────────

in_flight: set[str] = set()


def buy_once_at_a_time() -> int:
    if EMAIL in in_flight:
        return 409
    in_flight.add(EMAIL)
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    in_flight.discard(EMAIL)
    return 200


@trap("VIOLATED", "busy database")
def memory_that_is_not_cleared(lab: Lab) -> None:
    """An exception leaves the customer in the set for as long as the process lives."""
    shop(lab, buy_once_at_a_time)
    lab.at_rest(
        "the order is paid in the end", lambda w: w.db.orders and w.db.orders[0].status == "paid"
    )


@functools.lru_cache
def customer(email: str) -> str:
    answer = httpx.post(
        f"{API}/customers", data={"email": email}, headers={"Idempotency-Key": email}
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def buy_with_a_cached_customer() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(customer(EMAIL)))
    return 200


@trap("VIOLATED", "impatient caller")
def no_key_behind_a_cache(lab: Lab) -> None:
    """The cache changes what the next attempt does; the charge has no key."""
    shop(lab, buy_with_a_cached_customer)


numbers = itertools.count(1)


def buy_with_a_process_wide_number() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"payment-{next(numbers)}"))
    return 200


@trap("REFUSED")
def memory_that_cannot_be_put_back(lab: Lab) -> None:
    """The counter lives in C and starts again with the process: the lab can see that it moved, and must not speak."""
    shop(lab, buy_with_a_process_wide_number)


seen_at: dict[str, str] = {}


def buy_unless_just_seen() -> int:
    db = connect()
    mine = order(db)
    now = str(time.time())
    if seen_at.get(EMAIL) == mine["key"] and mine["key"] is not None:
        return 409
    seen_at[EMAIL] = now
    db.execute("UPDATE orders SET key = ? WHERE id = ?", (now, mine["id"]))
    db.commit()
    paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    return 200


@trap("VIOLATED", "lost answer")
def memory_of_a_time(lab: Lab) -> None:
    """What the process remembers is compared with what the database says; both must keep the same clock."""
    shop(lab, buy_unless_just_seen)
    lab.told(409, "it is paid", lambda w: w.db.orders and w.db.orders[0].status == "paid")


# ── overlap, lateness, expiry ────────────────────────────────────────────────────────────────────


class PromptStripe(Stripe):
    """A provider that does at once what it does at all."""

    @effect("POST /v1/charges", lands_within=timedelta(0))
    def create_charge(self, s: Shelf, req: Call) -> tuple[int, object]:
        return super().create_charge(s, req)


def buy_after_asking() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        answer = httpx.get(f"{API}/charges", params={"reference": str(mine["id"])})
        answer.raise_for_status()
        found = answer.json()["data"]
        paid(db, mine["id"], found[0]["id"] if found else charge(mine["id"]))
    return 200


@trap("VIOLATED", "crash with an effect under way", hides_in="late landing")
def probe_is_no_fence(lab: Lab) -> None:
    """It asks before it charges, one attempt after the other. A charge that lands after it has asked is charged twice."""
    shop(lab, buy_after_asking, overlap=1)


@trap("VIOLATED", "impatient caller", hides_in="overlap")
def probe_beside_another(lab: Lab) -> None:
    """The same, with a provider that is never late: two attempts both ask first, and then both charge."""
    lab.database("shop.db", seed=ORDERS)
    lab.provider(PromptStripe)
    lab.user(buy_after_asking, within=HOUR)
    charged_once(lab)


def buy_with_a_stable_key() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    return 200


@trap("VIOLATED", "crash", "key that has expired", hides_in="expiry")
def key_that_is_forgotten(lab: Lab) -> None:
    """The retry that comes after the key's lifetime charges again."""
    shop(lab, buy_with_a_stable_key, within=None)


@trap("VIOLATED", "crash", "key that has expired", hides_in="expiry")
def key_with_too_short_a_life(lab: Lab) -> None:
    """The customer asks again for two days, and the key lives for one."""
    shop(lab, buy_with_a_stable_key, within=timedelta(days=2))


def buy_with_a_key_of_ones_own() -> int:
    db = connect()
    mine = order(db)
    key = mine["key"]
    if key is None:
        key = str(uuid.uuid4())
        db.execute("UPDATE orders SET key = ? WHERE id = ? AND key IS NULL", (key, mine["id"]))
        db.commit()
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=key))
    return 200


@trap("VIOLATED", "impatient caller", hides_in="overlap")
def stored_key_that_is_not_read_again(lab: Lab) -> None:
    """The key is stored only if there is none, but who loses this race goes on with its own."""
    shop(lab, buy_with_a_key_of_ones_own)


def spend() -> int:
    db = connect()
    balance = db.execute("SELECT credit FROM account").fetchone()[0]
    if balance < 60:
        return 409
    db.execute("UPDATE account SET credit = ?, spent = spent + 60", (balance - 60,))
    db.commit()
    return 200


@trap("VIOLATED", "second caller", hides_in="overlap")
def lost_update(lab: Lab) -> None:
    """Both read the same balance, and both write what is left of it."""
    lab.database(
        "shop.db",
        seed="CREATE TABLE account (credit INT, spent INT); INSERT INTO account VALUES (100, 0)",
    )
    for _ in range(2):
        lab.user(spend, again=lambda answer: False)
    lab.always(
        "no more is spent than there was", lambda w: w.db.account[0].spent <= 100, costs="60"
    )


def claim_a_job() -> int:
    db = connect()
    job = db.execute("SELECT id FROM jobs WHERE state = 'ready'").fetchone()
    if job is None:
        return 200
    db.execute("UPDATE jobs SET state = 'taken' WHERE id = ?", (job[0],))
    db.commit()
    mail("your report")
    db.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job[0],))
    db.commit()
    return 200


@trap("VIOLATED", "impatient caller", hides_in="overlap")
def claim_without_a_condition(lab: Lab) -> None:
    """The claim is durable, but nobody looks whether somebody else has it."""
    lab.database(
        "shop.db",
        seed="CREATE TABLE jobs (id INT, state TEXT); INSERT INTO jobs VALUES (1, 'ready')",
    )
    lab.mailbox()
    lab.user(claim_a_job, again=lambda answer: answer is None)
    lab.monitor(
        "one report goes out while nothing fails",
        init=(0, False),
        step=lambda seen, w: (len(w.mailbox.messages), seen[1] or len(w.mailbox.messages) > 1),
        holds=lambda seen: not seen[1],
    )


def record_a_payment() -> int:
    db = connect()
    if db.execute("SELECT 1 FROM payments WHERE email = ?", (EMAIL,)).fetchone() is None:
        answer = charge(EMAIL, key=EMAIL)
        db.execute("INSERT INTO payments (email, charge) VALUES (?, ?)", (EMAIL, answer))
        db.commit()
    return 200


@trap("VIOLATED", "impatient caller", hides_in="overlap")
def payment_without_a_unique_constraint(lab: Lab) -> None:
    """Two attempts beside each other both find nothing and both insert."""
    lab.database(
        "shop.db", seed="CREATE TABLE payments (id INTEGER PRIMARY KEY, email TEXT, charge TEXT)"
    )
    lab.stripe()
    lab.user(record_a_payment, within=HOUR)
    lab.always("recorded once", lambda w: len(w.db.payments) <= 1, costs="wrong books")


# ── order of things ──────────────────────────────────────────────────────────────────────────────


def mail(subject: str) -> None:
    with smtplib.SMTP("mail.example.com") as server:
        server.sendmail("shop@example.com", [EMAIL], f"Subject: {subject}\n\nthank you")


def mail_then_commit() -> int:
    db = connect()
    if db.execute("SELECT 1 FROM orders WHERE email = ?", (EMAIL,)).fetchone():
        return 200
    db.execute("INSERT INTO orders (email) VALUES (?)", (EMAIL,))
    mail("your order")
    db.commit()
    return 200


@trap("VIOLATED", "crash")
def publish_before_commit(lab: Lab) -> None:
    """The customer reads about an order that was never stored."""
    lab.database("shop.db", seed=ORDERS)
    box = lab.mailbox()
    lab.user(mail_then_commit, again=lambda answer: False)
    lab.accept("the mail may repeat", sink=box, because="harmless")
    lab.at_rest("whoever got a mail has an order", lambda w: not w.mailbox.messages or w.db.orders)


async def answer_then_commit(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
) -> None:
    assert scope["type"] == "http"
    db = connect()
    db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (EMAIL,))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"stored"})
    db.commit()


@trap("VIOLATED", "crash")
def answer_before_durability(lab: Lab) -> None:
    """What a dependency with `yield`, or a background task, does: the commit comes after the answer."""
    lab.database("shop.db", seed=ORDERS)
    lab.user(lab.http(answer_then_commit).post("/orders"))
    lab.told(200, "the order is stored", lambda w: w.db.orders)


def charge_inside_the_transaction() -> int:
    db = connect()
    db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (EMAIL,))
    mine = db.execute("SELECT * FROM orders WHERE email = ?", (EMAIL,)).fetchone()
    if mine["charge"] is None:
        db.execute("UPDATE orders SET charge = ? WHERE id = ?", (charge(mine["id"]), mine["id"]))
    db.commit()
    return 200


@trap("VIOLATED", "crash")
def effect_inside_a_transaction(lab: Lab) -> None:
    """A rollback does not take the charge back."""
    shop(lab, charge_inside_the_transaction)


def mark_then_charge() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] == "paid":
        return 200
    db.execute("UPDATE orders SET status = 'paid' WHERE id = ?", (mine["id"],))
    db.commit()
    charge_id = charge(mine["id"], key=str(mine["id"]))
    db.execute("UPDATE orders SET charge = ? WHERE id = ?", (charge_id, mine["id"]))
    db.commit()
    return 200


@trap("VIOLATED", "crash")
def marked_before_it_was_done(lab: Lab) -> None:
    """Who comes again is told that it was paid."""
    shop(lab, mark_then_charge)


def swallow_the_error() -> int:
    db = connect()
    mine = order(db)
    try:
        paid(db, mine["id"], charge(mine["id"], key=str(mine["id"])))
    except Exception:  # noqa: BLE001
        return 200
    return 200


@trap("VIOLATED", "lost answer")
def swallowed_error(lab: Lab) -> None:
    shop(lab, swallow_the_error)


def treat_500_as_declined() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] == "paid":
        return 200
    answer = httpx.post(
        f"{API}/charges", data={"amount": "4900"}, headers={"Idempotency-Key": str(mine["id"])}
    )
    if answer.status_code != 200:
        return 402
    paid(db, mine["id"], answer.json()["id"])
    return 200


@trap("VIOLATED", "lost answer")
def error_taken_for_a_refusal(lab: Lab) -> None:
    """A 500 does not say that nothing happened."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(treat_500_as_declined)
    lab.told(402, "no money was kept", lambda w: not w.stripe.charges, costs="49 EUR")


# ── identity ─────────────────────────────────────────────────────────────────────────────────────


def pay_the_latest(email: str) -> int:
    db = connect()
    db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (email,))
    db.commit()
    latest = db.execute("SELECT * FROM orders ORDER BY id DESC LIMIT 1").fetchone()
    if latest["status"] != "paid":
        paid(db, latest["id"], charge(latest["id"], key=f"order-{latest['id']}"))
    return 200


@trap("VIOLATED", "second caller")
def latest_row_is_mine(lab: Lab) -> None:
    """True of one customer. With two, whoever comes again pays the other's order. Needs ids that survive a restore."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    for email in (EMAIL, "bob@example.com"):
        lab.user(functools.partial(pay_the_latest, email))
    lab.at_rest("every order is paid", lambda w: all(row.status == "paid" for row in w.db.orders))
