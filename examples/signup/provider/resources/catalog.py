"""Products and prices."""

from examples.signup.provider.endpoint import Endpoint, listing, retrieve, searching
from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import (
    Form,
    at_least,
    boolean,
    currency,
    hash_of,
    list_of,
    metadata,
    one_of,
    text,
)
from examples.signup.provider.session import Session, merged
from examples.signup.provider.store import Json

PRODUCTS, PRICES = "/v1/products", "/v1/prices"
INTERVALS = ("day", "week", "month", "year")


def create_product(session: Session, params: Json) -> Json:
    return session.create(
        "product",
        {
            "active": params.get("active", True),
            "default_price": None,
            "description": params.get("description"),
            "metadata": merged({}, params.get("metadata", {})),
            "name": params["name"],
            "updated": session.now,
        },
        "product.created",
    )


def update_product(session: Session, params: Json) -> Json:
    product = session.get("product", params["id"])
    return session.change(product, changes(product, params), "product.updated")


def delete_product(session: Session, params: Json) -> Json:
    product = session.get("product", params["id"])
    if session.every("price", product=params["id"]):
        message = (
            "This product cannot be deleted because it has one or more user-created prices. "
            "You can deactivate it instead by setting active=false."
        )
        raise ApiError(400, message)
    return session.remove(product, "product.deleted")


def create_price(session: Session, params: Json) -> Json:
    if ("product" in params) == ("product_data" in params):
        message = "You must specify either `product` or `product_data` when creating a price."
        raise ApiError(400, message, code="parameter_missing", param="product")
    if "product_data" in params:
        product = create_product(session, params["product_data"])
    else:
        product = session.get("product", params["product"], "product")
    if (key := params.get("lookup_key")) and session.every("price", lookup_key=key):
        message = f"A price (active or not) already uses the lookup key `{key}`."
        raise ApiError(400, message, param="lookup_key")
    recurring = params.get("recurring")
    return session.create(
        "price",
        {
            "active": params.get("active", True),
            "billing_scheme": "per_unit",
            "currency": params["currency"],
            "lookup_key": params.get("lookup_key"),
            "metadata": merged({}, params.get("metadata", {})),
            "nickname": params.get("nickname"),
            "product": product["id"],
            "recurring": recurring
            and {"interval_count": 1, "usage_type": "licensed", "meter": None, **recurring},
            "type": "recurring" if recurring else "one_time",
            "unit_amount": params["unit_amount"],
            "unit_amount_decimal": str(params["unit_amount"]),
        },
        "price.created",
    )


def update_price(session: Session, params: Json) -> Json:
    price = session.get("price", params["id"])
    return session.change(price, changes(price, params), "price.updated")


def changes(thing: Json, params: Json) -> Json:
    fields = {name: value for name, value in params.items() if name not in ("id", "expand")}
    if "metadata" in fields:
        fields["metadata"] = merged(thing["metadata"], fields["metadata"])
    return fields


PRODUCT_FIELDS = {"active": boolean, "description": text, "metadata": metadata}
PRICE_FIELDS = {"active": boolean, "metadata": metadata, "nickname": text}
PRODUCT_DATA = hash_of({"name": text}, active=boolean, metadata=metadata)
RECURRING = hash_of({"interval": one_of(*INTERVALS)}, interval_count=at_least(1))

ENDPOINTS = [
    Endpoint("POST", PRODUCTS, Form({"name": text}, **PRODUCT_FIELDS), create_product),
    listing("product", PRODUCTS, active=boolean),
    searching("product", PRODUCTS),
    retrieve("product", PRODUCTS),
    Endpoint("POST", f"{PRODUCTS}/{{id}}", Form(**PRODUCT_FIELDS, name=text), update_product),
    Endpoint("DELETE", f"{PRODUCTS}/{{id}}", Form(), delete_product),
    Endpoint(
        "POST",
        PRICES,
        Form(
            {"currency": currency, "unit_amount": at_least(0)},
            **PRICE_FIELDS,
            lookup_key=text,
            product=text,
            product_data=PRODUCT_DATA,
            recurring=RECURRING,
        ),
        create_price,
    ),
    listing(
        "price",
        PRICES,
        active=boolean,
        currency=currency,
        product=text,
        type=one_of("one_time", "recurring"),
        lookup_keys=list_of(text),
    ),
    searching("price", PRICES),
    retrieve("price", PRICES),
    Endpoint("POST", f"{PRICES}/{{id}}", Form(**PRICE_FIELDS), update_price),
]
