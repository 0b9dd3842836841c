"""The core of the example signup for the lab: an account, a customer and a subscription at the provider, and what was recorded of them.

Its steps are the example's own, with their probes and undos. Left out: the login, the mail (`aiosmtplib` is not followed), and a payment at
once. Each effect has two attempts, not five: what a third would find is what a second finds. The provider is never late, and is believed to be
so: with two minutes, the ages of what was tried make the graph ten times as large.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from examples.signup import workflow
from examples.signup.core import Account, Price, troth
from troth import Money, Retry
from troth.lab import Keys, Lab, Provider, effect, read
from troth.lab.provider import Call, Shelf

SCHEMA = Path(workflow.__file__).with_name("schema.sql").read_text()
LANDS = timedelta(0)
PRICE = Price("price_pro", Money(900, "EUR"))
ACCOUNT = UUID("3e9093a6-bd85-4eba-8ea5-010440b1b41c")
DECLINED = "pm_card_chargeDeclined"


@troth.workflow
async def signup_core(email: str, name: str, plan: str, card: str, price: Price) -> Account:
    account = await workflow.create_account(email, name, plan)
    customer = await workflow.create_customer(account)
    subscription = await workflow.subscribe(account, customer, card, price, True)
    await workflow.record_billing(account, customer, subscription, True, None)
    return account


class Stripe(Provider):
    """Customers and subscriptions, as far as the core asks for them."""

    host = "api.stripe.com"
    version = "for the core of the signup"
    keys = Keys(lifetime=timedelta(hours=24), mismatch=400)

    @effect("POST /v1/customers", lands_within=LANDS)
    def create_customer(self, s: Shelf, req: Call) -> tuple[int, object]:
        return 200, s.add("customers", prefix="cus", object="customer", **_nested(req.form))

    @read("GET /v1/customers")
    def list_customers(self, s: Shelf, req: Call) -> tuple[int, object]:
        return 200, _page("/v1/customers", s.all("customers"))

    @effect("DELETE /v1/customers/{id}", lands_within=LANDS)
    def delete_customer(self, s: Shelf, req: Call) -> tuple[int, object]:
        number = req.match["id"]
        if s.get("customers", number) is None:
            return 404, {"error": {"code": "resource_missing", "message": "no such customer", "type": "invalid_request_error"}}  # fmt: skip
        s.remove("customers", number)
        return 200, {"id": number, "object": "customer", "deleted": True}

    @effect("POST /v1/subscriptions", lands_within=LANDS)
    def subscribe(self, s: Shelf, req: Call) -> tuple[int, object]:
        if req.form["default_payment_method"] == DECLINED:
            return 402, {"error": {"code": "card_declined", "message": "Your card was declined.", "type": "card_error"}}  # fmt: skip
        return 200, s.add("subscriptions", prefix="sub", object="subscription", **_nested(req.form))

    @read("GET /v1/subscriptions")
    def list_subscriptions(self, s: Shelf, req: Call) -> tuple[int, object]:
        return 200, _page("/v1/subscriptions", s.all("subscriptions"))


def _page(url: str, objects: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "url": url, "has_more": False, "data": objects}


def _nested(form: dict[str, str]) -> dict[str, Any]:
    """What is of use in a form: `metadata[troth_key]` and the like."""
    found: dict[str, Any] = {"metadata": {}}
    for name, value in form.items():
        if name.startswith("metadata["):
            found["metadata"][name[9:-1]] = value
        elif "[" not in name:
            found[name] = value
    return found


def describe(lab: Lab, url: str, card: str, **how: Any) -> None:
    """Somebody signs up with this card; what must be true, whatever dies and whichever answer is lost."""
    for step in (
        workflow.create_customer,
        workflow.subscribe,
        workflow.create_customer.undoing,
        workflow.subscribe.undoing,
    ):
        step.retry = Retry(attempts=2)
        step._effect = replace(
            step.effect, provider=replace(step.effect.provider, lands_within=LANDS)
        )
    workflow.uuid4 = lambda: ACCOUNT  # its digest in the journal could not be recognised
    program = lab.troth(troth, url, seed=SCHEMA, **how)
    program.starts(signup_core, "ada@example.com", "Ada", "pro", card, PRICE, key="ada")
    lab.provider(Stripe)
    lab.ignore(memory="examples.signup.billing._clients", because="a client holds no answers")
    lab.always("one account", lambda w: len(w.troth.account) <= 1)
    lab.always(
        "one subscription", lambda w: len(w.stripe.subscriptions) <= 1, costs="9 EUR a month"
    )
    lab.always("one customer", lambda w: len(w.stripe.customers) <= 1)
    lab.always(
        "who has signed up has a subscription, and we know which",
        lambda w: all(
            run.state != "succeeded"
            or [one.id for one in w.stripe.subscriptions] == [one.subscription_id for one in w.troth.account]
            for run in w.troth.runs
        ),
    )  # fmt: skip
    lab.always(
        "who was refused has nothing",
        lambda w: all(
            run.state != "failed"
            or not (w.stripe.customers or w.stripe.subscriptions or any(one.closed_at is None for one in w.troth.account))
            for run in w.troth.runs
        ),
    )  # fmt: skip
    lab.always(
        "a person is asked only about what nobody can know",
        lambda w: all(run.reason in {None, "in_doubt", "retries_exhausted", "undo_failed"} for run in w.troth.runs),
    )  # fmt: skip
    lab.eventually("it ends, or a person is asked", lambda w: all(run.state in ENDS for run in w.troth.runs))  # fmt: skip


ENDS = {"succeeded", "failed", "attention"}
