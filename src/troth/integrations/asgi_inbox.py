"""A webhook endpoint as a small ASGI application: raw body, verify, store, answer. It fits into any ASGI framework.

app.router.routes.append(Route("/webhooks/stripe", InboxEndpoint(stripe_events, troth)))

A `Route` of Starlette, not a `Mount`: that redirects this very path to the one with a slash, and no sender of webhooks follows.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from troth.base import codec
from troth.inbox import Inbox
from troth.inbox.model import BodyTooLargeError, RefusedDeliveryError

if TYPE_CHECKING:
    from troth.app import Troth

log = logging.getLogger("troth.inbox")

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class InboxEndpoint:
    """Takes in what is sent to it by POST. *troth* must be open in the event loop that serves (`troth.lifespan`).

    Answers 202 and 200 when the event is durable, 400, 401, 405, 413 or 415 when it was refused and nothing is stored, 503
    when the database cannot be reached: whoever sent it shall try again.
    """

    __troth_idempotent__ = {"exempt": True}  # noqa: RUF012  (read by `options_of`, never written)

    def __init__(self, inbox: Inbox, troth: Troth) -> None:
        self._inbox = inbox
        self._troth = troth

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Serve one request (ASGI 3)."""
        if scope["type"] != "http":
            msg = f"a webhook endpoint serves http, not {scope['type']}"
            raise RuntimeError(msg)
        if scope["method"] != "POST":
            await _answer(send, 405, {"error": "deliver events by POST"}, ((b"allow", b"POST"),))
            return
        try:
            body = await _body(receive, scope["headers"], self._inbox.max_body)
            if body is None:
                return  # the client has gone
            status, told = await self._take_in(scope["headers"], body)
        except RefusedDeliveryError as error:
            log.info("%s: a delivery is refused: %s", self._inbox.name, error)
            status, told = error.status, {"error": str(error)}
        await _answer(send, status, told)

    async def _take_in(
        self, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> tuple[int, dict[str, str]]:
        from troth.store.errors import StoreError
        from troth.store.failure import DatabaseError

        try:
            async with self._troth.node.pool.connection() as connection:
                accepted = await self._inbox.accept(connection, headers, body)
        except (DatabaseError, StoreError, OSError):
            log.exception("%s: a delivery could not be stored", self._inbox.name)
            return 503, {"error": "it could not be stored; deliver it again"}
        return accepted.status, {"event": accepted.event_id, "outcome": accepted.outcome}


async def _body(receive: Receive, headers: list[tuple[bytes, bytes]], limit: int) -> bytes | None:
    """The whole body; None if the client has gone. Raises `BodyTooLargeError` before more than *limit* is kept."""
    announced = next((value for name, value in headers if name.lower() == b"content-length"), b"")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > limit):
        raise BodyTooLargeError(f"the body has more than {limit} bytes")
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLargeError(f"the body has more than {limit} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answer(
    send: Send, status: int, told: dict[str, str], headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    content = codec.encode(told)
    length = str(len(content)).encode()
    start = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", length),
            *headers,
        ],
    }
    await send(start)
    await send({"type": "http.response.body", "body": content})
