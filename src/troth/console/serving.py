"""Serving a console by itself, for `troth console` and `troth dev`; whoever needs more mounts it in an application."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator

import uvicorn

from troth.base.errors import UsageError
from troth.console.mount import Console

PORT = 8321
_GRACE_S = 2  # for answers that are on their way; live pages would stay for ever


def is_loopback(host: str) -> bool:
    """Can only programs of this machine reach it?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """The socket to serve on. Raises `UsageError` if it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise UsageError(
            f"the console cannot be served on {host}:{port}: {error.strerror or error}"
        ) from None


def address(bound: socket.socket, base_path: str | None) -> str:
    """Where browsers on this machine find it."""
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    base = (base_path or "").strip("/")
    return f"http://{shown}:{port}" + (f"/{base}" if base else "")


class Server(uvicorn.Server):
    """Serves one console, until `stop` is called. *started* is called when it listens."""

    def __init__(self, console: Console, started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            console,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        super().__init__(config)
        self._started = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are our caller's."""
        yield

    def stop(self) -> None:
        """End, as soon as answers that are on their way have gone."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin, and say so."""
        await super().startup(sockets)
        self._started()
