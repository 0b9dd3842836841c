"""A model of the part of Stripe's API that a signup or a checkout uses.

Keys as documented by Stripe: for the whole account, first answer replayed (whatever its status, once execution began),
400 with other parameters, kept for at least 24 hours.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import timedelta
from typing import ClassVar

from troth.lab.provider import Call, Keys, Provider, Shelf, effect, read

Reply = tuple[int, object]
Sign = Callable[[bytes, float], dict[str, str]]
"""The headers that prove that a body was sent at a time (seconds since 1970)."""


class Stripe(Provider):
    """Customers, charges, payment intents (confirmed at creation), refunds and subscriptions. Every card works."""

    host = "api.stripe.com"
    name = "stripe"
    version = "model 1"
    keys: ClassVar[Keys] = Keys(lifetime=timedelta(hours=24), scope="account", mismatch=400)

    @effect("POST /v1/customers", irreversible=False)
    def create_customer(self, s: Shelf, req: Call) -> Reply:
        return 200, s.add("customers", prefix="cus", **req.form)

    @read("GET /v1/customers")
    def list_customers(self, s: Shelf, req: Call) -> Reply:
        return 200, {"data": s.all("customers", **_filters(req))}

    @effect("DELETE /v1/customers/{id}")
    def delete_customer(self, s: Shelf, req: Call) -> Reply:
        s.remove("customers", req.match["id"])
        return 200, {"id": req.match["id"], "deleted": True}

    @effect("POST /v1/charges")
    def create_charge(self, s: Shelf, req: Call) -> Reply:
        made = s.add("charges", prefix="ch", refunded=False, status="succeeded", **req.form)
        s.emit("charge.succeeded", made)
        return 200, made

    @read("GET /v1/charges")
    def list_charges(self, s: Shelf, req: Call) -> Reply:
        return 200, {"data": s.all("charges", **_filters(req))}

    @effect("POST /v1/payment_intents")
    def create_intent(self, s: Shelf, req: Call) -> Reply:
        intent = s.add("payment_intents", prefix="pi", status="succeeded", **req.form)
        charge = s.add(
            "charges",
            prefix="ch",
            refunded=False,
            status="succeeded",
            payment_intent=intent["id"],
            **req.form,
        )
        s.emit("payment_intent.succeeded", intent)
        s.emit("charge.succeeded", charge)
        return 200, intent

    @read("GET /v1/payment_intents")
    def list_intents(self, s: Shelf, req: Call) -> Reply:
        return 200, {"data": s.all("payment_intents", **_filters(req))}

    @effect("POST /v1/refunds")
    def create_refund(self, s: Shelf, req: Call) -> Reply:
        charge = s.get("charges", req.form.get("charge", ""))
        if charge is None:
            return 404, {"error": {"code": "resource_missing"}}
        if charge["refunded"]:
            return 400, {"error": {"code": "charge_already_refunded"}}
        charge["refunded"] = True
        s.emit("charge.refunded", charge)
        return 200, s.add("refunds", prefix="re", charge=charge["id"])

    @effect("POST /v1/subscriptions")
    def create_subscription(self, s: Shelf, req: Call) -> Reply:
        made = s.add("subscriptions", prefix="sub", status="active", **req.form)
        s.emit("customer.subscription.created", made)
        return 200, made

    @effect("DELETE /v1/subscriptions/{id}")
    def cancel_subscription(self, s: Shelf, req: Call) -> Reply:
        found = s.get("subscriptions", req.match["id"])
        if found is None:
            return 404, {"error": {"code": "resource_missing"}}
        if found["status"] != "canceled":
            found["status"] = "canceled"
            s.emit("customer.subscription.deleted", found)
        return 200, found

    @read("GET /v1/subscriptions/{id}")
    def find_subscription(self, s: Shelf, req: Call) -> Reply:
        found = s.get("subscriptions", req.match["id"])
        return (200, found) if found else (404, {"error": {"code": "resource_missing"}})

    @read("GET /v1/subscriptions")
    def list_subscriptions(self, s: Shelf, req: Call) -> Reply:
        return 200, {"data": s.all("subscriptions", **_filters(req))}

    @read("GET /v1/events")
    def list_events(self, s: Shelf, req: Call) -> Reply:
        return 200, {"data": s.all("events", **_filters(req))[::-1]}

    def sign(self, secret: str) -> Sign:
        """How Stripe signs what it delivers to an endpoint with this secret, for `lab.delivers(…, sign=)`."""

        def signed(body: bytes, at: float) -> dict[str, str]:
            when = str(int(at))
            code = hmac.new(secret.encode(), f"{when}.".encode() + body, hashlib.sha256)
            return {"stripe-signature": f"t={when},v1={code.hexdigest()}"}

        return signed


def _filters(req: Call) -> dict[str, str]:
    return {
        name: value for name, value in req.query.items() if name not in {"limit", "starting_after"}
    }
