"""Payouts: what is available goes to the bank, once a day, by itself.

A payout is `in_transit` from the moment it is made, `paid` on the day it should have arrived, and `failed` if the bank
refuses it: then its money is back in the balance, and in the next payout. Payouts by hand are not modelled.
"""

from examples.signup.provider.endpoint import Endpoint, listing, retrieve
from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import Form, one_of
from examples.signup.provider.resources import balance
from examples.signup.provider.resources.states import DAY
from examples.signup.provider.session import Session, new_id
from examples.signup.provider.store import Json

PATH = "/v1/payouts"
ARRIVES_AFTER = DAY


def available(session: Session, _: str) -> None:
    """A midnight at which money becomes available: it goes out at once, if there is a bank."""
    balance.make_available(session)
    if session.store.bank:
        pay_out(session)


def pay_out(session: Session) -> None:
    """One payout for each currency that has something to pay out. What is owed to the provider waits for more."""
    for code, movements in balance.unpaid(session).items():
        amount = sum(movement["net"] for movement in movements)
        if amount > 0:
            make_payout(session, code, amount, [movement["id"] for movement in movements])


def make_payout(session: Session, code: str, amount: int, movements: list[str]) -> Json:
    ident = new_id("payout")
    movement = balance.move(session, "payout", ident, -amount, code)
    session.store.mark_as(balance.KIND, [*movements, movement], balance.PAID_OUT, ident)
    payout = session.create(
        "payout",
        {
            "id": ident,
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": session.now + ARRIVES_AFTER,
            "automatic": True,
            "balance_transaction": movement,
            "currency": code,
            "description": "STRIPE PAYOUT",
            "destination": "ba_signup",
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "metadata": {},
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "completed",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": None,
            "status": "in_transit",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
        },
        "payout.created",
    )
    session.emit("payout.reconciliation_completed", payout)
    session.store.schedule(ident, "arrive", payout["arrival_date"])
    session.store.order_wire(ident)
    return payout


def arrive(session: Session, ident: str) -> None:
    """The day of arrival. A wire that is still with us is paid as soon as the bank has taken it."""
    if not session.store.wire_waits(ident):
        mark_paid(session, session.get("payout", ident))


def taken(session: Session, ident: str) -> None:
    """The bank has taken the wire."""
    payout = session.get("payout", ident)
    trace = {"trace_id": {"status": "supported", "value": ident}}
    payout = session.change(payout, trace, "payout.updated")
    if payout["arrival_date"] <= session.now:
        mark_paid(session, payout)


def mark_paid(session: Session, payout: Json) -> None:
    if payout["status"] == "in_transit":
        session.change(payout, {"status": "paid"}, "payout.paid")


def fail(session: Session, ident: str, why: str) -> None:
    """The bank has refused the wire: its money comes back, as a movement of its own."""
    payout = session.get("payout", ident)
    session.store.schedule(ident, "arrive", None)
    movement = balance.move(
        session,
        "payout_failure",
        ident,
        payout["amount"],
        payout["currency"],
        category="payout_reversal",
    )
    changes = {
        "failure_balance_transaction": movement,
        "failure_code": "could_not_process",
        "failure_message": why,
        "status": "failed",
    }
    session.change(payout, changes, "payout.failed")
    tomorrow = session.now - session.now % DAY + DAY
    session.store.schedule(str(tomorrow), "available", tomorrow)


def by_hand(session: Session, params: Json) -> Json:
    message = "This account is paid out automatically; payouts by hand are not possible."
    raise ApiError(400, message, code="payouts_not_allowed")


STATUS = one_of("pending", "in_transit", "paid", "failed", "canceled")

ENDPOINTS = [
    listing("payout", PATH, status=STATUS),
    retrieve("payout", PATH),
    Endpoint("POST", PATH, Form(), by_hand),
]
