"""Locks and keys in Redis: three usual mistakes, and two handlers that do not depend on it for the truth."""

from __future__ import annotations

import redis

from tests.lab.corpus import correct, correct_and_large, trap
from tests.lab.corpus.shop import EMAIL, ORDERS, charge, connect, order, paid
from tests.lab.corpus.traps import HOUR, charged_once
from troth.lab import Lab

PAYMENTS = "CREATE TABLE payments (id INTEGER PRIMARY KEY, email TEXT {}, charge TEXT)"
store = redis.Redis(host="cache.internal")


def pay_under_a_lock() -> int:
    with store.lock("order", timeout=10, raise_on_release_error=False):
        db = connect()
        if db.execute("SELECT 1 FROM payments").fetchone() is None:
            db.execute("INSERT INTO payments (email) VALUES (?)", (EMAIL,))
            db.commit()
    return 200


@trap("VIOLATED", "impatient caller", "key that has expired")
def lock_that_runs_out_while_its_holder_is_slow(lab: Lab) -> None:
    """Nothing tells the database that somebody else holds the lock by now."""
    lab.database("shop.db", seed=PAYMENTS.format(""))
    lab.redis()
    lab.user(pay_under_a_lock)
    lab.always("paid once", lambda w: len(w.db.payments) <= 1, costs="49 EUR")


def pay_if_nobody_has_yet() -> int:
    if not store.set("seen:ada", "1", nx=True, ex=86_400):
        return 200
    db = connect()
    db.execute("INSERT INTO payments (email) VALUES (?)", (EMAIL,))
    db.commit()
    return 200


@trap("VIOLATED", "lost answer")
def key_in_redis_before_the_commit(lab: Lab) -> None:
    """Who dies in between is told, when he asks again, that it was done."""
    lab.database("shop.db", seed=PAYMENTS.format(""))
    lab.redis()
    lab.user(pay_if_nobody_has_yet, within=HOUR)
    lab.always("paid once", lambda w: len(w.db.payments) <= 1, costs="49 EUR")
    lab.told(200, "it is paid", lambda w: w.db.payments)


def pay_and_then_remember() -> int:
    if store.get("seen:ada"):
        return 200
    db = connect()
    db.execute("INSERT INTO payments (email) VALUES (?)", (EMAIL,))
    db.commit()
    store.set("seen:ada", "1", ex=86_400)
    return 200


@trap("VIOLATED", "crash")
def key_in_redis_after_the_commit(lab: Lab) -> None:
    """Who dies in between does it again."""
    lab.database("shop.db", seed=PAYMENTS.format(""))
    lab.redis()
    lab.user(pay_and_then_remember, within=HOUR, overlap=1)
    lab.always("paid once", lambda w: len(w.db.payments) <= 1, costs="49 EUR")


def pay_with_a_constraint_below_the_lock() -> int:
    with store.lock("order", timeout=10, raise_on_release_error=False):
        db = connect()
        db.execute("INSERT INTO payments (email) VALUES (?) ON CONFLICT DO NOTHING", (EMAIL,))
        db.commit()
    return 200


@correct_and_large
def lock_above_a_constraint(lab: Lab) -> None:
    """The lock saves work; what is true is in the database."""
    lab.database("shop.db", seed=PAYMENTS.format("UNIQUE"))
    lab.redis()
    lab.user(pay_with_a_constraint_below_the_lock)
    lab.always("paid once", lambda w: len(w.db.payments) <= 1, costs="49 EUR")
    lab.told(200, "it is paid", lambda w: w.db.payments)
    lab.eventually("it is paid", lambda w: w.db.payments)


def buy_and_cache_the_answer() -> int:
    if store.get("paid:ada"):
        return 200
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    store.set("paid:ada", "1", ex=60)
    return 200


@correct
def answer_that_is_cached_after_the_commit(lab: Lab) -> None:
    """Whoever does not find it in Redis looks into the database."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.redis()
    lab.user(buy_and_cache_the_answer, within=HOUR)
    charged_once(lab)
    lab.told(200, "it is paid", lambda w: w.db.orders[0].charge)
