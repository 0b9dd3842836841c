"""
The wire between a client and a server of somebody else, which does to a chosen request what wires do.

    python -m tests.matrix.edge http --to 8420      prints {"port": …, "door": …}
    python -m tests.matrix.edge smtp --to 1025

It knows how requests are framed, and nothing of what they mean. A request is delivered (the server answers), then told
(the client hears it): a fault is a way not to do one of them, or to do it too late. `door` is a second way in, closed
until it is opened: whoever knocks before is refused by TCP itself.

Commands are lines of JSON on stdin. Each is answered with a report, {"struck": ["cell-7"], "held": [], "busy": 0}:

    {"aim": {"mark": "cell-7", "begins": "POST ", "fault": "reset after"}}
    {"open": true}       open the door
    {"release": true}    deliver what is held
    {}                   only report
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LONGEST_REQUEST = 1 << 20  # bytes
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CONNECTION = re.compile(rb"\r\nconnection:[^\r]*", re.IGNORECASE)


class Fault(StrEnum):
    """What becomes of a request. *before*: it is not delivered; *after*: it is, and the answer is not told."""

    BUSY = "429"  # turned away for the moment
    BROKEN_BEFORE = "500 before"
    SILENT_AFTER = "time out after"
    RESET_AFTER = "reset after"
    BROKEN_AFTER = "500 after"
    TRUNCATED_AFTER = "truncate after"
    LATE = "late delivery"  # delivered only when another request has been told


@dataclass
class Aim:
    """The next request that begins so and carries the mark meets the fault.

    *until*: what is held is delivered when a request with the mark has been told that begins so.
    """

    mark: str
    begins: str
    fault: Fault
    until: str = ""
    struck: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def strikes(self, request: bytes) -> bool:
        return not self.struck and self._is_of(request, self.begins)

    def ends(self, told: bytes) -> bool:
        return self._is_of(told, self.until)

    def _is_of(self, request: bytes, begins: str) -> bool:
        return request.startswith(begins.encode()) and self.mark.encode() in request


@dataclass(frozen=True)
class Client:
    """The connection of a client."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def tell(self, answer: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(answer)
            await self.writer.drain()

    async def gone(self) -> None:
        """Wait until the client has closed its end; what it still says is ignored."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(LONGEST_REQUEST):
                pass

    def reset(self) -> None:
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


class Edge:
    """One way through: requests are framed by a subclass, and passed on or not by their faults."""

    busy_answer: bytes
    broken_answer: bytes

    def __init__(self, port: int) -> None:
        self._to = port
        self._aims: list[Aim] = []
        self._busy = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle one connection of a client."""
        try:
            await self.converse(Client(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one side left in the middle of a request: then there was none
        finally:
            writer.close()

    async def converse(self, client: Client) -> None:
        raise NotImplementedError

    def truncated(self, answer: bytes) -> bytes:
        raise NotImplementedError

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._to, limit=LONGEST_REQUEST)

    async def pass_on(
        self, request: bytes, deliver: Callable[[], Awaitable[bytes]], client: Client
    ) -> None:
        """Deliver a request and tell the answer, except for its fault."""
        aim = self.meets(request)
        self._busy += 1
        try:
            match aim.fault if aim else None:
                case Fault.BUSY:
                    await client.tell(self.busy_answer)
                case Fault.BROKEN_BEFORE:
                    await client.tell(self.broken_answer)
                case Fault.SILENT_AFTER:
                    await deliver()
                    await client.gone()
                case Fault.RESET_AFTER:
                    await deliver()
                    client.reset()
                case Fault.BROKEN_AFTER:
                    await deliver()
                    await client.tell(self.broken_answer)
                case Fault.TRUNCATED_AFTER:
                    await client.tell(self.truncated(await deliver()))
                case Fault.LATE:
                    assert aim is not None
                    await aim.released.wait()
                    await deliver()
                case None:
                    await client.tell(await deliver())
                    self._told(request)
        finally:
            self._busy -= 1

    def meets(self, request: bytes) -> Aim | None:
        """The aim that this request meets, which counts as struck."""
        aim = next((aim for aim in self._aims if aim.strikes(request)), None)
        if aim is not None:
            aim.struck = True
        return aim

    def _told(self, request: bytes) -> None:
        for aim in self._aims:
            if aim.struck and aim.ends(request):
                aim.released.set()

    def report(self) -> dict[str, Any]:
        struck = [aim for aim in self._aims if aim.struck]
        held = [aim for aim in struck if aim.fault is Fault.LATE and not aim.released.is_set()]
        return {
            "struck": [aim.mark for aim in struck],
            "held": [aim.mark for aim in held],
            "busy": self._busy,
        }

    async def obey(self, command: dict[str, Any], door: asyncio.Server) -> None:
        if "aim" in command:
            aim = command["aim"]
            self._aims.append(Aim(**aim | {"fault": Fault(aim["fault"])}))
        if "open" in command:
            await door.start_serving()
        if "release" in command:
            for aim in self._aims:
                aim.released.set()


class HttpEdge(Edge):
    """HTTP/1.1, one request per connection."""

    busy_answer = (
        b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )
    broken_answer = (
        b"HTTP/1.1 500 Internal Server Error\r\nconnection: close\r\n"
        b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    )

    async def converse(self, client: Client) -> None:
        head = await client.reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        request = head + await client.reader.readexactly(int(length[1]) if length else 0)

        async def deliver() -> bytes:
            reader, writer = await self.connect()
            first_line, rest = _CONNECTION.sub(b"", request).split(b"\r\n", 1)
            writer.write(first_line + b"\r\nconnection: close\r\n" + rest)
            try:
                return await reader.read(-1)
            finally:
                writer.close()

        await self.pass_on(request, deliver, client)

    def truncated(self, answer: bytes) -> bytes:
        head, _, body = answer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n" + body[: len(body) // 2]


class SmtpEdge(Edge):
    """SMTP. The request is the final dot: up to there a server has promised nothing, and may still be left."""

    busy_answer = b"450 4.2.1 greylisted, come back later\r\n"
    broken_answer = b"451 4.3.0 local error in processing\r\n"

    async def converse(self, client: Client) -> None:
        reader, writer = await self.connect()

        async def ask(words: bytes) -> bytes:
            writer.write(words)
            return await reply_from(reader)

        try:
            await client.tell(await reply_from(reader))
            spoken = b""
            while line := await client.reader.readline():
                verb = line[:4].upper()
                spoken = line if verb == b"MAIL" else spoken + line
                if verb == b"RCPT" and self._turned_away(spoken):
                    await client.tell(self.busy_answer)
                    continue
                await client.tell(await ask(line))
                if verb == b"DATA":
                    data = await client.reader.readuntil(b"\r\n.\r\n")
                    await self.pass_on(spoken + data, lambda data=data: ask(data), client)  # type: ignore[misc]
        finally:
            writer.close()

    def _turned_away(self, spoken: bytes) -> bool:
        """Is this message greylisted? That is said of the recipient, before there is a message."""
        for aim in self._aims:
            if aim.fault is Fault.BUSY and aim.strikes(spoken):
                aim.struck = True
                return True
        return False

    def truncated(self, answer: bytes) -> bytes:
        return answer[:1]


async def reply_from(server: asyncio.StreamReader) -> bytes:
    """One reply of SMTP, which may have several lines."""
    lines = [await server.readline()]
    while lines[-1][3:4] == b"-":
        lines.append(await server.readline())
    if not lines[-1]:
        raise ConnectionError("the server has left")
    return b"".join(lines)


EDGES: dict[str, type[Edge]] = {"http": HttpEdge, "smtp": SmtpEdge}


async def run(edge: Edge) -> None:
    """Serve, and obey, until stdin ends."""
    loop = asyncio.get_running_loop()
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))  # not listening: who connects is refused
    door = await asyncio.start_server(
        edge.serve, sock=bound, limit=LONGEST_REQUEST, start_serving=False
    )
    server = await asyncio.start_server(edge.serve, "127.0.0.1", 0, limit=LONGEST_REQUEST)
    ports = {
        "port": server.sockets[0].getsockname()[1],
        "door": bound.getsockname()[1],
    }
    say(ports)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        await edge.obey(json.loads(line), door)
        say(edge.report())


def say(what: object) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix.edge")
    parser.add_argument("protocol", choices=EDGES)
    parser.add_argument("--to", type=int, required=True, help="the server's port on 127.0.0.1")
    options = parser.parse_args()
    asyncio.run(run(EDGES[options.protocol](options.to)))


if __name__ == "__main__":
    main()
