"""Events: one for each change, newest first, for 30 days."""

from examples.signup.provider.endpoint import Endpoint, terms_of
from examples.signup.provider.errors import ApiError, missing
from examples.signup.provider.form import Form, boolean, list_of, page_form, text
from examples.signup.provider.resources.states import DAY
from examples.signup.provider.resources.webhook_endpoints import MOST
from examples.signup.provider.session import Session
from examples.signup.provider.store import Json

PATH = "/v1/events"

SHOWN = 30 * DAY
"""Older events are not found. They stay in the truth."""


def list_events(session: Session, params: Json) -> Json:
    if "type" in params and "types" in params:
        raise ApiError(400, "You may only specify one of these parameters: type, types.")
    created = params.get("created", {})
    oldest = max(created.get("gte", 0), session.now - SHOWN)
    terms = terms_of(params, ("type", "types"))
    if (delivered := params.get("delivery_success")) is not None:
        pending = range(1) if delivered else range(1, MOST + 1)
        terms["pending_webhooks"] = [str(number) for number in pending]
    return session.page("event", PATH, {**params, "created": {**created, "gte": oldest}}, terms)


def retrieve_event(session: Session, params: Json) -> Json:
    event = session.get("event", params["id"])
    if event["created"] < session.now - SHOWN:
        raise missing("event", event["id"], "id")
    return event


ENDPOINTS = [
    Endpoint(
        "GET",
        PATH,
        page_form(type=text, types=list_of(text), delivery_success=boolean),
        list_events,
    ),
    Endpoint("GET", f"{PATH}/{{id}}", Form(), retrieve_event),
]
