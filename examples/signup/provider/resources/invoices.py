"""Invoices: made by subscriptions; here they are read, paid by hand and voided."""

from examples.signup.provider.endpoint import Endpoint, retrieve
from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import Form, boolean, metadata, one_of, page_form, text
from examples.signup.provider.resources import billing, lifecycle
from examples.signup.provider.resources.payment_methods import usable
from examples.signup.provider.session import Session, merged
from examples.signup.provider.store import Json

PATH = "/v1/invoices"


def pay(session: Session, params: Json) -> Json:
    """Pay an open invoice now. Raises `CardError` after the attempt was recorded."""
    invoice = session.get("invoice", params["id"])
    refuse_unless_open(invoice, "pay")
    subscription = billing.subscription_of(session, invoice)
    if params.get("paid_out_of_band"):
        paid = billing.mark_paid(session, invoice, {}, here=False)
        lifecycle.recover(session, subscription, paid)
        return paid
    method = chosen_method(session, invoice, params)
    method = method or lifecycle.method_to_charge(session, subscription)
    if method is None:
        message = (
            "There is no `default_payment_method` set on this Customer or Invoice. Please set a "
            "`default_payment_method` prior to making a payment."
        )
        raise ApiError(400, message, code="resource_missing", param="payment_method")
    attempt = lifecycle.collect(session, invoice, method, automatic=False)
    if attempt.refusal is not None:
        raise attempt.refusal
    return session.get("invoice", invoice["id"])


def chosen_method(session: Session, invoice: Json, params: Json) -> str | None:
    if not params.get("payment_method"):
        return None
    method = usable(session, params["payment_method"], "payment_method")
    if method["customer"] not in (None, invoice["customer"]):
        message = "The payment method belongs to a different customer."
        raise ApiError(400, message, param="payment_method")
    return str(method["id"])


def void(session: Session, params: Json) -> Json:
    invoice = session.get("invoice", params["id"])
    refuse_unless_open(invoice, "void")
    return billing.void(session, invoice)


def update(session: Session, params: Json) -> Json:
    invoice = session.get("invoice", params["id"])
    changes: Json = {}
    if "metadata" in params:
        changes["metadata"] = merged(invoice["metadata"], params["metadata"])
    return session.change(invoice, changes, "invoice.updated")


def refuse_unless_open(invoice: Json, verb: str) -> None:
    if invoice["status"] == "paid" and verb == "pay":
        raise ApiError(400, "Invoice is already paid")
    if invoice["status"] != "open":
        raise ApiError(400, f"You cannot {verb} an invoice with a status of {invoice['status']}.")


def list_invoices(session: Session, params: Json) -> Json:
    terms = {name: [params[name]] for name in ("customer", "status") if params.get(name)}
    if params.get("subscription"):
        terms["parent.subscription_details.subscription"] = [params["subscription"]]
    return session.page("invoice", PATH, params, terms)


STATUS = one_of("draft", "open", "paid", "uncollectible", "void")

ENDPOINTS = [
    Endpoint(
        "GET", PATH, page_form(customer=text, status=STATUS, subscription=text), list_invoices
    ),
    retrieve("invoice", PATH),
    Endpoint("POST", f"{PATH}/{{id}}", Form(metadata=metadata), update),
    Endpoint(
        "POST",
        f"{PATH}/{{id}}/pay",
        Form(off_session=boolean, paid_out_of_band=boolean, payment_method=text),
        pay,
    ),
    Endpoint("POST", f"{PATH}/{{id}}/void", Form(), void),
]
