"""A third party as a model: pure functions over plain data."""

from __future__ import annotations

from datetime import timedelta

from troth.lab import Keys, Provider, effect, read
from troth.lab.provider import Call, Shelf

Reply = tuple[int, object]


class Bank(Provider):
    host = "api.bank.test"
    keys = Keys(
        "Idempotency-Key", lifetime=timedelta(hours=24), scope="method+path", caches=("2xx",)
    )

    @effect("POST /payouts")
    def create(self, s: Shelf, req: Call) -> Reply:
        if req.form["amount"] == "0":
            return 422, {"error": "nothing to pay"}
        return 201, s.add("payouts", **req.form)

    @effect("POST /refunds")
    def refund(self, s: Shelf, req: Call) -> Reply:
        return 201, s.add("refunds", **req.form)

    @read("GET /payouts/{id}")
    def find(self, s: Shelf, req: Call) -> Reply:
        found = s.get("payouts", req.match["id"])
        return (200, found) if found else (404, {})
