"""Customers."""

from examples.signup.provider.endpoint import Endpoint, listing, retrieve, searching
from examples.signup.provider.form import Form, hash_of, metadata, text
from examples.signup.provider.resources import lifecycle, payment_methods
from examples.signup.provider.resources.states import ENDED
from examples.signup.provider.session import Session, merged
from examples.signup.provider.store import Json

PATH = "/v1/customers"
FIELDS = {
    "description": text,
    "email": text,
    "invoice_settings": hash_of(default_payment_method=text),
    "metadata": metadata,
    "name": text,
    "phone": text,
}


def create(session: Session, params: Json) -> Json:
    customer = session.create(
        "customer",
        {
            "balance": 0,
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": params.get("description"),
            "email": params.get("email"),
            "invoice_settings": {"default_payment_method": None},
            "metadata": merged({}, params.get("metadata", {})),
            "name": params.get("name"),
            "phone": params.get("phone"),
        },
    )
    if method := params.get("payment_method"):
        payment_methods.attach_to(session, method, customer["id"], "payment_method")
    customer = session.change(customer, changes(session, customer, params))
    session.emit("customer.created", customer)
    return customer


def update(session: Session, params: Json) -> Json:
    customer = session.get("customer", params["id"])
    return session.change(customer, changes(session, customer, params), "customer.updated")


def changes(session: Session, customer: Json, params: Json) -> Json:
    """What the parameters change. A default payment method must belong to the customer."""
    fields = {name: params[name] for name in FIELDS if name in params}
    if "metadata" in params:
        fields["metadata"] = merged(customer["metadata"], params["metadata"])
    if "invoice_settings" in params:
        fields["invoice_settings"] = {**customer["invoice_settings"], **params["invoice_settings"]}
        if method := fields["invoice_settings"]["default_payment_method"]:
            param = "invoice_settings[default_payment_method]"
            payment_methods.belonging_to(session, method, customer["id"], param)
    return fields


def delete(session: Session, params: Json) -> Json:
    """Cancels the customer's subscriptions and detaches the payment methods, as Stripe does."""
    customer = session.get("customer", params["id"])
    for subscription in session.every("subscription", customer=params["id"]):
        if subscription["status"] not in ENDED:
            lifecycle.end(session, subscription, "canceled", None)
    for method in session.every("payment_method", customer=params["id"]):
        payment_methods.detach_from_customer(session, method)
    return session.remove(customer, "customer.deleted")


def list_payment_methods(session: Session, params: Json) -> Json:
    session.get("customer", params["id"])
    terms = {
        "customer": [params["id"]],
        **({"type": [params["type"]]} if params.get("type") else {}),
    }
    return session.page("payment_method", f"{PATH}/{params['id']}/payment_methods", params, terms)


ENDPOINTS = [
    Endpoint("POST", PATH, Form(**FIELDS, payment_method=text), create),
    listing("customer", PATH, email=text),
    searching("customer", PATH),
    retrieve("customer", PATH),
    Endpoint("POST", f"{PATH}/{{id}}", Form(**FIELDS), update),
    Endpoint("DELETE", f"{PATH}/{{id}}", Form(), delete),
    Endpoint(
        "GET",
        f"{PATH}/{{id}}/payment_methods",
        payment_methods.LIST_FORM,
        list_payment_methods,
    ),
]
