"""Webhook endpoints and deliveries: signed, retried, doubled, reordered, dropped, held."""

from __future__ import annotations

import collections
import signal
import time

import pytest
import stripe

from tests.examples.provider.receiver import receiving
from tests.examples.provider.subscribers import Subscriber, a_price
from tests.harness.postgres import wait_until

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)


@pytest.fixture
def v1(client):
    return client.v1


@pytest.fixture
def receiver(provider, v1):
    """Its endpoint is gone afterwards, and deliveries behave again."""
    with receiving() as one:
        yield one
        for endpoint in v1.webhook_endpoints.list({"limit": 100}).data:
            v1.webhook_endpoints.delete(endpoint.id)
        provider.deliver()


def listen(v1, receiver, *events):
    return v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": list(events) or ["customer.created"]}
    )


def counts(provider, event):
    """What the provider says of one event's deliveries."""
    shown = provider.deliveries()["events"].get(event)
    return shown and {name: number for name, number in shown.items() if number}


def until(provider, event, **wanted):
    def reached():
        return wanted.items() <= (counts(provider, event) or {}).items()

    wait_until(reached, f"{event} to have {wanted}", timeout=10)


def make(v1, number=1):
    """Customers, each of which is one event; the ids of the events, oldest first."""
    for _ in range(number):
        v1.customers.create({"email": "a@b.c"})
    found = v1.events.list({"type": "customer.created", "limit": number}).data
    return [event.id for event in found][::-1]


# -- endpoints -----------------------------------------------------------------------------------


def test_an_endpoint_from_birth_to_death(v1, receiver):
    made = listen(v1, receiver, "customer.created", "customer.updated")
    assert (made.object, made.status, made.secret[:6]) == ("webhook_endpoint", "enabled", "whsec_")
    seen = v1.webhook_endpoints.retrieve(made.id)
    assert "secret" not in seen.to_dict()
    assert [one.id for one in v1.webhook_endpoints.list().data] == [made.id]
    changed = v1.webhook_endpoints.update(made.id, {"disabled": True, "enabled_events": ["*"]})
    assert (changed.status, changed.enabled_events) == ("disabled", ["*"])
    assert v1.webhook_endpoints.update(made.id, {"disabled": False}).status == "enabled"
    assert v1.webhook_endpoints.delete(made.id).deleted
    assert v1.webhook_endpoints.list().data == []


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"url": "ftp://x", "enabled_events": ["*"]}, "url"),
        ({"url": "http://[", "enabled_events": ["*"]}, "url"),
        ({"url": "http://localhost:1", "enabled_events": []}, "enabled_events"),
        ({"url": "http://localhost:1"}, "enabled_events"),
    ],
)
def test_an_endpoint_that_makes_no_sense_is_refused(v1, params, param):
    with pytest.raises(stripe.InvalidRequestError) as raised:
        v1.webhook_endpoints.create(params)
    assert raised.value.param == param


def test_the_same_key_gives_the_same_endpoint_and_secret(v1, receiver, key):
    params = {"url": receiver.url, "enabled_events": ["*"]}
    first, second = (
        v1.webhook_endpoints.create(params, {"idempotency_key": key}) for _ in range(2)
    )
    assert (first.id, first.secret) == (second.id, second.secret)
    assert len(v1.webhook_endpoints.list().data) == 1


# -- deliveries ----------------------------------------------------------------------------------


def test_an_event_arrives_once_signed_over_its_bytes(provider, v1, receiver):
    endpoint = listen(v1, receiver)
    provider.advance(40 * 24 * 60 * 60)  # the signature's time is the receiver's, not this clock's
    (event,) = make(v1)
    v1.products.create({"name": "nobody asked for this"})
    until(provider, event, delivered=1, attempts=1)
    (taken,) = receiver.taken
    read = stripe.Webhook.construct_event(taken.body, taken.signature, endpoint.secret)
    assert (read.id, read.type) == (event, "customer.created")
    assert taken.event["pending_webhooks"] == 1
    assert v1.events.retrieve(event).pending_webhooks == 0
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(taken.body + b" ", taken.signature, endpoint.secret)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(taken.body, taken.signature, endpoint.secret + "0")


def test_what_is_not_taken_is_tried_again_with_a_fresh_timestamp(provider, v1, receiver):
    endpoint = listen(v1, receiver)
    provider.deliver(backoff=[0.1, 1.1, 0.1])
    receiver.answers = [500, 302]
    (event,) = make(v1)
    until(provider, event, delivered=1, attempts=3)
    assert [one.answered for one in receiver.taken] == [500, 302, 200]
    assert len({one.body for one in receiver.taken}) == 1
    first, *_, last = (timestamp(one.signature) for one in receiver.taken)
    assert last > first
    for one in receiver.taken:
        stripe.Webhook.construct_event(one.body, one.signature, endpoint.secret)


def timestamp(signature):
    return int(signature.partition(",")[0].removeprefix("t="))


def test_after_the_last_retry_a_delivery_has_failed_and_the_list_says_so(provider, v1, receiver):
    listen(v1, receiver)
    provider.deliver(backoff=[0.01])
    receiver.answers = [500, 500]
    (event,) = make(v1)
    until(provider, event, failed=1, attempts=2)
    lost = v1.events.list({"type": "customer.created", "delivery_success": False}).data
    assert event in [one.id for one in lost]
    (other,) = make(v1)
    until(provider, other, delivered=1)
    done = v1.events.list({"type": "customer.created", "delivery_success": True}).data
    assert (done[0].id, event in [one.id for one in done]) == (other, False)


def test_an_endpoint_that_is_not_there_is_tried_again(provider, v1, receiver):
    made = v1.webhook_endpoints.create(
        {"url": "http://127.0.0.1:9/", "enabled_events": ["customer.created"]}
    )
    provider.deliver(backoff=[0.05] * 200)
    (event,) = make(v1)
    wait_until(lambda: counts(provider, event).get("attempts", 0) > 1, "a retry", timeout=10)
    v1.webhook_endpoints.update(made.id, {"url": receiver.url})
    receiver.until(1)
    assert receiver.ids() == [event]


def test_each_endpoint_gets_its_own(provider, v1, receiver):
    with receiving() as other:
        listen(v1, receiver, "*")
        listen(v1, other, "customer.updated")
        customer = v1.customers.create({"email": "a@b.c"})
        v1.customers.update(customer.id, {"email": "b@b.c"})
        receiver.until(2)
        other.until(1)
        assert sorted(receiver.types()) == ["customer.created", "customer.updated"]
        assert other.types() == ["customer.updated"]
        assert other.ids()[0] in receiver.ids()


def test_a_disabled_endpoint_gets_nothing(provider, v1, receiver):
    endpoint = listen(v1, receiver)
    provider.deliver(hold=True)
    (before,) = make(v1)
    v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    (during,) = make(v1)
    assert provider.flush() == {"sent": 1, "delivered": 0}
    assert counts(provider, before) == {"type": "customer.created", "skipped": 1}
    assert counts(provider, during) is None
    assert receiver.taken == []


# -- misbehaviour --------------------------------------------------------------------------------


def test_held_deliveries_leave_in_the_order_that_is_asked_for(provider, v1, receiver):
    listen(v1, receiver)
    provider.deliver(hold=True)
    orders = {"given": None, "reverse": None, "random": {"seed": 3}}
    for order, more in orders.items():
        receiver.taken.clear()
        events = make(v1, 5)
        assert counts(provider, events[0])["held"] == 1
        assert provider.flush(order=order, **(more or {})) == {"sent": 5, "delivered": 5}
        if order == "random":
            assert (receiver.ids() != events, sorted(receiver.ids())) == (True, sorted(events))
        else:
            assert receiver.ids() == (events if order == "given" else events[::-1])
    receiver.taken.clear()
    one, two, three = make(v1, 3)
    provider.flush(order=[three, one, two])
    assert receiver.ids() == [three, one, two]


def test_a_flush_returns_when_all_are_answered_and_the_rest_is_retried(provider, v1, receiver):
    listen(v1, receiver)
    provider.deliver(hold=True, backoff=[0.05])
    receiver.answers = [200, 503]
    events = make(v1, 3)
    assert provider.flush(parallel=2) == {"sent": 3, "delivered": 2}
    for event in events:
        until(provider, event, delivered=1)
    assert sorted(collections.Counter(receiver.ids()).values()) == [1, 1, 2]


def test_duplicates_and_drops_are_counted(provider, v1, receiver):
    listen(v1, receiver)
    provider.deliver(duplicate=0.5, drop=0.3, seed=1, hold=True)
    events = make(v1, 24)
    provider.flush(order="random", parallel=4)
    came = collections.Counter(receiver.ids())
    told = {event: counts(provider, event) for event in events}
    for event in events:
        assert told[event].get("delivered", 0) == came[event]
        assert told[event].get("dropped", 0) == (came[event] == 0)
    assert {came[event] for event in events} == {0, 1, 2, 3}
    lost = {event for event in events if not came[event]}
    page = v1.events.list({"type": "customer.created", "delivery_success": False, "limit": 24}).data
    assert lost <= {event.id for event in page}  # a sweep finds what never came


def test_the_same_seed_gives_the_same_fates(provider, v1, receiver):
    listen(v1, receiver)

    def fates():
        receiver.taken.clear()
        provider.deliver(duplicate=0.4, drop=0.4, seed=5, hold=True)
        events = make(v1, 8)
        provider.flush()
        came = collections.Counter(receiver.ids())
        return [came[event] for event in events]

    assert fates() == fates()


def test_reordered_deliveries_all_arrive(provider, v1, receiver):
    listen(v1, receiver)
    provider.deliver(reorder=0.5, seed=2)
    events = make(v1, 8)
    receiver.until(8)
    assert (receiver.ids() != events, sorted(receiver.ids())) == (True, sorted(events))


def test_without_misbehaviour_everything_arrives_once(provider, v1, receiver):
    listen(v1, receiver)
    events = make(v1, 10)
    for event in events:
        until(provider, event, delivered=1, attempts=1)
    assert sorted(receiver.ids()) == sorted(events)


@pytest.mark.parametrize(
    "rule",
    [
        {"duplicate": 2},
        {"drop": "often"},
        {"reorder": -1},
        {"hold": 1},
        {"seed": 0.5},
        {"backoff": 3},
        {"colour": "red"},
        [],
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(provider, rule):
    answer = provider.control.post("/_deliveries", json=rule)
    assert (answer.status_code, bool(answer.json()["error"])) == (400, True)


def test_a_flush_that_makes_no_sense_is_refused(provider):
    for how in ({"order": "sideways"}, {"parallel": 0}, {"when": "now"}):
        assert provider.control.post("/_deliveries/flush", json=how).status_code == 400


# -- with faults and crashes ---------------------------------------------------------------------


def test_an_answer_that_is_lost_loses_no_event(provider, v1, receiver, key):
    """The change, its event and its delivery are one transaction, whatever the client was told."""
    listen(v1, receiver)
    provider.fault("reset_after", match={"path": "^/v1/customers$"}, count=1)
    options = {"idempotency_key": key}
    with pytest.raises(stripe.APIConnectionError):
        v1.customers.create({"email": "a@b.c"}, options)
    again = v1.customers.create({"email": "a@b.c"}, options)
    receiver.until(1)
    (event,) = [one.event for one in receiver.taken]
    assert (event["data"]["object"]["id"], event["request"]["idempotency_key"]) == (again.id, key)


@pytest.mark.parametrize(("fault", "made"), [("http500_during", 0), ("hang_after", 1)])
def test_faults_strike_the_new_endpoints_too(provider, connect, v1, receiver, key, fault, made):
    provider.fault(fault, match={"path": "^/v1/webhook_endpoints$", "method": "POST"}, count=1)
    params = {"url": receiver.url, "enabled_events": ["*"]}
    with pytest.raises((stripe.APIError, stripe.APIConnectionError)):
        connect(provider, timeout=0.5).v1.webhook_endpoints.create(params, {"idempotency_key": key})
    assert len(v1.webhook_endpoints.list().data) == made


def test_deliveries_survive_kill_9(own, connect):
    v1 = connect(own).v1
    with receiving() as receiver:
        listen(v1, receiver)
        own.deliver(hold=True)
        held = make(v1, 3)
        own.deliver(reorder=3600)
        (late,) = make(v1)
        assert own.stop(signal.SIGKILL) == -signal.SIGKILL
        own.start()
        assert own.flush() == {"sent": 3, "delivered": 3}
        assert receiver.ids() == held
        assert counts(own, late) == {"type": "customer.created", "waiting": 1}


def test_nothing_is_sent_before_it_is_due(provider, v1, receiver):
    listen(v1, receiver)
    provider.deliver(reorder=3600, seed=1)
    (event,) = make(v1)
    provider.deliver()
    (other,) = make(v1)
    until(provider, other, delivered=1)
    assert counts(provider, event) == {"type": "customer.created", "waiting": 1}
    assert receiver.ids() == [other]
    assert time.time() - timestamp(receiver.taken[0].signature) < 60


def test_the_clock_brings_things_by_itself(provider, v1, receiver):
    """No request wakes the provider here: the trial ends, and the webhook says so."""
    who = Subscriber(provider, v1)
    listen(v1, receiver, "customer.subscription.updated")
    now = provider.control.get("/_clock").json()["now"]
    who.subscribe(a_price(v1), trial_end=now + 4)
    receiver.until(1)
    (event,) = [one.event for one in receiver.taken]
    assert event["data"]["object"]["status"] == "active"
    assert event["data"]["previous_attributes"]["status"] == "trialing"
    assert event["created"] == now + 4


def test_the_total_is_the_sum_over_all_events(own, connect):
    v1 = connect(own).v1
    with receiving() as receiver:
        listen(v1, receiver)
        own.deliver(hold=True, duplicate=0.5, drop=0.2, seed=4)
        make(v1, 12)
        own.flush(parallel=4)
        shown = own.deliveries()
        total = shown["total"]
        assert total["delivered"] == total["attempts"] == len(receiver.taken)
        for name, number in total.items():
            assert number == sum(event[name] for event in shown["events"].values())
        assert min(total["dropped"], total["delivered"] - 12 + total["dropped"]) > 0
        assert shown["rules"]["seed"] == 4
