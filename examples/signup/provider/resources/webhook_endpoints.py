"""Webhook endpoints: where events are sent. The secret is told once, to who makes the endpoint."""

import secrets
from urllib.parse import urlsplit

from examples.signup.provider.endpoint import Endpoint, listing, retrieve
from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import Form, boolean, list_of, metadata, text
from examples.signup.provider.session import Session, deleted_form, merged
from examples.signup.provider.store import Json

PATH = "/v1/webhook_endpoints"

MOST = 16
"""Endpoints at a time, as Stripe allows."""


def create(session: Session, params: Json) -> Json:
    if len(session.every("webhook_endpoint")) >= MOST:
        raise ApiError(400, f"You have reached the maximum of {MOST} webhook endpoints.")
    endpoint = session.create(
        "webhook_endpoint",
        {
            "api_version": None,
            "application": None,
            "description": params.get("description"),
            "enabled_events": checked_events(params["enabled_events"]),
            "metadata": merged({}, params.get("metadata", {})),
            "status": "enabled",
            "url": checked_url(params["url"]),
        },
    )
    secret = f"whsec_{secrets.token_hex(16)}"
    session.store.keep_secret(endpoint["id"], secret)
    return {**endpoint, "secret": secret}


def checked_url(url: str) -> str:
    """Unlike Stripe, plain http is taken too: here the receiver is mostly on the same machine."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ApiError(400, "Invalid URL: it must be an http or https URL.", param="url")
    return url


def checked_events(names: list[str | None]) -> list[str | None]:
    if not names or None in names:
        raise ApiError(400, "You must pass at least one event.", param="enabled_events")
    return names


def update(session: Session, params: Json) -> Json:
    endpoint = session.get("webhook_endpoint", params["id"])
    changes = {name: params[name] for name in ("description",) if name in params}
    if "disabled" in params:
        changes["status"] = "disabled" if params["disabled"] else "enabled"
    if "enabled_events" in params:
        changes["enabled_events"] = checked_events(params["enabled_events"])
    if "metadata" in params:
        changes["metadata"] = merged(endpoint["metadata"], params["metadata"])
    if "url" in params:
        changes["url"] = checked_url(params["url"] or "")
    return session.change(endpoint, changes)


def delete(session: Session, params: Json) -> Json:
    endpoint = session.get("webhook_endpoint", params["id"])
    session.store.update(endpoint, deleted=True)
    return deleted_form(endpoint)


NEEDED = {"url": text, "enabled_events": list_of(text)}
FIELDS = {"description": text, "metadata": metadata}

ENDPOINTS = [
    Endpoint("POST", PATH, Form(NEEDED, **FIELDS), create),
    listing("webhook_endpoint", PATH),
    retrieve("webhook_endpoint", PATH),
    Endpoint("POST", f"{PATH}/{{id}}", Form(**NEEDED, **FIELDS, disabled=boolean), update),
    Endpoint("DELETE", f"{PATH}/{{id}}", Form(), delete),
]
