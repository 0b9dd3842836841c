"""The life of a subscription by requests and by the clock: trials, periods, failures, money."""

from __future__ import annotations

import itertools
import signal

import pytest
import stripe

from tests.examples.provider.subscribers import DAY, GOOD, PERIOD, Subscriber, a_price, reach

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

UPDATED, DELETED = "customer.subscription.updated", "customer.subscription.deleted"


@pytest.fixture
def v1(client):
    return client.v1


@pytest.fixture
def price(v1):
    return a_price(v1)


# -- trials --------------------------------------------------------------------------------------


def test_a_trial_is_free_is_announced_to_end_and_is_charged_once(provider, v1, price):
    who = Subscriber(provider, v1)
    trial = who.subscribe(price, trial_period_days=14, metadata={"account": "7"})
    free = who.latest_invoice()
    assert (free.status, free.total, free.billing_reason) == ("paid", 0, "subscription_create")
    assert free.payments.data == []
    who.days(10.9)
    assert "customer.subscription.trial_will_end" not in who.told()
    who.days(0.2)
    who.update(metadata={"seat": "2"})  # a change after the announcement does not announce again
    assert who.told().count("customer.subscription.trial_will_end") == 1
    assert (who.now().status, who.taken()) == ("trialing", [])
    who.days(3)
    active = who.now()
    assert (active.status, who.taken()) == ("active", [900])
    assert active["items"].data[0].current_period_start == trial.trial_end
    invoice = v1.invoices.retrieve(
        active.latest_invoice, {"expand": ["payments.data.payment.payment_intent"]}
    )
    assert invoice.parent.subscription_details.subscription == who.subscription
    assert invoice.parent.subscription_details.metadata["account"] == "7"
    assert invoice.payments.data[0].payment.payment_intent.amount_received == 900
    assert (invoice.amount_paid, invoice.amount_remaining, invoice.attempt_count) == (900, 0, 1)
    assert invoice.billing_reason == "subscription_cycle"
    assert invoice.created == trial.trial_end  # at its own time, however far the clock jumped
    assert who.told().count("customer.subscription.trial_will_end") == 1


def test_a_short_trial_is_announced_at_once_and_a_longer_one_again(provider, v1, price):
    who = Subscriber(provider, v1)
    trial = who.subscribe(price, trial_period_days=2)
    assert who.told()[-1] == "customer.subscription.trial_will_end"
    who.update(trial_end=trial.trial_end + 10 * DAY)
    assert who.told().count("customer.subscription.trial_will_end") == 1
    who.days(11)
    assert who.told().count("customer.subscription.trial_will_end") == 2
    assert who.now().status == "trialing"


def test_a_trial_ends_at_once_on_request(provider, v1, price):
    who = Subscriber(provider, v1)
    who.subscribe(price, trial_period_days=14)
    ended = who.update(trial_end="now")
    assert (ended.status, who.taken()) == ("active", [900])
    assert ended.billing_cycle_anchor == ended.trial_end
    who.days(31)
    assert who.taken() == [900, 900]  # the old end of the trial charged nothing
    assert "customer.subscription.trial_will_end" not in who.told()


def test_a_trial_of_a_customer_without_a_card_becomes_past_due(provider, v1, price):
    customer = v1.customers.create({"email": "a@b.c"})
    made = {"customer": customer.id, "items": [{"price": price}], "trial_period_days": 1}
    trial = v1.subscriptions.create(made)
    provider.advance(DAY)
    late = v1.subscriptions.retrieve(trial.id, {"expand": ["latest_invoice"]})
    assert (late.status, late.latest_invoice.status) == ("past_due", "open")
    assert v1.charges.list({"customer": customer.id}).data == []
    method = v1.payment_methods.attach(GOOD, {"customer": customer.id}).id
    v1.subscriptions.update(trial.id, {"default_payment_method": method})
    provider.advance(3 * DAY)
    assert v1.subscriptions.retrieve(trial.id).status == "active"


# -- periods -------------------------------------------------------------------------------------


def test_each_period_is_charged_once(provider, v1, price):
    who = Subscriber(provider, v1)
    first = who.subscribe(price)["items"].data[0]
    who.days(366)
    invoices = v1.invoices.list({"subscription": who.subscription, "limit": 100}).data[::-1]
    assert who.taken() == [900] * 13
    assert [one.status for one in invoices] == ["paid"] * 13
    periods = [one.lines.data[0].period for one in invoices]
    assert periods[0].start == first.current_period_start
    for one, other in itertools.pairwise(periods):
        assert one.end == other.start
    who.v1.subscriptions.cancel(who.subscription)
    who.days(366)
    assert len(who.taken()) == 13


def test_a_change_of_price_counts_from_the_next_period(provider, v1, price):
    who = Subscriber(provider, v1)
    item = who.subscribe(price)["items"].data[0]
    dearer = a_price(v1, 1900)
    change = {"items": [{"id": item.id, "price": dearer}], "proration_behavior": "none"}
    changed = who.update(**change)
    after = changed["items"].data[0]
    assert (after.price.id, after.current_period_end) == (dearer, item.current_period_end)
    assert who.taken() == [900]
    (event,) = [one for one in who.events() if one["type"] == UPDATED]
    old = event["data"]["previous_attributes"]["items"]["data"][0]
    assert old["price"]["id"] == price
    who.days(31)
    assert who.taken() == [900, 1900]


def test_another_interval_begins_a_new_period_and_is_charged_at_once(provider, v1, price):
    who = Subscriber(provider, v1)
    item = who.subscribe(price)["items"].data[0]
    yearly = a_price(v1, 9000, "year")
    changed = who.update(items=[{"id": item.id, "price": yearly}])
    after = changed["items"].data[0]
    assert after.current_period_end - after.current_period_start >= 365 * DAY
    assert (who.taken(), who.latest_invoice().billing_reason) == (
        [900, 9000],
        "subscription_update",
    )
    who.days(200)
    assert who.taken() == [900, 9000]


def test_a_cancellation_at_the_end_of_the_period_can_be_taken_back(provider, v1, price):
    who = Subscriber(provider, v1)
    end = who.subscribe(price)["items"].data[0].current_period_end
    ending = who.update(cancel_at_period_end=True)
    assert (ending.status, ending.cancel_at) == ("active", end)
    assert ending.cancellation_details.reason == "cancellation_requested"
    back = who.update(cancel_at_period_end=False)
    assert (back.cancel_at, back.canceled_at) == (None, None)
    who.days(31)
    assert who.taken() == [900, 900]
    who.update(cancel_at_period_end=True)
    who.days(31)
    over = who.now()
    assert (over.status, over.ended_at, who.taken()) == ("canceled", over.cancel_at, [900, 900])
    assert who.told()[-1] == DELETED


def test_a_deleted_customer_has_no_subscription_left(provider, v1, price):
    who = Subscriber(provider, v1)
    who.subscribe(price, trial_period_days=5)
    v1.customers.delete(who.id)
    assert who.told()[-3:] == [DELETED, "payment_method.detached", "customer.deleted"]
    who.days(31)
    assert (who.now().status, who.taken()) == ("canceled", [])


# -- failures ------------------------------------------------------------------------------------


@pytest.fixture
def failed(provider, v1):
    """A subscriber whose renewal was declined."""
    return reach("past_due", provider, v1, a_price(v1, interval="day", interval_count=PERIOD))


def test_retries_come_after_3_5_and_7_days_and_then_it_is_over(failed):
    invoice = failed.latest_invoice()
    assert (invoice.status, invoice.amount_remaining) == ("open", 900)
    assert invoice.next_payment_attempt - invoice.created == 3 * DAY
    for days, count in ((5, 2), (7, 3)):
        failed.provider.advance(invoice.next_payment_attempt - clock(failed) - 600)
        assert failed.latest_invoice().attempt_count == count - 1
        failed.provider.advance(601)
        then, invoice = invoice.next_payment_attempt, failed.latest_invoice()
        assert (invoice.attempt_count, invoice.next_payment_attempt - then) == (count, days * DAY)
    failed.days(8)
    over = failed.now()
    assert (over.status, over.cancellation_details.reason) == ("canceled", "payment_failed")
    last = failed.latest_invoice()
    assert (last.status, last.attempt_count, last.next_payment_attempt) == ("open", 4, None)
    failed.days(2 * PERIOD)
    assert failed.taken() == [900]


def clock(who):
    return who.provider.control.get("/_clock").json()["now"]


def test_a_better_card_pays_at_the_next_retry(failed):
    failed.use(GOOD)
    assert failed.now().status == "past_due"  # nothing is charged by the card itself
    failed.days(3)
    assert (failed.now().status, failed.taken()) == ("active", [900, 900])
    intents = failed.v1.payment_intents.list({"customer": failed.id}).data
    assert len(intents) == 2  # the retry used the same one
    failed.days(10)
    assert failed.taken() == [900, 900]


def test_an_invoice_is_paid_by_hand_once(failed):
    invoice = failed.latest_invoice()
    with pytest.raises(stripe.CardError) as raised:
        failed.v1.invoices.pay(invoice.id)
    assert raised.value.code == "card_declined"
    tried = failed.latest_invoice()
    assert (tried.attempt_count, tried.next_payment_attempt) == (1, invoice.next_payment_attempt)
    failed.use(GOOD)
    paid = failed.v1.invoices.pay(invoice.id)
    assert (paid.status, failed.now().status) == ("paid", "active")
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        failed.v1.invoices.pay(invoice.id)
    with pytest.raises(stripe.InvalidRequestError, match="status of paid"):
        failed.v1.invoices.void_invoice(invoice.id)
    failed.days(15)
    assert failed.taken() == [900, 900]


def test_money_that_came_another_way_is_not_charged(failed):
    invoice = failed.latest_invoice()
    paid = failed.v1.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.amount_paid_off_stripe, failed.now().status) == (900, "active")
    assert failed.told()[-2:] == ["invoice.paid", UPDATED]
    failed.days(15)
    assert failed.taken() == [900]


def test_a_voided_invoice_is_not_collected(failed):
    invoice = failed.latest_invoice()
    assert failed.v1.invoices.void_invoice(invoice.id).status == "void"
    failed.days(15)
    assert (failed.taken(), failed.now().status) == ([900], "past_due")
    with pytest.raises(stripe.InvalidRequestError, match="status of void"):
        failed.v1.invoices.pay(invoice.id)


def test_an_invoice_without_a_card_cannot_be_paid(failed):
    for method in failed.v1.payment_methods.list({"customer": failed.id}).data:
        failed.v1.payment_methods.detach(method.id)
    with pytest.raises(stripe.InvalidRequestError, match="default_payment_method"):
        failed.v1.invoices.pay(failed.latest_invoice().id)


def test_the_payment_intent_of_an_invoice_is_not_paid_behind_its_back(failed):
    invoice = failed.latest_invoice()
    intent = invoice.payments.data[0].payment.payment_intent
    with pytest.raises(stripe.InvalidRequestError, match=invoice.id):
        failed.v1.payment_intents.confirm(intent, {"payment_method": GOOD})
    assert failed.taken() == [900]


def test_an_incomplete_subscription_waits_23_hours(provider, v1, price):
    who = Subscriber(provider, v1)
    made = who.subscribe(price, payment_behavior="default_incomplete")
    assert (made.status, who.taken()) == ("incomplete", [])
    who.days(22 / 24)
    assert who.now().status == "incomplete"
    v1.invoices.pay(made.latest_invoice)
    assert (who.now().status, who.taken()) == ("active", [900])
    who.days(2)
    assert who.now().status == "active"


def test_invoices_are_listed_by_customer_subscription_and_status(failed):
    of = {"customer": failed.id}
    assert [one.status for one in failed.v1.invoices.list(of).data] == ["open", "paid"]
    still_open = failed.v1.invoices.list({**of, "status": "open"}).data
    assert [one.id for one in still_open] == [failed.latest_invoice().id]
    assert failed.v1.invoices.list({"subscription": "sub_none"}).data == []
    marked = failed.v1.invoices.update(still_open[0].id, {"metadata": {"a": "b"}})
    assert marked.metadata["a"] == "b"


def test_the_clock_survives_kill_9(own, connect):
    v1 = connect(own).v1
    who = Subscriber(own, v1)
    who.subscribe(a_price(v1), trial_period_days=14)
    own.advance(12 * DAY)
    assert own.stop(signal.SIGKILL) == -signal.SIGKILL
    own.start()
    own.advance(3 * DAY)
    assert (who.now().status, who.taken()) == ("active", [900])
    assert who.told().count("customer.subscription.trial_will_end") == 1
