"""Every resource through the official SDK."""

from __future__ import annotations

import asyncio

import httpx
import pytest
import stripe

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

DAY = 24 * 60 * 60


@pytest.fixture
def v1(client):
    return client.v1


@pytest.fixture
def customer(v1):
    return v1.customers.create({"email": "ada@example.com"})


@pytest.fixture
def price(v1):
    product = {"name": "Pro"}
    recurring = {"interval": "month"}
    return v1.prices.create(
        {"currency": "usd", "unit_amount": 900, "recurring": recurring, "product_data": product}
    )


def types(v1, about):
    events = v1.events.list({"limit": 100}).data
    return [event.type for event in events if event.data.object["id"] == about]


# -- customers -----------------------------------------------------------------------------------


def test_customer_from_birth_to_death(v1):
    made = v1.customers.create(
        {"email": "a@b.c", "name": "Ada", "metadata": {"plan": "pro", "seat": "1"}}
    )
    assert (made.object, made.email, made.metadata["plan"]) == ("customer", "a@b.c", "pro")
    changed = v1.customers.update(made.id, {"name": "", "metadata": {"seat": "", "x": "y"}})
    assert changed.name is None
    assert changed.metadata.to_dict() == {"plan": "pro", "x": "y"}
    assert v1.customers.retrieve(made.id).to_dict() == changed.to_dict()
    assert v1.customers.delete(made.id).deleted
    assert v1.customers.retrieve(made.id).deleted
    with pytest.raises(stripe.InvalidRequestError, match="No such customer") as raised:
        v1.customers.update(made.id, {"name": "x"})
    assert (raised.value.http_status, raised.value.code) == (404, "resource_missing")
    assert types(v1, made.id) == ["customer.deleted", "customer.updated", "customer.created"]


async def test_the_asynchronous_client_works_alike(v1, key):
    made = await asyncio.gather(
        *(v1.customers.create_async({"metadata": {"key": key}}) for _ in range(5))
    )
    found = await v1.customers.search_async({"query": f"metadata['key']:'{key}'"})
    assert {one.id for one in found.data} == {one.id for one in made}
    listed = await v1.customers.list_async({"limit": 5})
    assert [one.id async for one in listed.auto_paging_iter()][:5] == [one.id for one in found]


def test_list_filters_and_pages_newest_first(v1, key):
    email = f"{key}@example.com"
    ids = [v1.customers.create({"email": email}).id for _ in range(5)][::-1]
    page = v1.customers.list({"email": email, "limit": 2})
    assert ([one.id for one in page.data], page.has_more) == (ids[:2], True)
    assert [one.id for one in page.auto_paging_iter()] == ids
    back = v1.customers.list({"email": email, "limit": 2, "ending_before": ids[4]})
    assert ([one.id for one in back.data], back.has_more) == (ids[2:4], True)
    assert [one.id for one in back.auto_paging_iter()] == ids[:4][::-1]
    assert v1.customers.list({"email": email, "created": {"gt": 4_000_000_000}}).data == []


def test_search_by_metadata_and_email(v1, key):
    email = f"{key}@example.com"
    tricky = "it's"
    ids = [
        v1.customers.create({"email": email, "metadata": {"a": tricky, "key": key}}).id
        for _ in range(3)
    ]
    query = f"metadata['a']:'it\\'s' AND email:\"{email}\""
    page = v1.customers.search({"query": query, "limit": 2})
    assert page.has_more
    assert [one.id for one in page.auto_paging_iter()] == ids[::-1]
    assert v1.customers.search({"query": f"metadata['key']:'{key}x'"}).data == []


@pytest.mark.parametrize(
    "query", ["", "email", "age:'3'", "email:'a' OR email:'b'", "metadata:'x'"]
)
def test_a_search_that_it_does_not_understand_is_an_error(v1, query):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.customers.search({"query": query})
    assert raised.value.param == "query"


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"colour": "red"}, "parameter_unknown", "colour"),
        ({"invoice_settings": {"colour": "red"}}, "parameter_unknown", "invoice_settings[colour]"),
        ({"metadata": {"x" * 41: "y"}}, None, f"metadata[{'x' * 41}]"),
        ({"email": {"a": "b"}}, None, "email"),
    ],
)
def test_invalid_parameters(v1, params, code, param):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.customers.create(params)
    error = raised.value
    assert (error.http_status, error.code, error.param) == (400, code, param)
    assert error.request_id.startswith("req_")


def test_an_unknown_url_and_a_wrong_key(provider, connect):
    answer = httpx.get(f"{provider.url}/v1/tax_rates", auth=("sk_test_x", ""))
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")
    with pytest.raises(stripe.AuthenticationError):
        connect(provider, api_key="nonsense").v1.customers.list()


def test_the_truth_tells_what_an_auditor_asks(provider, v1, key):
    made = v1.customers.create({"metadata": {"key": key}}, {"idempotency_key": key})
    v1.customers.delete(made.id)
    (row,) = provider.truth("customer", key=key)
    assert (row["id"], row["deleted"], row["idempotency_key"]) == (made.id, True, key)
    everything = httpx.get(f"{provider.url}/_truth").json()
    customers = everything["objects"]["customer"]
    assert customers["count"] == len(customers["rows"])
    assert httpx.get(f"{provider.url}/_truth?type=unicorn").status_code == 400


# -- catalog -------------------------------------------------------------------------------------


def test_products_and_prices(v1, key):
    product = v1.products.create({"name": key, "metadata": {"key": key}})
    assert v1.products.update(product.id, {"active": False}).active is False
    assert [one.id for one in v1.products.search({"query": f"name:'{key}'"}).data] == [product.id]
    params = {"currency": "EUR", "unit_amount": 5, "product": product.id, "lookup_key": key}
    price = v1.prices.create(params)
    assert (price.currency, price.type, price.recurring) == ("eur", "one_time", None)
    assert [one.id for one in v1.prices.list({"lookup_keys": [key, "other"]}).data] == [price.id]
    assert v1.prices.update(price.id, {"nickname": "n"}).nickname == "n"
    assert v1.prices.retrieve(price.id, {"expand": ["product"]}).product.name == key
    with pytest.raises(stripe.InvalidRequestError, match="cannot be deleted"):
        v1.products.delete(product.id)
    assert v1.products.delete(v1.products.create({"name": "x"}).id).deleted
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.prices.create({"currency": "usd", "product": product.id})
    assert (raised.value.code, raised.value.param) == ("parameter_missing", "unit_amount")


# -- payment methods -----------------------------------------------------------------------------


def test_payment_methods_attach_list_and_detach(v1, customer):
    made = v1.payment_methods.create({"type": "card", "card": {"token": "tok_mastercard"}})
    v1.payment_methods.attach(made.id, {"customer": customer.id})
    named = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    assert (named.card.last4, named.customer) == ("4242", customer.id)
    listed = v1.payment_methods.list({"customer": customer.id, "type": "card"}).data
    assert [one.id for one in listed] == [named.id, made.id]
    assert len(v1.customers.payment_methods.list(customer.id).data) == 2
    assert v1.payment_methods.detach(made.id).customer is None
    with pytest.raises(stripe.InvalidRequestError, match="not attached"):
        v1.payment_methods.detach(made.id)
    default = {"default_payment_method": named.id}
    changed = v1.customers.update(customer.id, {"invoice_settings": default})
    assert changed.invoice_settings.default_payment_method == named.id


def test_a_bad_card_is_declined_when_attached(v1, customer):
    with pytest.raises(stripe.CardError) as raised:
        v1.payment_methods.attach("pm_card_chargeDeclined", {"customer": customer.id})
    assert (raised.value.http_status, raised.value.code) == (402, "card_declined")


# -- payment intents and refunds -----------------------------------------------------------------

PAYMENT = {"amount": 2500, "currency": "usd", "payment_method": "pm_card_visa"}


def test_a_payment_succeeds_and_is_refunded_once(v1, customer, key):
    intent = v1.payment_intents.create(
        {**PAYMENT, "customer": customer.id, "confirm": True, "metadata": {"key": key}}
    )
    assert (intent.status, intent.amount_received) == ("succeeded", 2500)
    assert [one.id for one in v1.payment_intents.list({"customer": customer.id})] == [intent.id]
    query = {"query": f"metadata['key']:'{key}' AND status:'succeeded'"}
    assert [one.id for one in v1.payment_intents.search(query).data] == [intent.id]
    part = v1.refunds.create({"payment_intent": intent.id, "amount": 1000})
    with pytest.raises(stripe.InvalidRequestError, match="greater than") as raised:
        v1.refunds.create({"payment_intent": intent.id, "amount": 1501})
    assert raised.value.param == "amount"
    rest = v1.refunds.create({"charge": intent.latest_charge})
    assert (part.amount, rest.amount, rest.status) == (1000, 1500, "succeeded")
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.refunds.create({"payment_intent": intent.id})
    assert raised.value.code == "charge_already_refunded"
    assert len(v1.refunds.list({"payment_intent": intent.id}).data) == 2
    assert v1.refunds.update(part.id, {"metadata": {"a": "b"}}).metadata["a"] == "b"
    assert v1.refunds.retrieve(part.id).metadata["a"] == "b"
    charge = v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (2500, True)


def test_a_payment_step_by_step(v1):
    intent = v1.payment_intents.create({"amount": 100, "currency": "usd"})
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        v1.payment_intents.confirm(intent.id)
    assert v1.payment_intents.update(intent.id, {"amount": 200}).amount == 200
    paid = v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_amex"})
    assert (paid.status, paid.amount_received) == ("succeeded", 200)
    for verb in (v1.payment_intents.confirm, v1.payment_intents.cancel, v1.payment_intents.capture):
        with pytest.raises(stripe.InvalidRequestError) as raised:
            verb(intent.id)
        assert raised.value.code == "payment_intent_unexpected_state"
    assert types(v1, intent.id) == ["payment_intent.succeeded", "payment_intent.created"]


def test_a_hold_is_captured_in_part_or_released(v1):
    params = {**PAYMENT, "capture_method": "manual", "confirm": True}
    held = v1.payment_intents.create(params)
    assert (held.status, held.amount_capturable) == ("requires_capture", 2500)
    with pytest.raises(stripe.InvalidRequestError):
        v1.payment_intents.capture(held.id, {"amount_to_capture": 2501})
    taken = v1.payment_intents.capture(held.id, {"amount_to_capture": 2000})
    assert (taken.status, taken.amount_received) == ("succeeded", 2000)
    with pytest.raises(stripe.InvalidRequestError, match="greater than"):
        v1.refunds.create({"payment_intent": held.id, "amount": 2001})
    other = v1.payment_intents.create(params)
    released = v1.payment_intents.cancel(other.id, {"cancellation_reason": "duplicate"})
    assert (released.status, released.amount_received) == ("canceled", 0)


@pytest.mark.parametrize(
    ("card", "code", "decline_code"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
def test_a_declined_payment(v1, card, code, decline_code):
    with pytest.raises(stripe.CardError) as raised:
        v1.payment_intents.create({**PAYMENT, "payment_method": card, "confirm": True})
    error = raised.value
    assert (error.http_status, error.code) == (402, code)
    body = error.json_body["error"]
    assert (body["type"], body.get("decline_code")) == ("card_error", decline_code)
    intent = v1.payment_intents.retrieve(body["payment_intent"]["id"])
    assert (intent.status, intent.last_payment_error.code) == ("requires_payment_method", code)
    assert v1.charges.list({"payment_intent": intent.id}).data[0].status == "failed"
    assert v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status


def test_authentication_is_required_on_session_and_declines_off_session(v1):
    params = {**PAYMENT, "payment_method": "pm_card_authenticationRequired", "confirm": True}
    assert v1.payment_intents.create(params).status == "requires_action"
    with pytest.raises(stripe.CardError) as raised:
        v1.payment_intents.create({**params, "off_session": True})
    assert raised.value.code == "authentication_required"


# -- subscriptions -------------------------------------------------------------------------------


def test_a_trial_from_start_to_cancellation(v1, customer, price, key):
    trial = v1.subscriptions.create(
        {
            "customer": customer.id,
            "items": [{"price": price.id, "quantity": 2}],
            "trial_period_days": 14,
            "metadata": {"key": key},
        }
    )
    assert trial.status == "trialing"
    assert trial.trial_end - trial.trial_start == 14 * DAY
    (item,) = trial["items"].data
    assert (item.price.id, item.quantity) == (price.id, 2)
    assert item.current_period_end == trial.trial_end
    changed = v1.subscriptions.update(
        trial.id, {"metadata": {"a": "b"}, "cancel_at_period_end": True}
    )
    assert (changed.metadata["key"], changed.cancel_at) == (key, trial.trial_end)
    found = v1.subscriptions.search({"query": f"metadata['key']:'{key}' AND status:'trialing'"})
    assert [one.id for one in found.data] == [trial.id]
    assert v1.payment_intents.list({"customer": customer.id}).data == []
    assert v1.subscriptions.cancel(trial.id).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        v1.subscriptions.cancel(trial.id)
    assert v1.subscriptions.list({"customer": customer.id}).data == []
    assert len(v1.subscriptions.list({"customer": customer.id, "status": "all"}).data) == 1
    names = [f"customer.subscription.{verb}" for verb in ("deleted", "updated", "created")]
    assert types(v1, trial.id) == names


def test_a_trial_may_end_at_a_time_or_now(v1, customer, price):
    now = v1.customers.create().created
    params = {"customer": customer.id, "items": [{"price": price.id}]}
    trial = v1.subscriptions.create({**params, "trial_end": now + 3 * DAY})
    assert (trial.status, trial.trial_end) == ("trialing", now + 3 * DAY)
    method = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id})
    changes = {"default_payment_method": method.id, "trial_end": "now"}
    assert v1.subscriptions.update(trial.id, changes).status == "active"
    assert v1.payment_intents.list({"customer": customer.id}).data[0].amount_received == 900
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.subscriptions.create({**params, "trial_end": now - DAY})
    assert raised.value.param == "trial_end"


def test_a_subscription_without_trial_is_paid_at_once(v1, customer, price):
    params = {"customer": customer.id, "items": [{"price": price.id}]}
    with pytest.raises(stripe.InvalidRequestError, match="no attached payment source"):
        v1.subscriptions.create(params)
    good = v1.payment_methods.attach("pm_card_visa", {"customer": customer.id}).id
    paid = v1.subscriptions.create({**params, "default_payment_method": good})
    assert paid.status == "active"
    bad = v1.payment_methods.attach("pm_card_chargeCustomerFail", {"customer": customer.id}).id
    failing = {**params, "default_payment_method": bad}
    assert v1.subscriptions.create(failing).status == "incomplete"
    with pytest.raises(stripe.CardError):
        v1.subscriptions.create({**failing, "payment_behavior": "error_if_incomplete"})
    assert len(v1.subscriptions.list({"customer": customer.id}).data) == 2
    v1.customers.delete(customer.id)
    ended = v1.subscriptions.list({"customer": customer.id, "status": "canceled"}).data
    assert len(ended) == 2


def test_subscription_items_change(v1, customer, price):
    params = {"customer": customer.id, "items": [{"price": price.id}], "trial_period_days": 1}
    trial = v1.subscriptions.create(params)
    item = trial["items"].data[0].id
    changes = [{"id": item, "quantity": 7}, {"price": price.id}]
    changed = v1.subscriptions.update(trial.id, {"items": changes})
    assert [one.quantity for one in changed["items"].data] == [7, 1]
    left = v1.subscriptions.update(trial.id, {"items": [{"id": item, "deleted": True}]})
    assert [one.quantity for one in left["items"].data] == [1]
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.subscriptions.create({**params, "items": [{"price": "price_none"}]})
    assert (raised.value.http_status, raised.value.param) == (400, "items[0][price]")


# -- events --------------------------------------------------------------------------------------


def test_events_are_filtered_paged_and_newest_first(v1, key):
    made = [v1.customers.create({"name": key}, {"idempotency_key": f"{key}-{n}"}) for n in range(3)]
    v1.customers.update(made[0].id, {"name": "other"})
    v1.products.create({"name": key})
    wanted = {"types": ["customer.created", "customer.updated"], "limit": 2}
    newest = v1.events.list(wanted)
    assert newest.data[0].type == "customer.updated"
    assert newest.data[0].data.previous_attributes["name"] == key
    ids = [event.data.object["id"] for event in newest.auto_paging_iter()][:4]
    assert ids == [made[0].id, made[2].id, made[1].id, made[0].id]
    created = v1.events.list({"type": "customer.created", "limit": 1}).data[0]
    assert created.request.idempotency_key == f"{key}-2"
    assert v1.events.retrieve(created.id).to_dict() == created.to_dict()
    later = v1.events.list({"ending_before": created.id, "limit": 100}).data
    assert [event.type for event in later] == ["product.created", "customer.updated"]
    since = {"created": {"gt": created.created - 1}, "type": "customer.created", "limit": 1}
    assert [event.id for event in v1.events.list(since).data] == [created.id]
