"""The items of a subscription: a price, a quantity, and the current period."""

from collections.abc import Iterable

from examples.signup.provider.errors import ApiError
from examples.signup.provider.resources.periods import next_boundary
from examples.signup.provider.session import Session, merged, new_id
from examples.signup.provider.store import Json


def new_item(session: Session, params: Json, param: str) -> Json:
    if not params.get("price"):
        message = f"Missing required param: {param}[price]."
        raise ApiError(400, message, code="parameter_missing", param=f"{param}[price]")
    price = session.get("price", params["price"], f"{param}[price]")
    if price["recurring"] is None:
        message = "The price specified is set to `type=one_time` but this field only accepts "
        raise ApiError(400, message + "prices with `type=recurring`.", param=f"{param}[price]")
    return {
        "id": new_id("subscription_item"),
        "object": "subscription_item",
        "created": session.now,
        "metadata": merged({}, params.get("metadata", {})),
        "price": price,
        "quantity": params.get("quantity", 1),
    }


def item_list(items: Iterable[Json], start: int, end: int) -> Json:
    """The items as a list object, all in the same current period."""
    period = {"current_period_start": start, "current_period_end": end}
    data = [{**item, **period} for item in items]
    return {"object": "list", "has_more": False, "data": data, "url": "/v1/subscription_items"}


def paid_period(items: list[Json], anchor: int, start: int) -> Json:
    """The items in the period that begins at `start`; the anchor decides where it ends."""
    return item_list(items, start, next_boundary(anchor, start, rhythm(items)))


def period_of(subscription: Json) -> tuple[int, int]:
    first = subscription["items"]["data"][0]
    return first["current_period_start"], first["current_period_end"]


def rhythm(items: list[Json]) -> Json:
    recurring: Json = items[0]["price"]["recurring"]
    return recurring


def amount_of(items: Iterable[Json]) -> int:
    """What one period costs, in the smallest unit of the currency."""
    return sum(int(item["price"]["unit_amount"]) * int(item["quantity"]) for item in items)


def changed_items(session: Session, subscription: Json, given: list[Json]) -> list[Json]:
    """Items named by id change their price or quantity, or go; others are added."""
    items = {item["id"]: item for item in subscription["items"]["data"]}
    for index, params in enumerate(given):
        param = f"items[{index}]"
        ident = params.get("id")
        if ident is None:
            added = new_item(session, params, param)
            items[added["id"]] = added
        elif ident not in items:
            message = f"No such subscription item: '{ident}'"
            raise ApiError(400, message, code="resource_missing", param=f"{param}[id]")
        elif params.get("deleted"):
            del items[ident]
        else:
            price = params.get("price", items[ident]["price"]["id"])
            quantity = params.get("quantity", items[ident]["quantity"])
            fresh = new_item(session, {"price": price, "quantity": quantity}, param)
            items[ident] = {**items[ident], "price": fresh["price"], "quantity": quantity}
    if not items:
        raise ApiError(400, "A subscription must have at least one item.", param="items")
    return list(items.values())
