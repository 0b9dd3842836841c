"""What is promised of the wallet, and who uses it: five scenarios, the same for both versions.

* `told_twice`: the bank reports a deposit, and again if it gets no answer.
* `told_and_asked`: the bank reports it while the customer asks for it.
* `two_transfers`: two customers' orders move money out of one account at the same time.
* `transfer_and_deposit`: money leaves an account while a deposit comes in.
* `one_transfer`: a customer's order, which is sent again if no answer comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from examples.wallet.database import Account, Deposit, create_tables, engine
from troth.lab import Lab, Provider, read
from troth.lab.provider import Call, Shelf

REFERENCE = "d-1"
DEPOSIT, BALANCE = 5000, 1000


class Bank(Provider):
    """The bank's side: the payment has arrived."""

    host = "api.bank.example"

    @read("GET /payments/{reference}")
    def payment(self, s: Shelf, req: Call) -> tuple[int, object]:
        del s
        return 200, {"reference": req.match["reference"], "status": "paid"}


async def begin() -> None:
    await create_tables()
    async with AsyncSession(engine()) as session:
        session.add_all([Account(id="ada", balance=BALANCE), Account(id="bob", balance=0)])
        await session.flush()
        session.add(Deposit(reference=REFERENCE, account="ada", amount=DEPOSIT, status="pending"))
        await session.commit()


def balance(w: Any, account: str) -> int:
    return int(next(one.balance for one in w.db.accounts if one.id == account))


def total(w: Any) -> int:
    return balance(w, "ada") + balance(w, "bob")


def credited(w: Any) -> int:
    return DEPOSIT if w.db.deposits[0].status == "credited" else 0


def the_books_agree(lab: Lab) -> None:
    """What there is, is what there was and what has come in. This finds double credits, created money and lost deposits."""
    lab.always(
        "no money is created",
        lambda w: total(w) <= BALANCE + credited(w),
        costs="as much as somebody takes out",
    )
    lab.always(
        "no money is lost", lambda w: total(w) >= BALANCE + credited(w), costs="a customer's money"
    )
    lab.always(
        "nobody has less than nothing",
        lambda w: all(one.balance >= 0 for one in w.db.accounts),
        costs="what is owed",
    )


def told_twice(lab: Lab, app: FastAPI) -> None:
    lab.user(lab.http(app).post("/webhooks/bank", json={"reference": REFERENCE}), overlap=2)
    the_books_agree(lab)
    lab.eventually("the deposit is credited", credited)


def told_and_asked(lab: Lab, app: FastAPI) -> None:
    lab.provider(Bank)
    lab.user(lab.http(app).post("/webhooks/bank", json={"reference": REFERENCE}), overlap=1)
    lab.user(lab.http(app).get(f"/deposits/{REFERENCE}"), overlap=1)
    the_books_agree(lab)
    lab.eventually("the deposit is credited", credited)


def transfer(lab: Lab, app: FastAPI, amount: int, key: str) -> None:
    order = {"source": "ada", "target": "bob", "amount": amount}
    lab.user(
        lab.http(app).post("/transfers", json=order, headers={"Idempotency-Key": key}), overlap=1
    )


def two_transfers(lab: Lab, app: FastAPI) -> None:
    """Of 1000, 600 are to go, twice: one of them has to be refused."""
    transfer(lab, app, 600, "k-1")
    transfer(lab, app, 600, "k-2")
    the_books_agree(lab)
    lab.always(
        "no more goes to bob than ada has", lambda w: balance(w, "bob") <= BALANCE, costs="600"
    )
    lab.at_rest(
        "one transfer was made, the other refused",
        lambda w: balance(w, "bob") == 600,
        costs="a transfer that was confirmed",
    )


def transfer_and_deposit(lab: Lab, app: FastAPI) -> None:
    transfer(lab, app, 600, "k-1")
    lab.user(lab.http(app).post("/webhooks/bank", json={"reference": REFERENCE}), overlap=1)
    the_books_agree(lab)


def one_transfer(lab: Lab, app: FastAPI) -> None:
    transfer(lab, app, 300, "k-1")
    the_books_agree(lab)
    lab.always(
        "the order is carried out once", lambda w: balance(w, "bob") <= 300, costs="300, again"
    )


SCENARIOS: dict[str, Callable[[Lab, FastAPI], None]] = {
    one.__name__: one
    for one in (told_twice, told_and_asked, two_transfers, transfer_and_deposit, one_transfer)
}


def describe(lab: Lab, app: FastAPI, scenario: str, url: str) -> None:
    """One scenario, explored on a database of the lab's own at this server."""
    lab.database(url, migrate=begin)
    SCENARIOS[scenario](lab, app)
