"""The list of events as a sweep reads it: in order, without gaps, for 30 days."""

from __future__ import annotations

import pytest
import stripe

from tests.examples.provider.subscribers import BAD, DAY, Subscriber, a_price

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)


@pytest.fixture
def v1(client):
    return client.v1


def newest(v1):
    return v1.events.list({"limit": 1}).data[0].id


def since(v1, cursor, **params):
    """All after the cursor, oldest first, as a sweep reads them."""
    page = v1.events.list({"ending_before": cursor, **params})
    return list(page.auto_paging_iter())


def test_a_sweep_from_a_cursor_reads_everything_once_in_order(v1):
    v1.customers.create({"email": "a@b.c"})
    cursor = newest(v1)
    made = [v1.customers.create({"email": "a@b.c"}).id for _ in range(7)]
    v1.customers.update(made[0], {"email": "x@y.z"})
    v1.customers.delete(made[1])
    swept = since(v1, cursor, limit=2)
    assert [one.data.object["id"] for one in swept] == [*made, made[0], made[1]]
    assert swept[-1].type == "customer.deleted"
    assert [one.created for one in swept] == sorted(one.created for one in swept)
    page = v1.events.list({"ending_before": cursor, "limit": 2})
    assert ([one.id for one in page.data], page.has_more) == ([swept[1].id, swept[0].id], True)
    last = v1.events.list({"ending_before": swept[-3].id, "limit": 2})
    assert ([one.id for one in last.data], last.has_more) == (
        [swept[-1].id, swept[-2].id],
        False,
    )
    back = v1.events.list({"starting_after": swept[2].id, "limit": 2})
    assert [one.id for one in back.data] == [swept[1].id, swept[0].id]
    assert since(v1, swept[-1].id) == []


def test_a_sweep_by_types_and_time(v1):
    v1.products.create({"name": "there is an event, whichever test is the first"})
    cursor = newest(v1)
    made = v1.customers.create({"email": "a@b.c"})
    v1.customers.update(made.id, {"name": "x"})
    v1.products.create({"name": "p"})
    wanted = {"types": ["customer.updated", "product.created"], "limit": 1}
    swept = since(v1, cursor, **wanted)
    assert [one.type for one in swept] == ["customer.updated", "product.created"]
    assert swept[0].data.previous_attributes.to_dict() == {"name": None}
    at = swept[0].created
    for bounds, found in (
        ({"gte": at}, True),
        ({"gt": at}, False),
        ({"lte": at}, True),
        ({"lt": at}, False),
        ({"gt": at - 1, "lt": at + 1}, True),
    ):
        seen = v1.events.list({"created": bounds, "type": "customer.updated", "limit": 1}).data
        assert (swept[0].id in [one.id for one in seen]) == found
    with pytest.raises(stripe.InvalidRequestError):
        v1.events.list({"type": "customer.updated", "types": ["customer.created"]})
    with pytest.raises(stripe.InvalidRequestError):
        v1.events.list({"ending_before": swept[0].id, "starting_after": swept[1].id})


def test_an_event_is_a_snapshot_with_the_request_that_made_it(v1, key):
    made = v1.customers.create({"email": "a@b.c"}, {"idempotency_key": key})
    v1.customers.update(made.id, {"email": "x@y.z"})
    (event,) = [
        one
        for one in v1.events.list({"type": "customer.created", "limit": 5}).data
        if one.data.object["id"] == made.id
    ]
    assert event.data.object["email"] == "a@b.c"
    assert event.request.idempotency_key == key
    assert event.request.id == made.last_response.request_id
    assert event.id.startswith("evt_")


def test_what_the_clock_brings_has_no_request(provider, v1):
    who = Subscriber(provider, v1)
    who.subscribe(a_price(v1), trial_period_days=4)
    who.days(1)
    event = who.events()[-1]
    assert event["type"] == "customer.subscription.trial_will_end"
    assert event["request"] == {"id": None, "idempotency_key": None}


def test_a_refused_request_makes_no_event_and_a_declined_one_does(provider, v1):
    who = Subscriber(provider, v1, BAD)
    price, cursor = a_price(v1), newest(v1)
    with pytest.raises(stripe.InvalidRequestError):
        who.subscribe(price, default_payment_method="pm_none")
    assert since(v1, cursor) == []
    with pytest.raises(stripe.CardError):
        who.subscribe(price, payment_behavior="error_if_incomplete")
    assert [one.type for one in since(v1, cursor)] == [
        "payment_intent.created",
        "charge.failed",
        "payment_intent.payment_failed",
    ]


@pytest.mark.parametrize("fault", ["http500_during", "http500_before", "http429", "refuse_before"])
def test_what_did_not_happen_is_not_told(provider, v1, fault):
    v1.customers.create({"email": "a@b.c"})
    cursor = newest(v1)
    provider.fault(fault, match={"method": "POST"}, count=1)
    with pytest.raises((stripe.APIError, stripe.APIConnectionError, stripe.RateLimitError)):
        v1.customers.create({"email": "a@b.c"})
    assert since(v1, cursor) == []


def test_an_event_of_30_days_ago_is_still_there_and_an_older_one_is_not(own, connect):
    v1 = connect(own).v1
    v1.customers.create({"email": "a@b.c"})
    event = newest(v1)
    own.advance(30 * DAY - 60)
    assert newest(v1) == v1.events.retrieve(event).id == event
    own.advance(61)
    assert v1.events.list().data == []
    assert v1.events.list({"created": {"gte": 0}}).data == []
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.events.retrieve(event)
    assert raised.value.http_status == 404
    assert len(own.truth("event")) == 1


@pytest.mark.parametrize("what", ["subscribe", "pay"])
def test_the_same_key_charges_once(provider, v1, key, what):
    who = Subscriber(provider, v1)
    options = {"idempotency_key": key}
    if what == "subscribe":
        params = {"customer": who.id, "items": [{"price": a_price(v1)}]}
        answers = [v1.subscriptions.create(params, options) for _ in range(3)]
    else:
        who.subscribe(a_price(v1), payment_behavior="default_incomplete")
        invoice = who.latest_invoice().id
        answers = [v1.invoices.pay(invoice, {}, options) for _ in range(3)]
    assert len({one.id for one in answers}) == 1
    assert answers[1].last_response.headers["idempotent-replayed"] == "true"
    assert who.taken() == [900]
    assert who.told().count("invoice.paid") == 1


def test_a_payment_whose_answer_was_lost_happened_once(provider, v1, key):
    who = Subscriber(provider, v1)
    who.subscribe(a_price(v1), payment_behavior="default_incomplete")
    invoice = who.latest_invoice().id
    provider.fault("reset_after", match={"path": "/pay$"}, count=1)
    with pytest.raises(stripe.APIConnectionError):
        v1.invoices.pay(invoice, {}, {"idempotency_key": key})
    assert (who.now().status, who.taken()) == ("active", [900])
    assert v1.invoices.pay(invoice, {}, {"idempotency_key": key}).status == "paid"
    assert who.taken() == [900]
