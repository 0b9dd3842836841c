"""What all pages of one console share, and what one request is to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from troth.command.acts import Role
from troth.command.model import Author
from troth.console import present
from troth.console.database import Reach
from troth.console.model import Operator, Payload
from troth.console.security import SEED_COOKIE, form_token, new_seed

if TYPE_CHECKING:
    from troth.console.page import Page
    from troth.console.sign_in import Door

LOOK_COOKIE = "troth_console_look"
ZONE_COOKIE = "troth_console_zone"
_LOOKS = ("auto", "light", "dark")
_A_YEAR_S = 365 * 86400

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Site:
    """One console. *base_path*: under what the outside sees it; None: whatever the server says."""

    reach: Reach
    door: Door
    pages: Sequence[Page[Any]]
    base_path: str | None
    origins: Collection[str]
    redact: Callable[[Payload], Any] | None
    templates: Any
    marks: Mapping[
        str, str
    ]  # of static files: a part of their content's digest, so that they may be kept for ever

    @property
    def schema(self) -> str:
        return self.reach.schema

    def visit(self, request: Request, operator: Operator | None = None) -> Visit:
        """A request, as templates see it."""
        root = self.base_path if self.base_path is not None else request.scope.get("root_path", "")
        return Visit(self, request, root.rstrip("/"), operator)

    def show(self, visit: Visit, template: str, status: int = 200, **told: Any) -> Response:
        """A page; templates are given *told*, and the visit."""
        page = told.pop("page", None)
        told = {"trouble": None, "topics": (), "known": ""} | told
        body = self.templates.get_template(template).render(
            visit=visit, site=self, page=page, **told
        )
        answer = HTMLResponse(body, status)
        if visit.fresh_seed:
            answer.set_cookie(
                SEED_COOKIE, visit.seed, _A_YEAR_S, path=visit.root or "/", secure=visit.secure, httponly=True, samesite="strict"
            )  # fmt: skip
        return answer


class Visit:
    """One request: who asks, from where, and how they like to read."""

    def __init__(self, site: Site, request: Request, root: str, operator: Operator | None) -> None:
        self.site = site
        self.request = request
        self.root = root
        self.operator = operator
        kept = request.cookies.get(SEED_COOKIE)
        self.fresh_seed = not kept
        self.seed = kept or new_seed()
        self.secure = request.url.scheme == "https"

    # Where ------------------------------------------------------------------------------------------------------------

    def href(self, path: str, pairs: Pairs | Mapping[str, object] = (), /, **more: object) -> str:
        """The address of a path of this console (`/runs`), with a query; None is left out."""
        told = list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs)
        query = [(name, str(value)) for name, value in [*told, *more.items()] if value is not None]
        return self.root + quote(path, safe="/") + (f"?{urlencode(query)}" if query else "")

    def static(self, name: str) -> str:
        """The address of a static file."""
        return f"{self.root}/static/{quote(name)}?v={self.site.marks[name]}"

    @cached_property
    def query(self) -> list[tuple[str, str]]:
        """The query of this page, in order, without what is empty."""
        return [
            (name, value) for name, value in self.request.query_params.multi_items() if value != ""
        ]

    def asked(self, name: str) -> str:
        """What the query says of a name, the last time; empty if nothing."""
        return next((value for each, value in reversed(self.query) if each == name), "")

    def asks(self, name: str, value: str) -> bool:
        """Does the query say this of a name?"""
        return (name, value) in self.query

    @property
    def path(self) -> str:
        """This page's path within the console."""
        path = str(self.request.scope["path"])
        outside = str(self.request.scope.get("root_path", ""))
        return path.removeprefix(outside) or "/"

    @property
    def here(self) -> str:
        """The address of this page."""
        return self.href(self.path, self.query)

    def turned(self, **changes: object) -> str:
        """The address of this page with another query: None takes a name out, a value replaces what is said of it."""
        kept = [(name, value) for name, value in self.query if name not in changes]
        return self.href(self.path, kept, **changes)

    # Who --------------------------------------------------------------------------------------------------------------

    def may(self, least: Role) -> bool:
        """Would an act that needs this role be allowed? The desk decides; this is for what is shown."""
        return self.operator is not None and self.operator.role >= least

    @property
    def known(self) -> Operator:
        assert self.operator is not None
        return self.operator

    def author(self, note: str | None) -> Author:
        """Who acts here, for the record."""
        return Author(self.known.name, note or None, role=self.known.role, via="console")

    @property
    def token(self) -> str:
        """Of the forms in this page."""
        return form_token(self.seed, self.operator.name if self.operator else "")

    # How they like to read --------------------------------------------------------------------------------------------

    @property
    def look(self) -> str:
        """auto, light or dark."""
        chosen = self.request.cookies.get(LOOK_COOKIE, "auto")
        return chosen if chosen in _LOOKS else "auto"

    @cached_property
    def zone(self) -> tzinfo:
        """In which times are shown: UTC, or what the browser says is local."""
        chosen = self.request.cookies.get(ZONE_COOKIE, "")
        try:
            return ZoneInfo(chosen) if chosen and len(chosen) < 64 else UTC
        except (ValueError, OSError, LookupError):  # no such zone, or no table of zones here
            return UTC

    @property
    def zone_name(self) -> str:
        return str(self.zone)


def static_marks() -> dict[str, str]:
    """Each static file, with what its address ends in."""
    root = resources.files("troth.console") / "static"
    found = {each.name: each for each in root.iterdir() if each.is_file()}
    found |= {f"vendor/{each.name}": each for each in (root / "vendor").iterdir()}
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for name, file in found.items()
    }


def site(
    reach: Reach,
    door: Door,
    pages: Sequence[Page[Any]],
    *,
    base_path: str | None,
    origins: Collection[str],
    redact: Callable[[Payload], Any] | None,
) -> Site:
    """A console's site, with its templates and static files."""
    base = None if base_path is None else "/" + base_path.strip("/") if base_path.strip("/") else ""
    return Site(
        reach, door, pages, base, frozenset(origins), redact, present.environment(), static_marks()
    )
