"""Endpoints: a method, a path, a form and a handler."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from examples.signup.provider.errors import ApiError
from examples.signup.provider.form import Check, Form, limit, page_form, text
from examples.signup.provider.session import Session
from examples.signup.provider.store import Json, term

Handler = Callable[[Session, Json], Json]
"""From the parameters, with the path's `id` among them, to the object to answer with."""


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    form: Form
    handler: Handler

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Endpoints:
    """A table of endpoints, looked up by method and path. A path has at most one `{id}`."""

    def __init__(self, *tables: list[Endpoint]) -> None:
        self._by_length: dict[tuple[str, int], list[tuple[re.Pattern[str], Endpoint]]] = {}
        for endpoint in (one for table in tables for one in table):
            pattern = re.compile(endpoint.path.replace("{id}", r"(?P<id>\w+)"))
            key = (endpoint.method, endpoint.path.count("/"))
            self._by_length.setdefault(key, []).append((pattern, endpoint))

    def find(self, method: str, path: str) -> tuple[Endpoint, Json]:
        """The endpoint, and the `id` in the path if it has one. Raises `ApiError` 404."""
        for pattern, endpoint in self._by_length.get((method, path.count("/")), []):
            if found := pattern.fullmatch(path):
                return endpoint, found.groupdict()
        raise ApiError(404, f"Unrecognized request URL ({method}: {path}).")


def retrieve(kind: str, path: str) -> Endpoint:
    def handler(session: Session, params: Json) -> Json:
        return session.look(kind, params["id"])

    return Endpoint("GET", f"{path}/{{id}}", Form(), handler)


def listing(kind: str, path: str, /, **filters: Check) -> Endpoint:
    """A list. A filter that takes several values is in the plural, and finds any of them."""

    def handler(session: Session, params: Json) -> Json:
        return session.page(kind, path, params, terms_of(params, filters))

    return Endpoint("GET", path, page_form(**filters), handler)


def terms_of(params: Json, names: Iterable[str]) -> dict[str, list[str]]:
    """The filters that were given, as the index spells them: `types` are values of `type`."""
    terms: dict[str, list[str]] = {}
    for name in names:
        value = params.get(name)
        if isinstance(value, list):
            terms[name.removesuffix("s")] = [term(one) for one in value]
        elif value is not None:
            terms[name] = [term(value)]
    return terms


def searching(kind: str, path: str) -> Endpoint:
    """Must stand before `retrieve` of the same path."""

    def handler(session: Session, params: Json) -> Json:
        return session.search(kind, f"{path}/search", params)

    form = Form({"query": text}, limit=limit, page=text)
    return Endpoint("GET", f"{path}/search", form, handler)
