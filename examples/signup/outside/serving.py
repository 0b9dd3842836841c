"""HTTP on the loopback interface, with a hand on the connection itself.

A well-behaved web server cannot lose an answer. These can: an application finds its `Connection` in
`scope["state"]["connection"]` and may reset it, cut it, or sit on it until the client gives up.
"""

import contextlib
import json
import logging
import signal
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LINGER_ZERO = struct.pack("ii", 1, 0)


class Connection(H11Protocol):
    """One client connection. What it does to the client is done from the server's side of TCP."""

    withheld = False
    """True while an answer is kept back on purpose, so that a stopping server need not wait."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, "connection": self}

    def reset(self) -> None:
        """Send a TCP RST: the client sees `ECONNRESET`."""
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        self.transport.abort()

    def drop(self) -> None:
        """Close at once; whatever was not sent yet is lost."""
        self.transport.abort()

    def finish(self) -> None:
        """Close after what was written has been sent."""
        self.transport.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Mapping[str, int]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(json.dumps(self._ready), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            if isinstance(connection, Connection) and connection.withheld:
                connection.drop()
        await super().shutdown(sockets)


def listen(port: int) -> socket.socket:
    """A socket bound to 127.0.0.1; port 0 takes any free one. Raises `OSError` if it is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError:
        bound.close()
        raise
    return bound


def port_of(bound: socket.socket) -> int:
    port: int = bound.getsockname()[1]
    return port


async def serve(app: App, bound: socket.socket, ready: Mapping[str, int]) -> None:
    """Serve until SIGTERM or SIGINT; print `ready` as one JSON line once connections are accepted.

    Requests under way get three seconds to finish.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        app,
        http=Connection,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=3,
    )
    server = _Server(config, ready)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn stops gracefully on a signal, and then raises it again for the handler that was there
    # before: with this one the process ends with status 0 instead of dying by its own signal.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    await server.serve(sockets=[bound])


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body; None if the client left before it was complete."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def gone(receive: Receive) -> None:
    """Return when the client has closed its end (or the connection was closed here)."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def withhold(scope: Scope, receive: Receive) -> None:
    """Never answer: return when the client has given up, or when the server stops."""
    connection: Connection = scope["state"]["connection"]
    connection.withheld = True
    with contextlib.suppress(ConnectionError):
        await gone(receive)


async def respond(
    send: Send, status: int, body: bytes, headers: Mapping[str, str] | None = None
) -> None:
    """Send a complete JSON response."""
    await send({"type": "http.response.start", "status": status, "headers": head(body, headers)})
    await send({"type": "http.response.body", "body": body})


def head(body: bytes, headers: Mapping[str, str] | None = None) -> list[tuple[bytes, bytes]]:
    """The response headers of a JSON `body`."""
    fields = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        **(headers or {}),
    }
    return [(name.encode(), value.encode()) for name, value in fields.items()]
