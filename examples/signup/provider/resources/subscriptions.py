"""Subscriptions, with trials. No invoices: the first period is paid by a payment intent."""

import calendar
from datetime import UTC, datetime, timedelta

from examples.signup.provider.endpoint import Endpoint, retrieve, searching
from examples.signup.provider.errors import ApiError, CardError
from examples.signup.provider.form import (
    Form,
    at_least,
    boolean,
    hash_of,
    list_of,
    metadata,
    one_of,
    page_form,
    text,
    timestamp_or_now,
)
from examples.signup.provider.resources import payments
from examples.signup.provider.resources.payment_methods import belonging_to
from examples.signup.provider.session import Session, merged, new_id
from examples.signup.provider.store import Json

PATH = "/v1/subscriptions"
DAY = 24 * 60 * 60
ENDED = ("canceled", "incomplete_expired")
LIVE = ("trialing", "active", "incomplete", "past_due", "unpaid", "paused")


def create(session: Session, params: Json) -> Json:
    customer = session.get("customer", params["customer"], "customer")
    if not params["items"]:
        raise ApiError(400, "You must pass at least one item.", param="items")
    items = [
        new_item(session, item, f"items[{index}]") for index, item in enumerate(params["items"])
    ]
    method = params.get("default_payment_method")
    if method:
        belonging_to(session, method, customer["id"], "default_payment_method")
    trial_end = end_of_trial(session, params)
    if trial_end is not None:
        status = "trialing"
    else:
        method_to_charge = method or customer["invoice_settings"]["default_payment_method"]
        behavior = params.get("payment_behavior", "allow_incomplete")
        status = first_payment(session, customer["id"], items, method_to_charge, behavior)
    currency = items[0]["price"]["currency"]
    fields = {
        "billing_cycle_anchor": trial_end or session.now,
        "cancel_at": None,
        "cancel_at_period_end": params.get("cancel_at_period_end", False),
        "canceled_at": None,
        "collection_method": "charge_automatically",
        "currency": currency,
        "customer": customer["id"],
        "default_payment_method": method,
        "description": params.get("description"),
        "ended_at": None,
        "latest_invoice": None,
        "metadata": merged({}, params.get("metadata", {})),
        "start_date": session.now,
        "status": status,
        "trial_end": trial_end,
        "trial_start": session.now if trial_end else None,
    }
    fields["items"] = item_list(session, items, trial_end)
    if fields["cancel_at_period_end"]:
        fields["cancel_at"] = fields["items"]["data"][0]["current_period_end"]
    return session.create("subscription", fields, "customer.subscription.created")


def new_item(session: Session, params: Json, param: str) -> Json:
    if not params.get("price"):
        message = f"Missing required param: {param}[price]."
        raise ApiError(400, message, code="parameter_missing", param=f"{param}[price]")
    price = session.get("price", params["price"], f"{param}[price]")
    if price["recurring"] is None:
        message = "The price specified is set to `type=one_time` but this field only accepts "
        raise ApiError(400, message + "prices with `type=recurring`.", param=f"{param}[price]")
    return {
        "id": new_id("subscription_item"),
        "object": "subscription_item",
        "created": session.now,
        "metadata": merged({}, params.get("metadata", {})),
        "price": price,
        "quantity": params.get("quantity", 1),
    }


def item_list(session: Session, items: list[Json], trial_end: int | None) -> Json:
    """The items as a list object, each with its current period."""
    start = session.now
    dated = [
        {
            **item,
            "current_period_start": item.get("current_period_start", start),
            "current_period_end": trial_end or period_end(start, item["price"]["recurring"]),
        }
        for item in items
    ]
    return {"object": "list", "has_more": False, "data": dated, "url": "/v1/subscription_items"}


def period_end(start: int, recurring: Json) -> int:
    """One interval later; the last day of a month stays the last day."""
    interval, count = recurring["interval"], recurring["interval_count"]
    begin = datetime.fromtimestamp(start, UTC)
    if interval in ("day", "week"):
        return int((begin + timedelta(days=count * (7 if interval == "week" else 1))).timestamp())
    months = begin.year * 12 + begin.month - 1 + count * (12 if interval == "year" else 1)
    year, month = divmod(months, 12)
    day = min(begin.day, calendar.monthrange(year, month + 1)[1])
    return int(begin.replace(year=year, month=month + 1, day=day).timestamp())


def end_of_trial(session: Session, params: Json) -> int | None:
    """When the trial ends; None for no trial."""
    if "trial_end" in params and "trial_period_days" in params:
        message = "You may only specify one of these parameters: trial_end, trial_period_days."
        raise ApiError(400, message, param="trial_end")
    if days := params.get("trial_period_days"):
        return int(session.now + days * DAY)
    end = params.get("trial_end")
    if end is None or end == "now":
        return None
    if end <= session.now:
        message = "Invalid timestamp: must be an integer Unix timestamp in the future."
        raise ApiError(400, message, param="trial_end")
    return int(end)


def first_payment(
    session: Session, customer: str, items: list[Json], method: str | None, behavior: str
) -> str:
    """Pay the first period. Returns the subscription's status: `active` or `incomplete`."""
    amount = sum(item["price"]["unit_amount"] * item["quantity"] for item in items)
    if amount == 0:
        return "active"
    if behavior == "default_incomplete":
        return "incomplete"
    if method is None:
        message = (
            "This customer has no attached payment source or default payment method. Please "
            "consider adding a default payment method."
        )
        raise ApiError(400, message, code="resource_missing")
    payment = {
        "amount": amount,
        "confirm": True,
        "currency": items[0]["price"]["currency"],
        "customer": customer,
        "description": "Subscription creation",
        "off_session": True,
        "payment_method": method,
    }
    try:
        payments.create(session, payment)
    except CardError:
        if behavior == "error_if_incomplete":
            raise
        return "incomplete"
    return "active"


def update(session: Session, params: Json) -> Json:
    subscription = session.get("subscription", params["id"])
    if subscription["status"] in ENDED and set(params) - {"id", "metadata", "expand"}:
        message = "A canceled subscription can only update its cancellation_details and metadata."
        raise ApiError(400, message)
    changes: Json = {}
    if "metadata" in params:
        changes["metadata"] = merged(subscription["metadata"], params["metadata"])
    if "description" in params:
        changes["description"] = params["description"]
    if "default_payment_method" in params:
        if method := params["default_payment_method"]:
            belonging_to(session, method, subscription["customer"], "default_payment_method")
        changes["default_payment_method"] = params["default_payment_method"]
    if "items" in params:
        changes["items"] = changed_items(session, subscription, params["items"])
    if "trial_end" in params:
        changes |= changed_trial(session, {**subscription, **changes}, params)
    if "cancel_at_period_end" in params:
        ending = params["cancel_at_period_end"]
        items = {**subscription, **changes}["items"]["data"]
        changes |= {
            "cancel_at_period_end": ending,
            "cancel_at": items[0]["current_period_end"] if ending else None,
            "canceled_at": session.now if ending else None,
        }
    return session.change(subscription, changes, "customer.subscription.updated")


def changed_items(session: Session, subscription: Json, given: list[Json]) -> Json:
    """Items named by id change their price or quantity, or go; others are added."""
    items = {item["id"]: item for item in subscription["items"]["data"]}
    for index, params in enumerate(given):
        param = f"items[{index}]"
        ident = params.get("id")
        if ident is None:
            added = new_item(session, params, param)
            items[added["id"]] = added
        elif ident not in items:
            message = f"No such subscription item: '{ident}'"
            raise ApiError(400, message, code="resource_missing", param=f"{param}[id]")
        elif params.get("deleted"):
            del items[ident]
        else:
            price = params.get("price", items[ident]["price"]["id"])
            quantity = params.get("quantity", items[ident]["quantity"])
            fresh = new_item(session, {"price": price, "quantity": quantity}, param)
            items[ident] = {**items[ident], "price": fresh["price"], "quantity": quantity}
    if not items:
        raise ApiError(400, "A subscription must have at least one item.", param="items")
    trial_end = subscription["trial_end"] if subscription["status"] == "trialing" else None
    return item_list(session, list(items.values()), trial_end)


def changed_trial(session: Session, subscription: Json, params: Json) -> Json:
    """A new end of the trial; `now` ends it, and the first period is paid."""
    trial_end = end_of_trial(session, params)
    items = [
        {**item, "current_period_start": session.now} for item in subscription["items"]["data"]
    ]
    if trial_end is not None:
        start = subscription["trial_start"] or session.now
        return {
            "status": "trialing",
            "trial_start": start,
            "trial_end": trial_end,
            "items": item_list(session, items, trial_end),
        }
    if subscription["status"] != "trialing":
        return {}
    customer = session.get("customer", subscription["customer"])
    method = (
        subscription["default_payment_method"]
        or customer["invoice_settings"]["default_payment_method"]
    )
    paid = first_payment(session, customer["id"], items, method, "allow_incomplete")
    return {
        "status": "active" if paid == "active" else "past_due",
        "trial_end": session.now,
        "items": item_list(session, items, None),
    }


def cancel(session: Session, params: Json) -> Json:
    subscription = session.get("subscription", params["id"])
    if subscription["status"] in ENDED:
        raise ApiError(
            404,
            f"No such subscription: '{subscription['id']}'",
            code="resource_missing",
            param="id",
        )
    return end(session, subscription)


def end(session: Session, subscription: Json) -> Json:
    changes = {"status": "canceled", "canceled_at": session.now, "ended_at": session.now}
    return session.change(subscription, changes, "customer.subscription.deleted")


def list_subscriptions(session: Session, params: Json) -> Json:
    """Canceled ones are shown only when asked for."""
    status = params.get("status")
    terms: dict[str, list[str]] = {}
    if params.get("customer"):
        terms["customer"] = [params["customer"]]
    if status != "all":
        terms["status"] = list(LIVE if status is None else ENDED if status == "ended" else [status])
    return session.page("subscription", PATH, params, terms)


ITEM = {"price": text, "quantity": at_least(0), "metadata": metadata}
SHARED = {
    "cancel_at_period_end": boolean,
    "default_payment_method": text,
    "description": text,
    "metadata": metadata,
    "trial_end": timestamp_or_now,
}
BEHAVIOR = one_of("allow_incomplete", "default_incomplete", "error_if_incomplete")

ENDPOINTS = [
    Endpoint(
        "POST",
        PATH,
        Form(
            {"customer": text, "items": list_of(hash_of(**ITEM))},
            **SHARED,
            payment_behavior=BEHAVIOR,
            trial_period_days=at_least(1),
        ),
        create,
    ),
    Endpoint(
        "GET",
        PATH,
        page_form(customer=text, status=one_of(*LIVE, *ENDED, "ended", "all")),
        list_subscriptions,
    ),
    searching("subscription", PATH),
    retrieve("subscription", PATH),
    Endpoint(
        "POST",
        f"{PATH}/{{id}}",
        Form(**SHARED, items=list_of(hash_of(**ITEM, id=text, deleted=boolean))),
        update,
    ),
    Endpoint("DELETE", f"{PATH}/{{id}}", Form(), cancel),
]
