"""The invoice as an object: made from a subscription's items, then paid, failed, stopped or voided.

What an invoice does to its subscription is in `lifecycle`.
"""

from examples.signup.provider.resources.payments import Attempt
from examples.signup.provider.resources.states import next_attempt
from examples.signup.provider.session import Session, new_id
from examples.signup.provider.store import Json


def make_invoice(
    session: Session,
    ident: str,
    subscription: Json,
    reason: str,
    covers: tuple[int, int],
    attempt: Attempt | None,
) -> Json:
    """Draft, finalize, and settle by the attempt that was made; None leaves it open.

    `covers` is the time since the last invoice, as Stripe's `period_start` and `period_end`; the time
    that is paid for is on the lines.
    """
    customer = session.get("customer", subscription["customer"])
    lines = [invoice_line(ident, subscription, item) for item in subscription["items"]["data"]]
    total = sum(line["amount"] for line in lines)
    invoice = session.create(
        "invoice",
        {
            "id": ident,
            "amount_due": total,
            "amount_paid": 0,
            "amount_paid_off_stripe": 0,
            "amount_remaining": total,
            "attempt_count": 0,
            "attempted": False,
            "auto_advance": True,
            "billing_reason": reason,
            "collection_method": "charge_automatically",
            "currency": subscription["currency"],
            "customer": customer["id"],
            "customer_email": customer["email"],
            "customer_name": customer["name"],
            "default_payment_method": None,
            "description": None,
            "due_date": None,
            "ending_balance": None,
            "lines": listed(lines, f"/v1/invoices/{ident}/lines"),
            "metadata": {},
            "next_payment_attempt": None,
            "number": None,
            "parent": {
                "quote_details": None,
                "subscription_details": {
                    "metadata": subscription["metadata"],
                    "subscription": subscription["id"],
                    "subscription_proration_date": None,
                },
                "type": "subscription_details",
            },
            "payments": listed([], "/v1/invoice_payments"),
            "period_end": covers[1],
            "period_start": covers[0],
            "starting_balance": 0,
            "status": "draft",
            "status_transitions": {
                "finalized_at": None,
                "marked_uncollectible_at": None,
                "paid_at": None,
                "voided_at": None,
            },
            "subtotal": total,
            "total": total,
        },
        "invoice.created",
    )
    number = f"{customer['id'][-8:].upper()}-{session.store.seq('invoice', ident)}"
    opened = {"status": "open", "number": number, "ending_balance": 0}
    opened |= at(session, invoice, "finalized_at")
    invoice = session.change(invoice, opened, "invoice.finalized")
    return invoice if attempt is None else settle(session, invoice, attempt, automatic=True)


def invoice_line(invoice: str, subscription: Json, item: Json) -> Json:
    """What one item costs for its current period; nothing while in trial."""
    trial = subscription["status"] == "trialing"
    amount = 0 if trial else item["price"]["unit_amount"] * item["quantity"]
    return {
        "id": new_id("line_item"),
        "object": "line_item",
        "amount": amount,
        "currency": subscription["currency"],
        "description": "Free trial" if trial else f"{item['quantity']} x {item['price']['id']}",
        "discountable": True,
        "discounts": [],
        "invoice": invoice,
        "livemode": False,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"start": item["current_period_start"], "end": item["current_period_end"]},
        "pricing": {
            "price_details": {"price": item["price"]["id"], "product": item["price"]["product"]},
            "type": "price_details",
            "unit_amount_decimal": str(0 if trial else item["price"]["unit_amount"]),
        },
        "quantity": item["quantity"],
        "subtotal": amount,
    }


def settle(session: Session, invoice: Json, attempt: Attempt, *, automatic: bool) -> Json:
    """The invoice after an attempt to pay it.

    Only automatic attempts, and the very first one, count for the retry schedule. The first invoice of
    a subscription is not retried: the subscription is incomplete, and waits for its owner.
    """
    counts = automatic or invoice["attempt_count"] == 0
    count = invoice["attempt_count"] + counts
    changes: Json = {"attempt_count": count, "attempted": True}
    if attempt.intent is not None:
        changes["payments"] = payments_of(session, invoice, attempt)
    if attempt.paid:
        return mark_paid(session, invoice, changes, here=True)
    if automatic and invoice["billing_reason"] != "subscription_create":
        changes["next_payment_attempt"] = next_attempt(count, session.now)
    changed = session.change(invoice, changes)
    schedule_retry(session, changed)
    session.emit("invoice.payment_failed", changed)
    return changed


def mark_paid(session: Session, invoice: Json, changes: Json, *, here: bool) -> Json:
    """Paid, by this server or elsewhere; `invoice.payment_succeeded` is told only of the former."""
    changes |= {
        "amount_paid": invoice["total"],
        "amount_paid_off_stripe": 0 if here else invoice["total"],
        "amount_remaining": 0,
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "paid",
        **at(session, invoice, "paid_at"),
    }
    paid = session.change(invoice, changes, "invoice.paid")
    if here:
        session.emit("invoice.payment_succeeded", paid)
    schedule_retry(session, paid)
    return paid


def void(session: Session, invoice: Json) -> Json:
    changes = {
        "auto_advance": False,
        "next_payment_attempt": None,
        "status": "void",
        **at(session, invoice, "voided_at"),
    }
    voided = session.change(invoice, changes, "invoice.voided")
    schedule_retry(session, voided)
    return voided


def stop_collecting(session: Session, invoice: Json) -> Json:
    """No further attempts by itself; it can still be paid by hand."""
    changes = {"auto_advance": False, "next_payment_attempt": None}
    stopped = session.change(invoice, changes, "invoice.updated")
    schedule_retry(session, stopped)
    return stopped


def schedule_retry(session: Session, invoice: Json) -> None:
    session.store.schedule(invoice["id"], "retry", invoice["next_payment_attempt"])


def payments_of(session: Session, invoice: Json, attempt: Attempt) -> Json:
    """The invoice's payments: there is one payment intent, tried again until it succeeds."""
    assert attempt.intent is not None
    before = invoice["payments"]["data"]
    ident, created = (
        (before[0]["id"], before[0]["created"])
        if before
        else (new_id("invoice_payment"), session.now)
    )
    payment = {
        "id": ident,
        "object": "invoice_payment",
        "amount_paid": invoice["total"] if attempt.paid else None,
        "amount_requested": invoice["total"],
        "created": created,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": attempt.intent["id"], "type": "payment_intent"},
        "status": "paid" if attempt.paid else "open",
        "status_transitions": {
            "canceled_at": None,
            "paid_at": session.now if attempt.paid else None,
        },
    }
    return listed([payment], "/v1/invoice_payments")


def intent_of(session: Session, invoice: Json) -> Json | None:
    """The payment intent that was tried before."""
    payments = invoice["payments"]["data"]
    if not payments:
        return None
    return session.get("payment_intent", payments[0]["payment"]["payment_intent"])


def subscription_of(session: Session, invoice: Json) -> Json:
    ident = invoice["parent"]["subscription_details"]["subscription"]
    return session.get("subscription", ident)


def at(session: Session, invoice: Json, name: str) -> Json:
    return {"status_transitions": {**invoice["status_transitions"], name: session.now}}


def listed(data: list[Json], url: str) -> Json:
    return {"object": "list", "has_more": False, "data": data, "url": url}
