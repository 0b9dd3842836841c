"""Customers with cards and subscriptions, by the official SDK, and what the provider tells of them."""

from __future__ import annotations

from typing import Any

import stripe

from tests.examples.provider.process import Process

DAY = 24 * 60 * 60
GOOD, BAD = "pm_card_visa", "pm_card_chargeCustomerFail"


class Subscriber:
    """One customer of a provider."""

    def __init__(self, provider: Process, v1: Any, card: str = GOOD) -> None:
        self.provider = provider
        self.v1 = v1
        made = v1.customers.create({"email": "ada@example.com", "name": "Ada"})
        self.id, self.born = made.id, made.created
        self.subscription = ""
        self.use(card)

    def use(self, card: str) -> str:
        """Make another card the default; nothing is charged by that."""
        method = self.v1.payment_methods.attach(card, {"customer": self.id})
        default = {"invoice_settings": {"default_payment_method": method.id}}
        self.v1.customers.update(self.id, default)
        return str(method.id)

    def subscribe(self, price: str, **params: Any) -> stripe.Subscription:
        params = {"customer": self.id, "items": [{"price": price}], **params}
        params["metadata"] = {"test": self.id, **params.get("metadata", {})}
        made = self.v1.subscriptions.create(params)
        self.subscription = made.id
        return made

    def now(self) -> stripe.Subscription:
        return self.v1.subscriptions.retrieve(self.subscription)

    def update(self, **params: Any) -> stripe.Subscription:
        return self.v1.subscriptions.update(self.subscription, params)

    def latest_invoice(self) -> stripe.Invoice:
        return self.v1.invoices.retrieve(self.now().latest_invoice)

    def invoices(self) -> list[stripe.Invoice]:
        """Oldest first."""
        return self.v1.invoices.list({"subscription": self.subscription}).data[::-1]

    def taken(self) -> list[int]:
        """What was really charged, oldest first."""
        charges = self.v1.charges.list({"customer": self.id, "limit": 100}).data
        return [one.amount for one in reversed(charges) if one.paid]

    def days(self, number: float) -> None:
        self.provider.advance(int(number * DAY))

    def events(self) -> list[dict[str, Any]]:
        """All that was told of this customer, oldest first."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"created[gte]": self.born, "limit": 100}
        while True:
            answer = self.provider.control.get("/v1/events", params=params, auth=("sk_test_x", ""))
            page = answer.raise_for_status().json()
            found += [event for event in page["data"] if self.id in customers_of(event)]
            if not page["has_more"]:
                return found[::-1]
            params["starting_after"] = page["data"][-1]["id"]

    def told(self) -> list[str]:
        return [event["type"] for event in self.events()]


def customers_of(event: dict[str, Any]) -> tuple[str | None, ...]:
    """The customer that an event is about, now or before."""
    thing, before = event["data"]["object"], event["data"].get("previous_attributes", {})
    return thing["id"], thing.get("customer"), before.get("customer")


def a_price(v1: Any, amount: int = 900, interval: str = "month", interval_count: int = 1) -> str:
    """The id of a price."""
    recurring = {"interval": interval, "interval_count": interval_count}
    product = {"name": f"{amount} a {interval}"}
    params = {"currency": "usd", "unit_amount": amount, "recurring": recurring}
    return str(v1.prices.create({**params, "product_data": product}).id)


PERIOD = 20
"""Days: longer than all retries take, and shorter than events are kept."""


def reach(status: str | None, provider: Process, v1: Any, price: str) -> Subscriber:
    """A subscriber whose subscription has this status; None has no subscription yet."""
    who = Subscriber(provider, v1, BAD if status == "incomplete" else GOOD)
    if status == "trialing":
        who.subscribe(price, trial_period_days=PERIOD)
    elif status is not None:
        who.subscribe(price)
    if status == "past_due":
        who.use(BAD)
        who.days(PERIOD)
    if status is not None:
        assert who.now().status == status
    return who
