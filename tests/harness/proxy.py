"""A TCP proxy before PostgreSQL that loses exactly the message that a test names.

It reads the frontend protocol (PostgreSQL documentation, 55.7) just far enough to know which statement is being
executed, so that a fault hits a COMMIT or a flush, not a moment in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from enum import Enum
from pathlib import Path
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST


class Cut(Enum):
    """What becomes of the statement, and of its connection, which ends in each case."""

    REQUEST_LOST = "the server never sees it"
    ANSWER_LOST = "the server has finished it, and its answer is swallowed"
    IN_FLIGHT = "the client is cut off at once while the server works on"


class Fault:
    """One planned fault; it strikes once."""

    def __init__(self, needle: str, cut: Cut) -> None:
        self.needle = needle
        self.cut = cut
        self._struck = asyncio.Event()

    @property
    def struck(self) -> bool:
        return self._struck.is_set()

    def strike(self) -> None:
        self._struck.set()

    async def happened(self, timeout: float = 20.0) -> None:
        """Wait until it has struck. A planned fault that never fires is a `TimeoutError`."""
        async with asyncio.timeout(timeout):
            await self._struck.wait()


class Proxy:
    """Forwards connections from 127.0.0.1 to the server of a URL: `async with Proxy(url) as proxy: proxy.url`."""

    def __init__(self, url: str) -> None:
        self._target = conninfo_to_dict(url)
        self._given = url
        self._faults: list[Fault] = []
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[_Link] = set()
        self.executed: list[str] = []  # the text of every statement, of all connections
        self.opened = 0  # connections so far
        self.url = ""

    def cut(self, needle: str, cut: Cut) -> Fault:
        """At the next execution of a statement whose text has *needle* (to the end of a word), on whatever
        connection."""
        fault = Fault(needle, cut)
        self._faults.append(fault)
        return fault

    def freeze(self) -> None:
        """Swallow everything in both directions until `thaw`; connections stay open, new ones hang."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def reset_all(self) -> None:
        """Cut every connection that is open now."""
        for link in list(self._links):
            link.reset()

    def fault_for(self, text: str) -> Fault | None:
        """The fault that this execution meets, if any; it is used up."""
        self.executed.append(text)
        for fault in self._faults:
            if re.search(re.escape(fault.needle) + r"(?!\w)", text):
                self._faults.remove(fault)
                return fault
        return None

    async def flowing(self) -> None:
        await self._flowing.wait()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = make_conninfo(
            self._given, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.thaw()
        self._server.close()
        self.reset_all()
        await asyncio.gather(*(link.ended.wait() for link in list(self._links)))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run(str(self._target["host"]), int(self._target.get("port") or 5432))
        finally:
            self._links.discard(link)
            link.ended.set()


class _Link:
    """One connection."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = reader, writer
        self._to_server: asyncio.StreamWriter | None = None
        self._prepared: dict[bytes, str] = {}
        self._swallowing: Fault | None = None
        self._client_gone = False
        self.ended = asyncio.Event()

    async def run(self, host: str, port: int) -> None:
        await self._proxy.flowing()
        if host.startswith("/"):
            connected = asyncio.open_unix_connection(str(Path(host) / f".s.PGSQL.{port}"))
        else:
            connected = asyncio.open_connection(host, port)
        from_server, self._to_server = await connected
        up = asyncio.create_task(self._up(self._to_server))
        try:
            await self._down(from_server)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)
            self.reset()

    def reset(self) -> None:
        """End both sides; the client sees a connection reset."""
        self._reset_client()
        if self._to_server is not None:
            self._to_server.close()

    def _reset_client(self) -> None:
        self._client_gone = True
        if not self._to_client.is_closing():
            raw = self._to_client.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._to_client.transport.abort()

    async def _up(self, to_server: asyncio.StreamWriter) -> None:
        """Client to server, message by message."""
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            size = await self._from_client.readexactly(4)  # the start-up message has no type
            to_server.write(size + await self._from_client.readexactly(_length(size) - 4))
            while True:
                head = await self._from_client.readexactly(5)
                message = head + await self._from_client.readexactly(_length(head[1:]) - 4)
                await self._proxy.flowing()
                fault = self._meets(message)
                if fault is not None and fault.cut is Cut.REQUEST_LOST:
                    fault.strike()
                    self.reset()
                    return
                to_server.write(message)
                if fault is not None:
                    self._swallowing = fault
                if message[:1] in {b"Q", b"S"} and self._swallowing is not None:
                    if self._swallowing.cut is Cut.IN_FLIGHT:
                        self._reset_client()
                        self._swallowing.strike()
                    return  # nothing more will be asked here
        if not self._client_gone:
            to_server.close()

    async def _down(self, from_server: asyncio.StreamReader) -> None:
        """Server to client, as it comes."""
        with contextlib.suppress(OSError):
            while data := await from_server.read(_CHUNK):
                await self._proxy.flowing()
                fault = self._swallowing
                if fault is None:
                    self._to_client.write(data)
                elif data[-6:-1] == b"Z\x00\x00\x00\x05":  # ready for query: it has done all of it
                    if fault.cut is Cut.ANSWER_LOST:
                        self.reset()
                        fault.strike()
                    return

    def _meets(self, message: bytes) -> Fault | None:
        body = message[5:]
        match message[:1]:
            case b"P":  # Parse: the statement's name, its text
                name, text, _ = body.split(b"\0", 2)
                self._prepared[name] = text.decode()
            case b"B":  # Bind: the portal's name, the statement's name
                return self._proxy.fault_for(self._prepared.get(body.split(b"\0", 2)[1], ""))
            case b"Q":
                return self._proxy.fault_for(body.rstrip(b"\0").decode())
            case _:
                pass
        return None


def _length(size: bytes) -> int:
    return int.from_bytes(size, "big")
