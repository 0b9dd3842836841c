"""What stands between a stranger's page and this console.

Three things, each enough for what it is against: a Content-Security-Policy under which no text in a page can become a
program; a check on every POST that it comes from a page of this console (what the browser says of its origin, and a
token that other pages cannot read); and headers that keep answers out of frames, caches and other sites' windows.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from troth.console.model import ForgedError, TooLargeError

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # Not `no-referrer`: a browser would then call the origin of our own forms `null`.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
SEED_COOKIE = "troth_console_form"
TOKEN_FIELD = "form_token"  # noqa: S105  (the name of a field)
MOST_FORM_BYTES = 1024 * 1024
_MOST_FIELDS = 100


class Headers:
    """Puts `HEADERS` on every answer; what says nothing of caches is not kept in one."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, with_headers)


def new_seed() -> str:
    """What a browser keeps, and its forms' tokens are made of."""
    return secrets.token_urlsafe(24)


def form_token(seed: str, name: str) -> str:
    """The token of the forms of somebody called *name* in the browser that has *seed*."""
    return hmac.new(seed.encode(), f"form of {name}".encode(), hashlib.sha256).hexdigest()


def require_own_origin(request: Request, origins: Collection[str]) -> None:
    """Raise `ForgedError` unless the browser says that a page of this console sends the request.

    *origins*: what the console is called by browsers where a proxy changes the `Host` header.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        if site == "same-origin":
            return
    elif origin is not None and (
        origin in origins or urlsplit(origin).netloc == request.headers.get("host")
    ):
        return
    said = site or origin or "nothing"
    msg = (
        f"this did not come from a page of the console (its origin: {said}), so nothing was done. Open the page anew. Behind a "
        "proxy that changes Host, name the console's origin: Console(origins=[...])"
    )
    raise ForgedError(msg)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form; of several with one name the last. Raises `TooLargeError`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_FORM_BYTES:
            msg = f"a form may have {MOST_FORM_BYTES:,} bytes"
            raise TooLargeError(msg)
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except (UnicodeDecodeError, ValueError):
        msg = f"that is no form of at most {_MOST_FIELDS} fields in UTF-8"
        raise TooLargeError(msg) from None
    return {name: value.replace("\r\n", "\n") for name, value in pairs}


def require_token(form: Mapping[str, str], seed: str | None, name: str) -> None:
    """Raise `ForgedError` unless the form was made for this browser and this person."""
    given = form.get(TOKEN_FIELD, "")
    if seed is None or not hmac.compare_digest(given.encode(), form_token(seed, name).encode()):
        msg = "this form was not made for you, or your browser keeps no cookies: open the page anew, and send it again"
        raise ForgedError(msg)
