"""aiohttp's client: the library is the real one, on a transport that understands the request and asks the lab."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from troth.lab.edge import tasks
from troth.lab.edge.attempt import Stopped, attributed, call_site, current
from troth.lab.edge.exchange import ask
from troth.lab.edge.patch import replaced

if TYPE_CHECKING:
    import asyncio

    from troth.lab.model import Observation


class Transport:
    """One connection for one request. It is answered when the library waits, as by a socket."""

    def __init__(
        self,
        hosts: dict[str, str],
        request: Any,
        protocol: Any,
        loop: asyncio.AbstractEventLoop,
        site: str,
    ) -> None:
        self._hosts = hosts
        self._site = site
        self._request = request
        self._protocol = protocol
        self._loop = loop
        self._sent = b""
        self._closed = False

    def write(self, data: Any) -> None:
        self._sent += bytes(data)
        found = understood(self._sent)
        if found is None or self._closed:
            return
        self._sent = b""
        method, target, headers, body = found
        url, parts = self._request.url, urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        try:
            seen = ask(
                self._hosts,
                method,
                str(url),
                url.host,
                parts.path,
                query,
                headers,
                body,
                self._site,
            )
        except Stopped:  # the library would wait for ever if it got an exception here
            self.abort()
            return
        self._loop.call_soon(self._deliver, seen)

    def writelines(self, chunks: Any) -> None:
        self.write(b"".join(chunks))

    def _deliver(self, seen: Observation) -> None:
        import aiohttp

        if self._closed:
            return
        if seen.error == "timeout":
            self._protocol.set_exception(aiohttp.SocketTimeoutError(str(seen.value[0])))
        elif seen.error:
            refused = ConnectionRefusedError(111, str(seen.value[0]))
            self._protocol.set_exception(
                aiohttp.ClientConnectorError(self._request.connection_key, refused)
            )
        else:
            self._protocol.data_received(response(*seen.value))

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Answers come only when they were asked for."""

    resume_reading = pause_reading


@contextmanager
def caught(hosts: dict[str, str]) -> Iterator[None]:
    """Aiohttp's connections ask the lab while the context lasts. Nothing is imported if the application has no aiohttp."""
    if "aiohttp" not in sys.modules:
        yield
        return
    from aiohttp import connector

    real: Any = connector.TCPConnector._create_connection  # noqa: SLF001  (below its pool)

    async def create_connection(self: Any, request: Any, *rest: Any) -> Any:
        if current.get() is None:
            return await real(self, request, *rest)
        await tasks.settle(attributed(f"{request.method} {request.url}"))
        protocol = self._factory()
        protocol.force_close()  # a connection that is kept would be memory
        protocol.connection_made(Transport(hosts, request, protocol, self._loop, call_site()))
        return protocol

    with replaced({(connector.TCPConnector, "_create_connection"): create_connection}):
        yield


def understood(data: bytes) -> tuple[str, str, list[tuple[str, str]], bytes] | None:
    """A request of HTTP/1.1: method, target, headers, body; None while it is not complete."""
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    sent = {name.lower(): value for name, value in headers}
    if sent.get("transfer-encoding", "").lower() == "chunked":
        plain = _unchunked(body)
    else:
        plain = body if len(body) >= int(sent.get("content-length", 0)) else None
    return None if plain is None else (method, target, headers, plain)


def _unchunked(data: bytes) -> bytes | None:
    found = b""
    while True:
        size, complete, data = data.partition(b"\r\n")
        if not complete:
            return None
        length = int(size.split(b";")[0], 16)
        if len(data) < length + 2:
            return None
        if length == 0:
            return found
        found, data = found + data[:length], data[length + 2 :]


def response(status: int, headers: Any, body: bytes) -> bytes:
    """A response as it would come from a socket."""
    phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
