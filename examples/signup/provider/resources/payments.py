"""Payment intents and the charges they make."""

from dataclasses import dataclass

from examples.signup.provider.endpoint import Endpoint, listing, retrieve, searching
from examples.signup.provider.errors import ApiError, CardError
from examples.signup.provider.form import (
    Form,
    at_least,
    boolean,
    currency,
    hash_of,
    list_of,
    metadata,
    one_of,
    text,
)
from examples.signup.provider.resources import balance
from examples.signup.provider.resources.payment_methods import card_of, usable
from examples.signup.provider.session import Session, merged, new_id
from examples.signup.provider.store import Json

INTENTS, CHARGES = "/v1/payment_intents", "/v1/charges"

CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
CANCELABLE = (*CONFIRMABLE, "requires_capture")


@dataclass(frozen=True)
class Attempt:
    """One try to get an invoice paid. There is no intent if there was nothing to pay, or no card."""

    paid: bool
    intent: Json | None = None
    refusal: CardError | None = None


def attempt(
    session: Session, amount: int, currency: str, customer: str, method: str | None, invoice: str
) -> Attempt:
    """Ask the bank for an invoice's money for the first time."""
    if amount == 0 or method is None:
        return Attempt(paid=amount == 0)
    payment = {
        "amount": amount,
        "currency": currency,
        "customer": customer,
        "description": "Subscription",
        "payment_details": {"customer_reference": None, "order_reference": invoice},
        "payment_method": method,
    }
    return outcome(session, create(session, payment))


def attempt_again(session: Session, intent: Json, method: str | None) -> Attempt:
    """Ask once more, with the same payment intent."""
    if method is None:
        return Attempt(paid=False, intent=intent)
    return outcome(session, session.change(intent, {"payment_method": method}))


def outcome(session: Session, intent: Json) -> Attempt:
    try:
        return Attempt(paid=True, intent=pay(session, intent, off_session=True))
    except CardError as refusal:
        after = session.get("payment_intent", intent["id"])
        return Attempt(paid=False, intent=after, refusal=refusal)


def create(session: Session, params: Json) -> Json:
    if customer := params.get("customer"):
        session.get("customer", customer, "customer")
    method = chosen_method(session, params, customer)
    intent = session.create(
        "payment_intent",
        {
            "amount": params["amount"],
            "amount_capturable": 0,
            "amount_received": 0,
            "automatic_payment_methods": params.get("automatic_payment_methods"),
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": params.get("capture_method", "automatic"),
            "confirmation_method": "automatic",
            "currency": params["currency"],
            "customer": customer,
            "description": params.get("description"),
            "last_payment_error": None,
            "latest_charge": None,
            "metadata": merged({}, params.get("metadata", {})),
            "next_action": None,
            "payment_details": params.get("payment_details"),
            "payment_method": method,
            "payment_method_types": ["card"],
            "receipt_email": params.get("receipt_email"),
            "status": "requires_confirmation" if method else "requires_payment_method",
        },
        "payment_intent.created",
    )
    if params.get("confirm"):
        return pay(session, intent, params.get("off_session", False))
    return intent


def chosen_method(session: Session, params: Json, customer: str | None) -> str | None:
    """The id of the payment method in the parameters. One that has an owner serves nobody else."""
    if not params.get("payment_method"):
        return None
    method = usable(session, params["payment_method"], "payment_method")
    if method["customer"] not in (None, customer):
        message = (
            "The provided PaymentMethod cannot be attached. To reuse a PaymentMethod, you must "
            f"attach it to a Customer first. It belongs to '{method['customer']}'."
        )
        raise ApiError(400, message, code="payment_method_unexpected_state", param="payment_method")
    return str(method["id"])


def pay(session: Session, intent: Json, off_session: bool) -> Json:
    """Ask the bank for the money. Raises `CardError` after the attempt was recorded."""
    if intent["payment_method"] is None:
        raise unexpected(intent, "confirm", "it's missing a payment method")
    method = session.get("payment_method", intent["payment_method"], "payment_method")
    card = card_of(method)
    if card.code == "authentication_required" and not off_session:
        waiting = {
            "status": "requires_action",
            "next_action": {"type": "use_stripe_sdk", "use_stripe_sdk": {}},
        }
        return session.change(intent, waiting, "payment_intent.requires_action")
    if refusal := card.declined():
        return decline(session, intent, method, refusal)
    captured = intent["capture_method"] != "manual"
    charge = make_charge(session, intent, "succeeded", captured)
    taken, held = (intent["amount"], 0) if captured else (0, intent["amount"])
    changes = {
        "amount_received": taken,
        "amount_capturable": held,
        "last_payment_error": None,
        "latest_charge": charge["id"],
        "next_action": None,
        "status": "succeeded" if captured else "requires_capture",
    }
    name = "succeeded" if captured else "amount_capturable_updated"
    return session.change(intent, changes, f"payment_intent.{name}")


def decline(session: Session, intent: Json, method: Json, refusal: CardError) -> Json:
    charge = make_charge(session, intent, "failed", captured=False)
    error = {**refusal.body["error"], "charge": charge["id"], "payment_method": method}
    changes = {
        "last_payment_error": error,
        "latest_charge": charge["id"],
        "payment_method": None,
        "status": "requires_payment_method",
    }
    intent = session.change(intent, changes, "payment_intent.payment_failed")
    refusal.body = {"error": {**error, "payment_intent": intent}}
    raise refusal


def make_charge(session: Session, intent: Json, status: str, captured: bool) -> Json:
    ident = new_id("charge")
    taken = intent["amount"] if captured else 0
    movement = balance.charged(session, ident, taken, intent["currency"]) if captured else None
    return session.create(
        "charge",
        {
            "id": ident,
            "amount": intent["amount"],
            "amount_captured": taken,
            "amount_refunded": 0,
            "balance_transaction": movement,
            "captured": captured,
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "metadata": intent["metadata"],
            "paid": status == "succeeded",
            "payment_intent": intent["id"],
            "payment_method": intent["payment_method"],
            "refunded": False,
            "status": status,
        },
        f"charge.{status}",
    )


def not_of_an_invoice(session: Session, ident: str, verb: str) -> Json:
    """The payment intent; one that pays an invoice is left to `POST /v1/invoices/{id}/pay`."""
    intent = session.get("payment_intent", ident)
    if intent.get("payment_details"):
        invoice = intent["payment_details"]["order_reference"]
        raise unexpected(intent, verb, f"it pays invoice {invoice}; pay the invoice instead")
    return intent


def confirm(session: Session, params: Json) -> Json:
    intent = not_of_an_invoice(session, params["id"], "confirm")
    if intent["status"] not in CONFIRMABLE:
        raise unexpected(intent, "confirm")
    if method := chosen_method(session, params, intent["customer"]):
        intent = session.change(intent, {"payment_method": method})
    return pay(session, intent, params.get("off_session", False))


def capture(session: Session, params: Json) -> Json:
    """Take what was held, or a part of it; the rest is released."""
    intent = session.get("payment_intent", params["id"])
    if intent["status"] != "requires_capture":
        raise unexpected(intent, "capture")
    amount = {"amount_to_capture": intent["amount_capturable"], **params}["amount_to_capture"]
    if amount > intent["amount_capturable"]:
        message = "The amount to capture is greater than the amount that can be captured."
        raise ApiError(400, message, code="amount_too_large", param="amount_to_capture")
    charge = session.get("charge", intent["latest_charge"])
    movement = balance.charged(session, charge["id"], amount, charge["currency"])
    taken = {"amount_captured": amount, "balance_transaction": movement, "captured": True}
    session.change(charge, taken, "charge.captured")
    changes = {"amount_received": amount, "amount_capturable": 0, "status": "succeeded"}
    return session.change(intent, changes, "payment_intent.succeeded")


def cancel(session: Session, params: Json) -> Json:
    """Give up; money that is held is released."""
    intent = not_of_an_invoice(session, params["id"], "cancel")
    if intent["status"] not in CANCELABLE:
        raise unexpected(intent, "cancel")
    if intent["status"] == "requires_capture":
        charge = session.get("charge", intent["latest_charge"])
        released = {"amount_refunded": charge["amount"], "refunded": True}
        session.change(charge, released, "charge.refunded")
    changes = {
        "amount_capturable": 0,
        "canceled_at": session.now,
        "cancellation_reason": params.get("cancellation_reason"),
        "status": "canceled",
    }
    return session.change(intent, changes, "payment_intent.canceled")


def update(session: Session, params: Json) -> Json:
    intent = not_of_an_invoice(session, params["id"], "update")
    if (
        set(params) - {"id", "metadata", "description", "expand"}
        and intent["status"] not in CONFIRMABLE
    ):
        raise unexpected(intent, "update")
    fields = ("amount", "currency", "customer", "description", "receipt_email")
    changes = {name: params[name] for name in fields if name in params}
    if changes.get("customer"):
        session.get("customer", changes["customer"], "customer")
    if "metadata" in params:
        changes["metadata"] = merged(intent["metadata"], params["metadata"])
    if method := chosen_method(session, params, changes.get("customer", intent["customer"])):
        changes |= {"payment_method": method, "status": "requires_confirmation"}
    return session.change(intent, changes)


def unexpected(intent: Json, verb: str, why: str | None = None) -> ApiError:
    why = why or f"it has a status of {intent['status']}"
    return ApiError(
        400,
        f"You cannot {verb} this PaymentIntent because {why}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )


AMOUNT = at_least(1)
SHARED = {
    "customer": text,
    "description": text,
    "metadata": metadata,
    "payment_method": text,
    "receipt_email": text,
}
CONFIRMATION = {"off_session": boolean, "return_url": text}
AUTOMATIC = hash_of({"enabled": boolean}, allow_redirects=one_of("always", "never"))
REASON = one_of("abandoned", "duplicate", "fraudulent", "requested_by_customer")

ENDPOINTS = [
    Endpoint(
        "POST",
        INTENTS,
        Form(
            {"amount": AMOUNT, "currency": currency},
            **SHARED,
            **CONFIRMATION,
            automatic_payment_methods=AUTOMATIC,
            capture_method=one_of("automatic", "automatic_async", "manual"),
            confirm=boolean,
            payment_method_types=list_of(one_of("card")),
        ),
        create,
    ),
    listing("payment_intent", INTENTS, customer=text),
    searching("payment_intent", INTENTS),
    retrieve("payment_intent", INTENTS),
    Endpoint("POST", f"{INTENTS}/{{id}}", Form(**SHARED, amount=AMOUNT, currency=currency), update),
    Endpoint(
        "POST", f"{INTENTS}/{{id}}/confirm", Form(**CONFIRMATION, payment_method=text), confirm
    ),
    Endpoint("POST", f"{INTENTS}/{{id}}/capture", Form(amount_to_capture=AMOUNT), capture),
    Endpoint("POST", f"{INTENTS}/{{id}}/cancel", Form(cancellation_reason=REASON), cancel),
    listing("charge", CHARGES, customer=text, payment_intent=text),
    searching("charge", CHARGES),
    retrieve("charge", CHARGES),
]
