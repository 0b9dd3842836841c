"""Events: one for each change, newest first."""

from examples.signup.provider.endpoint import Endpoint, retrieve, terms_of
from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import list_of, page_form, text
from examples.signup.provider.session import Session
from examples.signup.provider.store import Json

PATH = "/v1/events"


def list_events(session: Session, params: Json) -> Json:
    if "type" in params and "types" in params:
        raise ApiError(400, "You may only specify one of these parameters: type, types.")
    return session.page("event", PATH, params, terms_of(params, ("type", "types")))


ENDPOINTS = [
    Endpoint("GET", PATH, page_form(type=text, types=list_of(text)), list_events),
    retrieve("event", PATH),
]
