"""What an endpoint's handler works with: objects, and an event for each change."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from examples.signup.provider.errors import ApiError, missing
from examples.signup.provider.search import parse_query
from examples.signup.provider.store import Json, Query, Store

API_VERSION = "2026-10-28.endive"

PREFIX: Mapping[str, str] = {
    "customer": "cus",
    "product": "prod",
    "price": "price",
    "payment_method": "pm",
    "subscription": "sub",
    "subscription_item": "si",
    "payment_intent": "pi",
    "charge": "ch",
    "refund": "re",
    "balance_transaction": "txn",
    "payout": "po",
    "invoice": "in",
    "line_item": "il",
    "invoice_payment": "inpay",
    "webhook_endpoint": "we",
    "event": "evt",
}

WORDS = {"payment_intent": "payment_intent", "payment_method": "PaymentMethod"}
"""How error messages call a type, where it is not by its name."""


def new_id(kind: str) -> str:
    return f"{PREFIX[kind]}_{secrets.token_hex(12)}"


def merged(old: Mapping[str, str], change: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata after a change: empty values unset a name, None unsets all."""
    if change is None:
        return {}
    return {name: value for name, value in {**old, **change}.items() if value}


@dataclass(frozen=True)
class Session:
    """One request, or one happening of the clock, inside its transaction.

    Times are seconds since 1970. What the clock does has no request id.
    """

    store: Store
    now: int
    request_id: str | None
    idempotency_key: str | None

    def create(self, kind: str, fields: Json, event: str | None = None) -> Json:
        """A new object; the event is named like `customer.created`."""
        thing = {
            "id": new_id(kind),
            "object": kind,
            "created": self.now,
            "livemode": False,
            **fields,
        }
        self.store.insert(thing, self.idempotency_key)
        if event is not None:
            self.emit(event, thing)
        return thing

    def change(self, thing: Json, changes: Json, event: str | None = None) -> Json:
        """The object with the changes; no event if there are none."""
        previous = {name: thing.get(name) for name in changes if thing.get(name) != changes[name]}
        if not previous:
            return thing
        changed = {**thing, **changes}
        self.store.update(changed)
        if event is not None:
            self.emit(event, changed, previous if tells_previous(event) else None)
        return changed

    def remove(self, thing: Json, event: str) -> Json:
        """Delete: the object stays readable as deleted, and in the truth with its last state."""
        self.store.update(thing, deleted=True)
        self.emit(event, thing)
        return deleted_form(thing)

    def emit(self, kind: str, thing: Json, previous: Json | None = None) -> None:
        """Tell what happened: an event, and a delivery of it for each endpoint that wants it."""
        data: Json = {"object": thing}
        if previous is not None:
            data["previous_attributes"] = previous
        endpoints = [
            one["id"]
            for one in self.every("webhook_endpoint", status="enabled")
            if not {kind, "*"}.isdisjoint(one["enabled_events"])
        ]
        event = self.create(
            "event",
            {
                "api_version": API_VERSION,
                "data": data,
                "pending_webhooks": len(endpoints),
                "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
                "type": kind,
            },
        )
        self.store.enqueue(event["id"], endpoints)

    def get(self, kind: str, ident: str, param: str = "id") -> Json:
        """A live object. Raises `ApiError` `resource_missing`."""
        found = self.store.get(kind, ident)
        if found is None or found[1]:
            raise missing(WORDS.get(kind, kind), ident, param)
        return found[0]

    def look(self, kind: str, ident: str) -> Json:
        """An object as a GET shows it: what was deleted says so."""
        found = self.store.get(kind, ident)
        if found is None:
            raise missing(WORDS.get(kind, kind), ident, "id")
        thing, deleted = found
        return deleted_form(thing) if deleted else thing

    def every(self, kind: str, **terms: str) -> list[Json]:
        """All live objects with these terms, newest first."""
        query = Query(kind, {name: [value] for name, value in terms.items()}, limit=2**31)
        return self.store.find(query)[0]

    def page(self, kind: str, url: str, params: Json, terms: Mapping[str, list[str]]) -> Json:
        """The answer of a list endpoint."""
        if params.get("starting_after") and params.get("ending_before"):
            message = "You can only specify one of `starting_after` and `ending_before`."
            raise ApiError(400, message, param="starting_after")
        query = Query(
            kind,
            terms,
            params.get("created", {}),
            self._place(kind, params, "starting_after"),
            self._place(kind, params, "ending_before"),
            params.get("limit", 10),
        )
        data, more = self.store.find(query)
        return {"object": "list", "url": url, "has_more": more, "data": data}

    def _place(self, kind: str, params: Json, name: str) -> int | None:
        ident = params.get(name)
        if ident is None:
            return None
        place = self.store.seq(kind, ident)
        if place is None:
            raise missing(WORDS.get(kind, kind), ident, name)
        return place

    def search(self, kind: str, url: str, params: Json) -> Json:
        """The answer of a search endpoint. Unlike Stripe's, it sees every change at once."""
        page = params.get("page")
        if page is not None and not page.isdecimal():
            raise ApiError(400, "Invalid page", param="page")
        query = Query(
            kind,
            parse_query(params["query"], kind),
            before=None if page is None else int(page),
            limit=params.get("limit", 10),
        )
        data, more = self.store.find(query)
        return {
            "object": "search_result",
            "url": url,
            "has_more": more,
            "next_page": str(self.store.seq(kind, data[-1]["id"])) if more else None,
            "data": data,
        }

    def expand(self, thing: Json, paths: list[Any]) -> Json:
        """Replace ids by the objects they name, `a` or `a.b` deep; `data.a` in a list."""
        for path in paths:
            self._expand(thing, str(path).split("."), str(path))
        return thing

    def _expand(self, node: Any, steps: list[str], path: str) -> None:
        if isinstance(node, list):
            for one in node:
                self._expand(one, steps, path)
            return
        if not isinstance(node, dict) or steps[0] not in node:
            raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
        value = node[steps[0]]
        if isinstance(value, str):
            kind = next((t for t, prefix in PREFIX.items() if value.startswith(f"{prefix}_")), None)
            if kind is None:
                raise ApiError(400, f"This property cannot be expanded ({path}).", param="expand")
            node[steps[0]] = value = self.look(kind, value)
        if len(steps) > 1 and value is not None:
            self._expand(value, steps[1:], path)


def tells_previous(event: str) -> bool:
    """Whether an event says what the changed attributes were before."""
    return event.endswith(".updated") or event == "payment_method.detached"


def deleted_form(thing: Json) -> Json:
    return {"id": thing["id"], "object": thing["object"], "deleted": True}
