"""Subscriptions: made, changed and canceled by request. What the clock does is in `lifecycle`."""

from examples.signup.provider.endpoint import Endpoint, retrieve, searching
from examples.signup.provider.errors import ApiError
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
from examples.signup.provider.resources import billing, lifecycle
from examples.signup.provider.resources.payment_methods import belonging_to
from examples.signup.provider.resources.periods import same_rhythm
from examples.signup.provider.resources.states import DAY, ENDED, LIVE, step
from examples.signup.provider.resources.subscription_items import (
    amount_of,
    changed_items,
    item_list,
    new_item,
    paid_period,
    period_of,
    rhythm,
)
from examples.signup.provider.session import Session, merged, new_id
from examples.signup.provider.store import Json

PATH = "/v1/subscriptions"


def create(session: Session, params: Json) -> Json:
    """Begin a trial or charge for the first period. Either makes the first invoice."""
    planned = new_subscription(session, params)
    if planned["trial_end"] is None:
        behavior = params.get("payment_behavior", "allow_incomplete")
        if behavior != "default_incomplete":
            needs_method(session, planned)
        fields, attempt = lifecycle.first_bill(session, planned, behavior)
    else:
        fields = {"status": step(None, "trial"), "latest_invoice": new_id("invoice")}
        attempt = lifecycle.NOTHING_TO_PAY
    subscription = session.create(
        "subscription", {**planned, **fields}, "customer.subscription.created"
    )
    lifecycle.schedule(session, subscription, None)
    covers = (session.now, session.now)
    invoice = subscription["latest_invoice"]
    billing.make_invoice(session, invoice, subscription, "subscription_create", covers, attempt)
    return subscription


def new_subscription(session: Session, params: Json) -> Json:
    """The subscription as the parameters say, without a status."""
    customer = session.get("customer", params["customer"], "customer")
    if not params["items"]:
        raise ApiError(400, "You must pass at least one item.", param="items")
    items = [
        new_item(session, item, f"items[{index}]") for index, item in enumerate(params["items"])
    ]
    if method := params.get("default_payment_method"):
        belonging_to(session, method, customer["id"], "default_payment_method")
    trial_end = end_of_trial(session, params)
    anchor = trial_end or session.now
    listed = (
        item_list(items, session.now, trial_end)
        if trial_end
        else paid_period(items, anchor, session.now)
    )
    ending = params.get("cancel_at_period_end", False)
    return {
        "id": new_id("subscription"),
        "billing_cycle_anchor": anchor,
        "cancel_at": listed["data"][0]["current_period_end"] if ending else None,
        "cancel_at_period_end": ending,
        "canceled_at": session.now if ending else None,
        "cancellation_details": {
            "comment": None,
            "feedback": None,
            "reason": "cancellation_requested" if ending else None,
        },
        "collection_method": "charge_automatically",
        "currency": items[0]["price"]["currency"],
        "customer": customer["id"],
        "default_payment_method": method,
        "description": params.get("description"),
        "ended_at": None,
        "items": listed,
        "metadata": merged({}, params.get("metadata", {})),
        "start_date": session.now,
        "trial_end": trial_end,
        "trial_start": session.now if trial_end else None,
    }


def needs_method(session: Session, subscription: Json) -> None:
    """Refuse to charge a customer who has nothing to be charged."""
    amount = amount_of(subscription["items"]["data"])
    if amount and lifecycle.method_to_charge(session, subscription) is None:
        message = (
            "This customer has no attached payment source or default payment method. Please "
            "consider adding a default payment method."
        )
        raise ApiError(400, message, code="resource_missing")


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


def update(session: Session, params: Json) -> Json:
    """All changes make one event. A trial that ends now, and another interval, are charged at once.

    Prices change without proration: the new one counts from the next period.
    """
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
    timing, charged = changed_timing(session, subscription, params)
    changes |= timing
    if "cancel_at_period_end" in params:
        after = {**subscription, **changes}
        changes |= ending_at_period_end(session, after, params["cancel_at_period_end"])
    if not charged:
        return lifecycle.put(session, subscription, changes)
    needs_method(session, {**subscription, **changes})
    covers = (period_of(subscription)[0], session.now)
    return lifecycle.charge_period(session, subscription, changes, "subscription_update", covers)


def changed_timing(session: Session, subscription: Json, params: Json) -> tuple[Json, bool]:
    """The changes of items, period and trial, and whether a new period begins that is charged."""
    status, before = subscription["status"], subscription["items"]["data"]
    items = changed_items(session, subscription, params["items"]) if "items" in params else before
    trial_end = end_of_trial(session, params)
    if trial_end is not None:
        start = subscription["trial_start"] or session.now
        return {
            "billing_cycle_anchor": trial_end,
            "items": item_list(items, session.now, trial_end),
            "status": step(status, "trial"),
            "trial_end": trial_end,
            "trial_start": start,
        }, False
    trial_ends = params.get("trial_end") == "now" and status == "trialing"
    other_rhythm = not same_rhythm(rhythm(items), rhythm(before))
    if trial_ends or (other_rhythm and status in ("active", "past_due")):
        fresh: Json = {
            "billing_cycle_anchor": session.now,
            "items": paid_period(items, session.now, session.now),
        }
        return fresh | ({"trial_end": session.now} if trial_ends else {}), True
    return (
        {"items": item_list(items, *period_of(subscription))} if "items" in params else {}
    ), False


def ending_at_period_end(session: Session, subscription: Json, ending: bool) -> Json:
    reason = "cancellation_requested" if ending else None
    return {
        "cancel_at": period_of(subscription)[1] if ending else None,
        "cancel_at_period_end": ending,
        "canceled_at": session.now if ending else None,
        "cancellation_details": {**subscription["cancellation_details"], "reason": reason},
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
    given = params.get("cancellation_details", {})
    details = {**subscription["cancellation_details"], **given}
    told = {**subscription, "cancellation_details": details}
    return lifecycle.end(session, told, "canceled", "cancellation_requested")


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
    "off_session": boolean,
    "proration_behavior": one_of("always_invoice", "create_prorations", "none"),
    "trial_end": timestamp_or_now,
}
BEHAVIOR = one_of("allow_incomplete", "default_incomplete", "error_if_incomplete")
DETAILS = hash_of(comment=text, feedback=text)

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
    Endpoint(
        "DELETE",
        f"{PATH}/{{id}}",
        Form(cancellation_details=DETAILS, invoice_now=boolean, prorate=boolean),
        cancel,
    ),
]
