"""What happens to a subscription by payments and by the clock.

Every change of a subscription goes through `put`, which also says what the clock will bring next.
Each happening tells its events in the order: the money, the subscription, its invoice.
"""

from collections.abc import Callable, Mapping

from examples.signup.provider.resources import billing, payments
from examples.signup.provider.resources.payments import Attempt
from examples.signup.provider.resources.states import (
    EXPIRE_AFTER,
    WARN_BEFORE,
    step,
)
from examples.signup.provider.resources.subscription_items import (
    amount_of,
    paid_period,
    period_of,
)
from examples.signup.provider.session import Session, new_id
from examples.signup.provider.store import Json

NOTHING_TO_PAY = Attempt(paid=True)

UPDATED, DELETED = "customer.subscription.updated", "customer.subscription.deleted"


def put(session: Session, subscription: Json, changes: Json, event: str = UPDATED) -> Json:
    """Change a subscription, and schedule what follows from it."""
    changed = session.change(subscription, changes, event)
    schedule(session, changed, subscription)
    return changed


def schedule(session: Session, subscription: Json, before: Json | None) -> None:
    """What the clock will bring. A trial is announced to end once for each end it had."""
    ident, status, store = subscription["id"], subscription["status"], session.store
    renews = status in ("trialing", "active", "past_due")
    store.schedule(ident, "period_end", period_of(subscription)[1] if renews else None)
    expires = subscription["created"] + EXPIRE_AFTER
    store.schedule(ident, "expire", expires if status == "incomplete" else None)
    if status != "trialing":
        store.schedule(ident, "trial_will_end", None)
    elif before is None or before["trial_end"] != subscription["trial_end"]:
        warning = max(session.now, subscription["trial_end"] - WARN_BEFORE)
        store.schedule(ident, "trial_will_end", warning)


def method_to_charge(session: Session, subscription: Json) -> str | None:
    """The default of the subscription or else of the customer; it must still be the customer's."""
    customer = session.get("customer", subscription["customer"])
    chosen = (
        subscription["default_payment_method"]
        or customer["invoice_settings"]["default_payment_method"]
    )
    found = session.store.get("payment_method", chosen) if chosen else None
    return chosen if found and found[0]["customer"] == customer["id"] else None


def attempt_to_pay(session: Session, subscription: Json, invoice: str) -> Attempt:
    """Ask for the price of one period."""
    return payments.attempt(
        session,
        amount_of(subscription["items"]["data"]),
        subscription["currency"],
        subscription["customer"],
        method_to_charge(session, subscription),
        invoice,
    )


def charge_period(
    session: Session, subscription: Json, changes: Json, reason: str, covers: tuple[int, int]
) -> Json:
    """Charge for the period that the changes begin; the subscription becomes active or past due."""
    invoice = new_id("invoice")
    attempt = attempt_to_pay(session, {**subscription, **changes}, invoice)
    status = step(subscription["status"], "paid" if attempt.paid else "unpaid")
    changed = put(session, subscription, {**changes, "status": status, "latest_invoice": invoice})
    billing.make_invoice(session, invoice, changed, reason, covers, attempt)
    return changed


def collect(session: Session, invoice: Json, method: str | None, *, automatic: bool) -> Attempt:
    """Try again to pay an open invoice, with what follows for its subscription."""
    intent = billing.intent_of(session, invoice)
    if intent is None:
        customer, currency = invoice["customer"], invoice["currency"]
        attempt = payments.attempt(
            session, invoice["amount_remaining"], currency, customer, method, invoice["id"]
        )
    else:
        attempt = payments.attempt_again(session, intent, method)
    invoice = billing.settle(session, invoice, attempt, automatic=automatic)
    subscription = billing.subscription_of(session, invoice)
    if attempt.paid:
        recover(session, subscription, invoice)
    elif (
        automatic
        and invoice["next_payment_attempt"] is None
        and subscription["status"] == "past_due"
    ):
        end(session, subscription, "exhausted", "payment_failed")
    return attempt


def recover(session: Session, subscription: Json, invoice: Json) -> Json:
    """The latest invoice is paid: a subscription that waited for it is active."""
    waited = subscription["status"] in ("incomplete", "past_due")
    if not waited or subscription["latest_invoice"] != invoice["id"]:
        return subscription
    return put(session, subscription, {"status": step(subscription["status"], "paid")})


def end(session: Session, subscription: Json, happening: str, reason: str | None) -> Json:
    """Canceled, now. Nothing more is collected, and a first invoice that was not paid is void."""
    details = subscription["cancellation_details"]
    changes = {
        "cancellation_details": {**details, "reason": reason or details["reason"]},
        "canceled_at": session.now if happening == "canceled" else subscription["canceled_at"],
        "ended_at": session.now,
        "status": step(subscription["status"], happening),
    }
    if changes["canceled_at"] is None:
        changes["canceled_at"] = session.now
    ended = put(session, subscription, changes, DELETED)
    close_invoices(session, ended, void=subscription["status"] == "incomplete")
    return ended


def close_invoices(session: Session, subscription: Json, *, void: bool) -> None:
    for invoice in session.every(
        "invoice",
        **{"parent.subscription_details.subscription": subscription["id"], "status": "open"},
    ):
        (billing.void if void else billing.stop_collecting)(session, invoice)


def first_bill(session: Session, subscription: Json, behavior: str) -> tuple[Json, Attempt | None]:
    """The first attempt for a subscription that is not stored yet: its new fields, the attempt.

    Raises `CardError` after the attempt was recorded, if the parameters ask for it.
    """
    invoice = new_id("invoice")
    amount = amount_of(subscription["items"]["data"])
    if behavior == "default_incomplete" and amount:
        return {"status": step(None, "unpaid"), "latest_invoice": invoice}, None
    attempt = attempt_to_pay(session, subscription, invoice)
    if attempt.refusal is not None and behavior == "error_if_incomplete":
        raise attempt.refusal
    status = step(None, "paid" if attempt.paid else "unpaid")
    return {"status": status, "latest_invoice": invoice}, attempt


# -- what the clock brings -----------------------------------------------------------------------


def trial_will_end(session: Session, ident: str) -> None:
    session.emit("customer.subscription.trial_will_end", session.get("subscription", ident))


def period_end(session: Session, ident: str) -> None:
    """The trial or the paid period is over: cancel as asked for, or charge for the next one."""
    subscription = session.get("subscription", ident)
    if subscription["cancel_at_period_end"]:
        changes = {"ended_at": session.now, "status": step(subscription["status"], "canceled")}
        close_invoices(session, put(session, subscription, changes, DELETED), void=False)
        return
    before = period_of(subscription)
    items = subscription["items"]["data"]
    following = paid_period(items, subscription["billing_cycle_anchor"], before[1])
    charge_period(session, subscription, {"items": following}, "subscription_cycle", before)


def expire(session: Session, ident: str) -> None:
    subscription = session.get("subscription", ident)
    changes = {"ended_at": session.now, "status": step(subscription["status"], "expired")}
    close_invoices(session, put(session, subscription, changes), void=True)


def retry(session: Session, ident: str) -> None:
    invoice = session.get("invoice", ident)
    method = method_to_charge(session, billing.subscription_of(session, invoice))
    collect(session, invoice, method, automatic=True)


HAPPENINGS: Mapping[str, Callable[[Session, str], None]] = {
    "trial_will_end": trial_will_end,
    "period_end": period_end,
    "expire": expire,
    "retry": retry,
}
