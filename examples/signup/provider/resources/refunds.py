"""Refunds: never more than was taken."""

from examples.signup.provider.endpoint import Endpoint, listing, retrieve
from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import Form, at_least, metadata, one_of, text
from examples.signup.provider.resources import balance
from examples.signup.provider.session import Session, merged, new_id
from examples.signup.provider.store import Json

PATH = "/v1/refunds"


def create(session: Session, params: Json) -> Json:
    charge = refunded_charge(session, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["status"] != "succeeded" or not charge["captured"]:
        raise ApiError(400, f"Charge {charge['id']} has not been captured, so cannot be refunded.")
    if left == 0:
        message = f"Charge {charge['id']} has already been refunded."
        raise ApiError(400, message, code="charge_already_refunded")
    amount = params.get("amount", left)
    if amount > left:
        message = (
            f"Refund amount ({amount} {charge['currency']}, in the smallest unit) is greater than "
            f"unrefunded amount on charge ({left})."
        )
        raise ApiError(400, message, param="amount")
    ident = new_id("refund")
    refund = session.create(
        "refund",
        {
            "id": ident,
            "amount": amount,
            "balance_transaction": balance.refunded(session, ident, amount, charge["currency"]),
            "charge": charge["id"],
            "currency": charge["currency"],
            "metadata": merged({}, params.get("metadata", {})),
            "payment_intent": charge["payment_intent"],
            "reason": params.get("reason"),
            "status": "succeeded",
        },
        "refund.created",
    )
    total = charge["amount_refunded"] + amount
    changes = {"amount_refunded": total, "refunded": total == charge["amount_captured"]}
    session.change(charge, changes, "charge.refunded")
    return refund


def refunded_charge(session: Session, params: Json) -> Json:
    """The charge to refund, named itself or by its payment intent."""
    if bool(params.get("charge")) == bool(params.get("payment_intent")):
        message = "You must provide one of charge or payment_intent."
        raise ApiError(400, message, code="parameter_missing", param="payment_intent")
    if params.get("charge"):
        return session.get("charge", params["charge"], "charge")
    intent = session.get("payment_intent", params["payment_intent"], "payment_intent")
    if intent["status"] != "succeeded":
        message = (
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
        )
        raise ApiError(400, message, param="payment_intent")
    return session.get("charge", intent["latest_charge"])


def update(session: Session, params: Json) -> Json:
    refund = session.get("refund", params["id"])
    if "metadata" not in params:
        return refund
    changes = {"metadata": merged(refund["metadata"], params["metadata"])}
    return session.change(refund, changes, "refund.updated")


ENDPOINTS = [
    Endpoint(
        "POST",
        PATH,
        Form(
            amount=at_least(1),
            charge=text,
            metadata=metadata,
            payment_intent=text,
            reason=one_of("duplicate", "fraudulent", "requested_by_customer"),
        ),
        create,
    ),
    listing("refund", PATH, charge=text, payment_intent=text),
    retrieve("refund", PATH),
    Endpoint("POST", f"{PATH}/{{id}}", Form(metadata=metadata), update),
]
