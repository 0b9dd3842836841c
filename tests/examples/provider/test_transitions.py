"""Every line of the subscription's table: the status after it, and the events in order."""

from __future__ import annotations

import itertools

import pytest

from examples.signup.provider.errors import ApiError
from examples.signup.provider.resources.states import ENDED, LIVE, TRANSITIONS, step
from tests.examples.provider.subscribers import BAD, DAY, GOOD, PERIOD, a_price, reach

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

CREATED, UPDATED, DELETED = (
    f"customer.subscription.{verb}" for verb in ("created", "updated", "deleted")
)
PAY = ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
PAY_AGAIN = PAY[1:]
FAIL_AGAIN = ["charge.failed", "payment_intent.payment_failed"]
FAIL = ["payment_intent.created", *FAIL_AGAIN]
OPENED = ["invoice.created", "invoice.finalized"]
PAID = ["invoice.paid", "invoice.payment_succeeded"]
FAILED = ["invoice.payment_failed"]
SWITCH = ["payment_method.attached", "customer.updated"]


@pytest.fixture
def v1(client):
    return client.v1


# -- the table: how to come to each status, and how to make each thing happen ---------------------


def pay_by_hand(who, price):
    who.v1.invoices.pay(who.now().latest_invoice, {"payment_method": GOOD})


def be_declined(who, price):
    who.use(BAD)
    who.days(PERIOD)


def prolong_trial(who, price):
    who.update(trial_end=who.now()["items"].data[0].current_period_end + 10 * DAY)


def cancel(who, price):
    who.v1.subscriptions.cancel(who.subscription)


HAPPEN = {
    (None, "trial"): lambda who, price: who.subscribe(price, trial_period_days=PERIOD),
    (None, "paid"): lambda who, price: who.subscribe(price),
    (None, "unpaid"): lambda who, price: (who.use(BAD), who.subscribe(price)),
    ("incomplete", "paid"): pay_by_hand,
    ("incomplete", "expired"): lambda who, price: who.days(23 / 24),
    ("incomplete", "canceled"): cancel,
    ("trialing", "trial"): prolong_trial,
    ("trialing", "paid"): lambda who, price: who.days(PERIOD),
    ("trialing", "unpaid"): be_declined,
    ("trialing", "canceled"): cancel,
    ("active", "trial"): prolong_trial,
    ("active", "paid"): lambda who, price: who.days(PERIOD),
    ("active", "unpaid"): be_declined,
    ("active", "canceled"): cancel,
    ("past_due", "paid"): pay_by_hand,
    ("past_due", "unpaid"): lambda who, price: who.days(3),
    ("past_due", "exhausted"): lambda who, price: who.days(3 + 5 + 7),
    ("past_due", "canceled"): cancel,
}

EVENTS = {
    (None, "trial"): [CREATED, *OPENED, *PAID],
    (None, "paid"): [*PAY, CREATED, *OPENED, *PAID],
    (None, "unpaid"): [*SWITCH, *FAIL, CREATED, *OPENED, *FAILED],
    ("incomplete", "paid"): [*PAY_AGAIN, *PAID, UPDATED],
    ("incomplete", "expired"): [UPDATED, "invoice.voided"],
    ("incomplete", "canceled"): [DELETED, "invoice.voided"],
    ("trialing", "trial"): [UPDATED],
    ("trialing", "paid"): [
        "customer.subscription.trial_will_end",
        *(*PAY, UPDATED, *OPENED, *PAID),
    ],
    ("trialing", "canceled"): [DELETED],
    ("active", "trial"): [UPDATED],
    ("active", "paid"): [*PAY, UPDATED, *OPENED, *PAID],
    ("active", "unpaid"): [*SWITCH, *FAIL, UPDATED, *OPENED, *FAILED],
    ("active", "canceled"): [DELETED],
    ("past_due", "paid"): [*PAY_AGAIN, *PAID, UPDATED],
    ("past_due", "unpaid"): [*FAIL_AGAIN, *FAILED],
    ("past_due", "exhausted"): [*FAIL_AGAIN, *FAILED] * 3 + [DELETED, "invoice.updated"],
    ("past_due", "canceled"): [DELETED, "invoice.updated"],
}
EVENTS["trialing", "unpaid"] = [
    *(*SWITCH, "customer.subscription.trial_will_end"),
    *(*FAIL, UPDATED, *OPENED, *FAILED),
]


@pytest.mark.parametrize(("status", "happening"), list(TRANSITIONS))
def test_every_transition_and_its_events(provider, v1, status, happening):
    price = a_price(v1, interval="day", interval_count=PERIOD)
    who = reach(status, provider, v1, price)
    before = {event["id"] for event in who.events()}
    HAPPEN[status, happening](who, price)
    after = TRANSITIONS[status, happening]
    assert who.now().status == after
    events = [event for event in who.events() if event["id"] not in before]
    assert [event["type"] for event in events] == EVENTS[status, happening]
    mine = [event["data"] for event in events if event["type"] in (CREATED, UPDATED, DELETED)]
    if mine:
        assert mine[-1]["object"]["status"] == after
        (row,) = provider.truth("subscription", test=who.id)
        assert mine[-1]["object"] == row["object"]
    for event in events:
        assert ("previous_attributes" in event["data"]) == event["type"].endswith(".updated")


def test_whatever_is_not_in_the_table_is_refused():
    happenings = {happening for _, happening in TRANSITIONS}
    for pair in itertools.product([None, *LIVE, *ENDED], happenings):
        if pair not in TRANSITIONS:
            with pytest.raises(ApiError):
                step(*pair)
    assert set(TRANSITIONS.values()) <= {*LIVE, *ENDED}
    assert not [status for status, _ in TRANSITIONS if status in ENDED]
