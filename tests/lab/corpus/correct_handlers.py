"""Handlers that are right, under overlap, late effects and any number of crashes. None may be called VIOLATED."""

from __future__ import annotations

import functools
import smtplib
import sqlite3
import time
import uuid
from datetime import UTC, datetime
from email.message import EmailMessage

import httpx
from fastapi import BackgroundTasks, FastAPI, Response

from tests.lab.corpus import correct, correct_and_keeping, correct_and_large
from tests.lab.corpus.shop import API, EMAIL, ORDERS, charge, connect, order, paid
from tests.lab.corpus.traps import HOUR, charged_once, shop
from troth.lab import Lab

# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


def buy_with_a_key() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    return 200


@correct
def key_by_the_order(lab: Lab) -> None:
    shop(lab, buy_with_a_key)
    lab.eventually("the order is paid", lambda w: w.db.orders and w.db.orders[0].status == "paid")


def buy_with_a_stored_key() -> int:
    db = connect()
    mine = order(db)
    key = mine["key"]
    if key is None:
        key = str(uuid.uuid4())
        db.execute("UPDATE orders SET key = ? WHERE id = ? AND key IS NULL", (key, mine["id"]))
        db.commit()
        key = db.execute("SELECT key FROM orders WHERE id = ?", (mine["id"],)).fetchone()[0]
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=key))
    return 200


@correct
def random_key_stored_before_use(lab: Lab) -> None:
    """A random value that becomes durable before anything depends on it is as good as a name."""
    shop(lab, buy_with_a_stored_key)
    lab.eventually("the order is paid", lambda w: w.db.orders and w.db.orders[0].status == "paid")


def buy_with_retries() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] == "paid":
        return 200
    for again in range(3):
        try:
            charge_id = charge(mine["id"], key=f"order-{mine['id']}")
        except httpx.HTTPError:
            time.sleep(2**again)
        else:
            paid(db, mine["id"], charge_id)
            return 200
    return 503


@correct
def retries_with_a_key(lab: Lab) -> None:
    shop(lab, buy_with_retries)


async def buy_asynchronously() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                f"{API}/charges",
                data={"amount": "4900"},
                headers={"Idempotency-Key": f"order-{mine['id']}"},
            )
        answer.raise_for_status()
        paid(db, mine["id"], answer.json()["id"])
    return 200


@correct
def async_client_with_a_key(lab: Lab) -> None:
    shop(lab, buy_asynchronously)


def buy_with_a_key_after_asking() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        answer = httpx.get(f"{API}/charges", params={"reference": str(mine["id"])})
        answer.raise_for_status()
        found = answer.json()["data"]
        key = f"order-{mine['id']}"
        paid(db, mine["id"], found[0]["id"] if found else charge(mine["id"], key=key))
    return 200


@correct
def key_for_today_and_a_question_for_tomorrow(lab: Lab) -> None:
    """While the key lives, it is the fence. When it is forgotten nothing is under way any more, and asking is enough."""
    shop(lab, buy_with_a_key_after_asking, within=None)
    lab.eventually("the order is paid", lambda w: w.db.orders and w.db.orders[0].status == "paid")


def spend_what_is_there() -> int:
    db = connect()
    spent = db.execute(
        "UPDATE account SET credit = credit - 60, spent = spent + 60 WHERE credit >= 60"
    ).rowcount
    db.commit()
    return 200 if spent else 409


@correct
def condition_in_the_update(lab: Lab) -> None:
    lab.database(
        "shop.db",
        seed="CREATE TABLE account (credit INT, spent INT); INSERT INTO account VALUES (100, 0)",
    )
    for _ in range(2):
        lab.user(spend_what_is_there, again=lambda answer: False)
    lab.always(
        "no more is spent than there was", lambda w: w.db.account[0].spent <= 100, costs="60"
    )


# ── one transaction ──────────────────────────────────────────────────────────────────────────────


def register() -> tuple[int, str]:
    db = connect()
    with db:
        db.execute("INSERT INTO orders (email) VALUES (?) ON CONFLICT DO NOTHING", (EMAIL,))
    return 200, "registered"


@correct
def one_insert(lab: Lab) -> None:
    lab.database("shop.db", seed=ORDERS)
    lab.user(register)
    lab.told(200, "there is an order", lambda w: len(w.db.orders) == 1)
    lab.always("never two", lambda w: len(w.db.orders) <= 1)


ACCOUNTS = """
CREATE TABLE accounts (name TEXT PRIMARY KEY, balance INTEGER NOT NULL CHECK (balance >= 0)) WITHOUT ROWID;
CREATE TABLE transfers (request TEXT PRIMARY KEY, amount INTEGER NOT NULL);
INSERT INTO accounts VALUES ('ada', 100), ('bob', 0);
"""


def transfer(request: str, amount: int) -> int:
    db = connect()
    try:
        with db:
            db.execute("INSERT INTO transfers VALUES (?, ?)", (request, amount))
            db.execute("UPDATE accounts SET balance = balance - ? WHERE name = 'ada'", (amount,))
            db.execute("UPDATE accounts SET balance = balance + ? WHERE name = 'bob'", (amount,))
    except sqlite3.IntegrityError as error:
        return 200 if "transfers" in str(error) else 409
    return 200


@correct
def transfer_in_one_transaction(lab: Lab) -> None:
    """The request's id, the debit and the credit commit together; what does not fit is refused."""
    lab.database("shop.db", seed=ACCOUNTS)
    lab.user(functools.partial(transfer, "first", 60))
    lab.user(functools.partial(transfer, "second", 60))
    lab.always(
        "no money is made",
        lambda w: sum(row.balance for row in w.db.accounts) == 100,
        costs="everything",
    )
    lab.at_rest("one of two fits", lambda w: len(w.db.transfers) == 1)


def receive_event(number: str) -> int:
    db = connect()
    db.execute("BEGIN IMMEDIATE")
    if db.execute("SELECT 1 FROM inbox WHERE event = ?", (number,)).fetchone():
        db.rollback()
        return 200
    db.execute("INSERT INTO inbox VALUES (?)", (number,))
    db.execute("UPDATE account SET credit = credit + 10")
    db.commit()
    return 200


@correct
def inbox_in_the_same_transaction(lab: Lab) -> None:
    lab.database(
        "shop.db",
        seed="CREATE TABLE inbox (event TEXT PRIMARY KEY); CREATE TABLE account (credit INTEGER); INSERT INTO account VALUES (0)",
    )
    for number in ("evt_1", "evt_2"):
        lab.user(functools.partial(receive_event, number))
    lab.at_rest("both credited, once", lambda w: w.db.account[0].credit == 20, costs="10 EUR")


# ── time, memory, counting ───────────────────────────────────────────────────────────────────────


def touch() -> int:
    db = connect()
    now = datetime.now(UTC).isoformat()
    db.execute(
        "INSERT INTO visits (email, first, last) VALUES (?, ?, ?) ON CONFLICT (email) DO UPDATE SET last = max(last, excluded.last), first = min(first, excluded.first)",
        (EMAIL, now, now),
    )
    db.commit()
    first, last = db.execute("SELECT first, last FROM visits").fetchone()
    charge(EMAIL, key=EMAIL)
    return 200 if first <= last else 500


@correct_and_large
def timestamps_that_move(lab: Lab) -> None:
    """Every attempt writes another time; the graph closes all the same, because only the order of times matters."""
    lab.database(
        "shop.db",
        seed="CREATE TABLE visits (email TEXT PRIMARY KEY, first TEXT, last TEXT, made TEXT DEFAULT CURRENT_TIMESTAMP)",
    )
    lab.stripe()
    lab.user(touch, within=HOUR)
    lab.always("first before last", lambda w: all(row.first <= row.last for row in w.db.visits))
    charged_once(lab)


def claim() -> int:
    """Optimistic locking: what was written by this attempt is found again by its timestamp."""
    db = connect()
    mine = order(db)
    now = datetime.now(UTC).isoformat()
    db.execute("UPDATE orders SET key = ? WHERE id = ?", (now, mine["id"]))
    db.commit()
    paid_by_me = charge(mine["id"], key=f"order-{mine['id']}")
    changed = db.execute(
        "UPDATE orders SET status = 'paid', charge = ? WHERE id = ? AND key = ?",
        (paid_by_me, mine["id"], now),
    ).rowcount
    db.commit()
    return 200 if changed else 409


@correct_and_large
def timestamp_as_a_version(lab: Lab) -> None:
    """A world is renumbered only at rest: a live attempt must find the very timestamp that it wrote."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(claim, within=HOUR)
    charged_once(lab)
    lab.told(200, "it is paid", lambda w: w.db.orders[0].charge)


prices: dict[str, int] = {}


def price() -> int:
    db = connect()
    if "book" not in prices:
        prices["book"] = db.execute("SELECT cents FROM prices WHERE name = 'book'").fetchone()[0]
    db.execute(
        "INSERT INTO sold (email, cents) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (EMAIL, prices["book"]),
    )
    db.commit()
    return 200


@correct_and_keeping
def cache_of_what_never_changes(lab: Lab) -> None:
    """Memory is carried from attempt to attempt, and makes no difference."""
    lab.database(
        "shop.db",
        seed="CREATE TABLE prices (name TEXT, cents INT); INSERT INTO prices VALUES ('book', 4900);"
        "CREATE TABLE sold (email TEXT PRIMARY KEY, cents INT)",
    )
    lab.user(price)
    lab.told(200, "sold at the price", lambda w: [row.cents for row in w.db.sold] == [4900])


def buy_or_ask_a_person() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] in {"paid", "manual"}:
        return 200 if mine["status"] == "paid" else 202
    if mine["attempts"] >= 3:
        db.execute("UPDATE orders SET status = 'manual' WHERE id = ?", (mine["id"],))
        db.commit()
        return 202
    db.execute("UPDATE orders SET attempts = attempts + 1 WHERE id = ?", (mine["id"],))
    db.commit()
    paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    return 200


@correct
def gives_up_honestly(lab: Lab) -> None:
    """It counts its attempts, and what it cannot know it hands to a person."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(buy_or_ask_a_person, within=HOUR)
    charged_once(lab)
    lab.told(200, "it is paid", lambda w: w.db.orders[0].charge)
    lab.told(202, "a person will look", lambda w: w.db.orders[0].status in {"manual", "paid"})


# ── compensation, mail, frameworks ───────────────────────────────────────────────────────────────


def buy_or_undo() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] == "paid":
        return 200
    if mine["status"] == "undone":
        return 402
    if mine["status"] == "new":
        answer = httpx.post(
            f"{API}/charges",
            data={"amount": "4900"},
            headers={"Idempotency-Key": f"charge-{mine['id']}"},
        )
        answer.raise_for_status()
        db.execute(
            "UPDATE orders SET status = 'undoing', charge = ? WHERE id = ?",
            (answer.json()["id"], mine["id"]),
        )
        db.commit()
    charge_id = db.execute("SELECT charge FROM orders WHERE id = ?", (mine["id"],)).fetchone()[0]
    httpx.post(
        f"{API}/refunds",
        data={"charge": charge_id},
        headers={"Idempotency-Key": f"refund-{mine['id']}"},
    ).raise_for_status()
    db.execute("UPDATE orders SET status = 'undone' WHERE id = ?", (mine["id"],))
    db.commit()
    return 402


@correct
def resumable_compensation(lab: Lab) -> None:
    """Sold out: the charge is taken back, from wherever it was interrupted."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.user(buy_or_undo, within=HOUR)
    charged_once(lab)
    lab.told(
        402,
        "no money was kept",
        lambda w: all(one.refunded for one in w.stripe.charges),
        costs="49 EUR",
    )
    lab.eventually("no money is kept", lambda w: all(one.refunded for one in w.stripe.charges))


def mail(text: str) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "welcome", "shop@example.com", EMAIL
    message.set_content(text)
    with smtplib.SMTP("mail.example.com") as server:
        server.send_message(message)


def commit_then_mail() -> int:
    db = connect()
    mine = order(db)
    if mine["status"] != "mailed":
        mail(f"your order {mine['id']}")
        db.execute("UPDATE orders SET status = 'mailed' WHERE id = ?", (mine["id"],))
        db.commit()
    return 200


@correct
def mail_after_commit(lab: Lab) -> None:
    lab.database("shop.db", seed=ORDERS)
    box = lab.mailbox()
    lab.user(commit_then_mail)
    lab.accept("the mail may repeat", sink=box, because="harmless")
    lab.always("whoever got a mail has an order", lambda w: not w.mailbox.messages or w.db.orders)
    lab.told(200, "a mail went out", lambda w: w.mailbox.messages)


app = FastAPI()


@app.post("/orders")
def post_order(tasks: BackgroundTasks, response: Response) -> dict[str, object]:
    db = connect()
    mine = order(db)
    if mine["status"] != "paid":
        paid(db, mine["id"], charge(mine["id"], key=f"order-{mine['id']}"))
    db.close()
    tasks.add_task(mail, "thank you")
    response.status_code = 201
    return {"order": mine["id"]}


@correct
def framework_with_a_thread_and_a_background_task(lab: Lab) -> None:
    """FastAPI runs the handler in a thread and the task after the answer; both are followed."""
    lab.database("shop.db", seed=ORDERS)
    lab.stripe()
    lab.accept("the mail may repeat, or be lost", sink=lab.mailbox(), because="harmless")
    lab.user(lab.http(app).post("/orders"), within=HOUR)
    charged_once(lab)
    lab.told(201, "the order is paid", lambda w: w.db.orders[0].charge)
