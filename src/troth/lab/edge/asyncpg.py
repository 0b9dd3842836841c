"""asyncpg: the driver is the real one, on a transport that asks the lab (`wire`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

from troth.lab.edge import tasks
from troth.lab.edge.attempt import Stopped, attributed
from troth.lab.edge.line import Line, Lost, chosen
from troth.lab.edge.patch import replaced
from troth.lab.edge.wire import Wire

if TYPE_CHECKING:
    import asyncio

    from troth.lab.postgres import Postgres

_ASKING = ("prepare", "bind_execute", "bind_execute_many", "bind", "execute", "query", "close_statement", "close")  # fmt: skip


class Transport:
    """What asyncpg wants of a transport. It is answered when the driver waits, as by a socket."""

    def __init__(self, protocol: Any, line: Line, loop: asyncio.AbstractEventLoop) -> None:
        self._protocol = protocol
        self._wire = Wire(line)
        self._line = line
        self._loop = loop
        self._closed = False
        self.names = count(1)
        line.attempt.kept.append(self.abort)

    def write(self, data: Any) -> None:
        if self._closed or not self._line.open:
            self._lose()
            return
        try:
            answer = self._wire.feed(bytes(data))
        except (Lost, Stopped):  # the driver would wait for ever if it got an exception here
            self._lose()
            return
        if answer:
            self._loop.call_soon(self._deliver, answer)
        if self._wire.over:
            self._lose()

    def writelines(self, buffers: list[Any]) -> None:
        self.write(b"".join(map(bytes, buffers)))

    def _deliver(self, answer: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(answer)

    def _lose(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        if self._line.attempt.refused is None:
            self._line.close()
        self._lose()

    close = abort

    def is_closing(self) -> bool:
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def pause_reading(self) -> None:
        """Answers come only when they were asked for."""

    resume_reading = pause_reading


@contextmanager
def caught(databases: tuple[Postgres, ...]) -> Iterator[None]:
    """Asyncpg's connections ask the lab while the context lasts. It may be imported only later, by SQLAlchemy."""
    if not databases or find_spec("asyncpg") is None:
        yield
        return
    with replaced({**_connecting(databases), **_pooling()}):
        yield


def _connecting(databases: tuple[Postgres, ...]) -> dict[tuple[Any, str], Any]:
    """A connection has the lab's transport, wherever it would have gone."""
    from asyncpg import connect_utils, connection

    settled = _settled()
    real_parse: Any = vars(connect_utils)["_parse_connect_arguments"]

    def parse(**given: Any) -> Any:
        addresses, *rest = real_parse(**given)
        return (addresses[:1], *rest)

    async def connect(
        *, addr: Any, loop: Any, params: Any, config: Any, connection_class: Any, record_class: Any
    ) -> Any:
        attempt = attributed("asyncpg.connect")
        await tasks.settle(attempt)
        try:
            line = Line(attempt, chosen(databases, str(params.database)))
        except Lost as lost:
            raise ConnectionRefusedError(111, f"Connect call failed {addr}") from lost
        connected = loop.create_future()
        spoken = settled(addr, connected, params, record_class, loop)
        transport = Transport(spoken, line, loop)
        spoken.connection_made(transport)
        await connected
        made = connection_class(spoken, transport, loop, addr, config, params)
        spoken.set_connection(made)
        attempt.kept.append(made.terminate)  # or it complains that it was left open
        return made

    def unique(self: Any, prefix: str) -> str:
        """Savepoints and statements are named per connection: by a count of the process, no two runs would be the same."""
        return f"__asyncpg_{prefix}_{next(self._transport.names):x}__"

    return {
        (connection.Connection, "_get_unique_id"): unique,
        (connect_utils, "_parse_connect_arguments"): parse,
        (connect_utils, "_connect_addr"): connect,
    }


def _settled() -> Any:
    """The driver's protocol, which lets the other tasks of the attempt come to rest before it asks."""
    from asyncpg import protocol

    def settling(name: str) -> Any:
        real: Any = getattr(protocol.Protocol, name)

        async def ask(self: Any, *positional: Any, **options: Any) -> Any:
            await tasks.settle(attributed("asyncpg"))
            return await real(self, *positional, **options)

        return ask

    return type("Settled", (protocol.Protocol,), {name: settling(name) for name in _ASKING})


def _pooling() -> dict[tuple[Any, str], Any]:
    """A pool keeps nothing: what it gives out was opened for whoever asks."""
    from asyncpg import pool

    real_initialize: Any = pool.Pool._initialize  # noqa: SLF001  (it opens connections in advance)

    async def initialize(self: Any) -> None:
        self._initsize = 0
        await real_initialize(self)

    async def release(self: Any, timeout: float | None) -> None:
        if self._con is not None:
            await self._con.close(timeout=timeout)

    return {
        (pool.Pool, "_initialize"): initialize,
        (pool.Pool, "_schedule_min_size_maintenance"): lambda _: None,
        (pool.PoolConnectionHolder, "release"): release,
    }
