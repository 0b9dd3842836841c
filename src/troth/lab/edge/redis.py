"""redis-py: the library is the real one, on a socket that understands its commands and asks the lab.

Its handshake is answered here. A transaction is one operation; the commands of a plain pipeline are asked one after the other. What a
pool keeps is closed when it comes back. A lock that waits is one operation that cannot happen yet, not a loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from troth.lab import redis_commands
from troth.lab.edge.attempt import attributed, current
from troth.lab.edge.patch import replaced
from troth.lab.model import Op

_waiting: ContextVar[bool] = ContextVar("troth.lab.redis_waiting", default=False)
_OF_THE_CONNECTION = frozenset([b"CLIENT", b"AUTH", b"SELECT", b"PING", b"HELLO", b"READONLY"])


class Socket:
    """A connection from the client's side: what it sends is taken apart, and what comes back is kept until it reads."""

    def __init__(self, name: str | None, address: str, retries: int) -> None:
        self._name = name
        self._address = address
        self._retries = retries
        self._attempt = current.get()
        self._sent = b""
        self._answers = b""
        self._queued: list[tuple[bytes, ...]] | None = None
        self._modern = False
        self._lost = False

    def sendall(self, data: bytes) -> None:
        self._sent += bytes(data)
        while (found := _command(self._sent)) is not None and not self._lost:
            command, self._sent = found
            self._take(command)

    def recv(self, size: int) -> bytes:
        if not self._answers and not self._lost:
            raise BlockingIOError(11, "nothing to read")
        data, self._answers = self._answers[:size], self._answers[size:]
        return data  # nothing: the connection is closed

    def _take(self, command: tuple[bytes, ...]) -> None:
        name = command[0].upper()
        if name in _OF_THE_CONNECTION:
            self._modern |= name == b"HELLO" and command[1:2] == (b"3",)
            self._answers += self._encoded(_greeting(command))
        elif name == b"MULTI":
            self._queued = []
            self._answers += b"+OK\r\n"
        elif name == b"DISCARD":
            self._queued = None
            self._answers += b"+OK\r\n"
        elif name == b"EXEC" and self._queued is not None:
            commands, self._queued = tuple(self._queued), None
            self._ask("MULTI", commands)
        elif self._queued is not None:
            self._queued.append(command)
            self._answers += b"+QUEUED\r\n"
        else:
            self._ask(name.decode(errors="replace"), (command,))

    def _ask(self, text: str, commands: tuple[tuple[bytes, ...], ...]) -> None:
        attempt = attributed(f"Redis, {text}")
        if self._name is None:
            attempt.refuse(f"the code talks to Redis at {self._address}; declare lab.redis()")
        if attempt is not self._attempt:
            attempt.refuse(
                "a connection to Redis that was opened by an earlier attempt is used again; that is not explored yet"
            )
        next_try = "none" if not self._retries else "last" if attempt.redis == "lost" else "some"
        params = (_waiting.get(), next_try, commands)
        seen = attempt.ask(Op("redis", self._name or "", text, params))
        attempt.redis = seen.error
        if seen.error:
            self._lost = True
        else:
            self._answers += self._encoded(seen.value)

    def _encoded(self, reply: Any) -> bytes:
        kind, content = reply
        if kind == "_":
            return b"_\r\n" if self._modern else b"$-1\r\n"
        if kind == "$":
            return b"$%d\r\n%b\r\n" % (len(content), content)
        if kind in {"*", "~", "%"}:
            count = len(content) // 2 if kind == "%" and self._modern else len(content)
            head = kind if self._modern else "*"
            return f"{head}{count}\r\n".encode() + b"".join(map(self._encoded, content))
        return f"{kind}{content}\r\n".encode()

    def settimeout(self, seconds: object) -> None:
        """It never blocks."""

    def close(self, *_: object) -> None:
        """What it has said, it has said."""
        self._lost = True

    shutdown = close


def _greeting(command: tuple[bytes, ...]) -> Any:
    name = command[0].upper()
    if name == b"HELLO":
        return ("%", (("$", b"server"), ("$", b"redis"), ("$", b"proto"), (":", 3)))
    return ("+", "PONG") if name == b"PING" else redis_commands.OK


def _command(data: bytes) -> tuple[tuple[bytes, ...], bytes] | None:
    """The first command of what was sent, and the rest; None while it is not complete."""
    head, complete, rest = data.partition(b"\r\n")
    if not complete:
        return None
    words = []
    for _ in range(int(head[1:])):
        size, complete, rest = rest.partition(b"\r\n")
        length = int(size[1:]) if complete else 0
        if not complete or len(rest) < length + 2:
            return None
        words.append(rest[:length])
        rest = rest[length + 2 :]
    return tuple(words), rest


@contextmanager
def caught(name: str | None) -> Iterator[None]:
    """Redis clients ask the lab while the context lasts. Nothing is imported if the application has no redis."""
    if "redis" not in sys.modules:
        yield
        return
    from redis import backoff, connection, lock, retry

    for kind in ("release", "extend", "reacquire"):
        redis_commands.learn(getattr(lock.Lock, f"LUA_{kind.upper()}_SCRIPT"), kind)
    substitutes: dict[tuple[Any, str], Any] = {
        (connection.Connection, "_connect"): _connecting(connection.Connection._connect, name),  # noqa: SLF001
        (connection.UnixDomainSocketConnection, "_connect"): _connecting(
            connection.UnixDomainSocketConnection._connect,  # noqa: SLF001
            name,
        ),
        (connection.MaintNotificationsAbstractConnection, "activate_maint_notifications_handling_if_enabled"):
            _outside_attempts(connection.MaintNotificationsAbstractConnection.activate_maint_notifications_handling_if_enabled),
        (connection.ConnectionPool, "release"): _closing(connection.ConnectionPool.release),
        (connection.BlockingConnectionPool, "release"): _closing(connection.BlockingConnectionPool.release),
        (lock.Lock, "acquire"): _acquiring(lock.Lock.acquire),
        (retry, "sleep"): _outside_attempts(vars(retry)["sleep"]),
        **{(kind, "compute"): _without_jitter(kind.compute) for kind in vars(backoff).values() if hasattr(kind, "compute")},
    }  # fmt: skip
    with replaced(substitutes):
        yield


def _connecting(real: Callable[[Any], Any], name: str | None) -> Any:
    def connect(self: Any) -> Any:
        attempt = current.get()
        if attempt is None:
            return real(self)
        if attempt.redis == "down":
            raise ConnectionRefusedError(111, "Connection refused")
        address = str(getattr(self, "host", getattr(self, "path", "")))
        return Socket(name, address, self.retry.get_retries())

    return connect


def _closing(real: Callable[[Any, Any], None]) -> Any:
    """A connection that is kept would be memory."""

    def release(self: Any, connection: Any) -> None:
        if current.get() is not None:
            connection.disconnect()
        real(self, connection)

    return release


def _acquiring(real: Callable[..., bool]) -> Any:
    """Who waits for a lock asks when it is free. Who waits for some time only may as well find that it is over."""

    def acquire(self: Any, *args: Any, **kwargs: Any) -> bool:
        if current.get() is None:
            return real(self, *args, **kwargs)
        names = ("sleep", "blocking", "blocking_timeout", "token")
        asked = dict(zip(names, args, strict=False)) | kwargs
        given = (asked.get("blocking"), asked.get("blocking_timeout"))
        blocking = self.blocking if given[0] is None else given[0]
        some_time = self.blocking_timeout if given[1] is None else given[1]
        waits = blocking and some_time is None
        token = _waiting.set(waits)
        try:
            return real(self, **(asked | {"blocking": bool(waits), "blocking_timeout": None}))
        finally:
            _waiting.reset(token)

    return acquire


def _without_jitter(real: Callable[[Any, int], float]) -> Any:
    """How long to wait before the next try is chance, and decides nothing: nobody waits."""

    def compute(self: Any, failures: int) -> float:
        return real(self, failures) if current.get() is None else 0

    return compute


def _outside_attempts(real: Callable[..., None]) -> Any:
    """What would wait, or look for the server's address, and decides nothing."""

    def call(*args: Any, **kwargs: Any) -> None:
        if current.get() is None:
            real(*args, **kwargs)

    return call
