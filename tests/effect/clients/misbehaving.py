"""
A server on raw sockets that ill-treats one connection at a time, and knows what it has seen.

What it does is a function of the exchange; whether a whole request had arrived by then is in `whole`. Everything waits
for the other side or for the end of the test, never for a time.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CERTIFICATE = Path(__file__).with_name("certificate.pem")  # of "localhost", signed by itself
LONGEST_WAIT_S = 20.0


class Exchange:
    """One connection, and what came over it."""

    def __init__(self, server: Server, connection: socket.socket, number: int) -> None:
        self.server, self.connection, self.number = server, connection, number
        self.buffer = b""

    # -- reading ---------------------------------------------------------------------------------

    def request(self) -> bool:
        """Read one whole HTTP request; False if the client left before."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return False
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:]
        )
        length = int(fields.get("content-length", 0))
        while len(rest) < length or (
            "chunked" in fields.get("transfer-encoding", "") and not rest.endswith(b"0\r\n\r\n")
        ):
            if not self._more():
                return False
            rest = self.buffer.partition(b"\r\n\r\n")[2]
        self.buffer = b""
        self.server.saw(head.decode("latin-1").split("\r\n")[0])
        return True

    def line(self) -> str | None:
        """Read one line; None if the client left."""
        while b"\r\n" not in self.buffer:
            if not self._more():
                return None
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line.decode()

    def _more(self) -> bool:
        try:
            chunk = self.connection.recv(65536)
        except OSError:
            return False
        self.buffer += chunk
        return bool(chunk)

    # -- writing ---------------------------------------------------------------------------------

    def send(self, text: str | bytes) -> None:
        with contextlib.suppress(OSError):
            self.connection.sendall(text.encode() if isinstance(text, str) else text)

    def answer(self, status: int, body: Any = "", **headers: str) -> None:
        """A complete answer; a body that is no text is sent as JSON."""
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        raw = text.encode() if isinstance(text, str) else text
        kind = "text/plain" if isinstance(body, str) else "application/json"
        fields = {"content_type": kind, "content_length": str(len(raw)), **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + raw)

    # -- ending ----------------------------------------------------------------------------------

    def reset(self) -> None:
        """TCP RST: the client sees ECONNRESET."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def hang(self) -> None:
        """Say nothing until the client leaves or the test ends."""
        self.server.ended.wait(LONGEST_WAIT_S)


Behaviour = Callable[[Exchange], None]


class Server:
    """Listens on 127.0.0.1 and gives every connection to *behave*, in a thread of its own."""

    def __init__(self, behave: Behaviour, *, tls: bool = False) -> None:
        self.whole: list[str] = []  # the request lines of what arrived whole (SMTP: subjects)
        self.arrived = threading.Event()  # something has arrived whole
        self.ended = threading.Event()
        self._behave = behave
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
        if self._tls:
            self._tls.load_cert_chain(CERTIFICATE)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/v1/charges"

    def saw(self, what: str) -> None:
        self.whole.append(what)
        self.arrived.set()

    def _accept(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            number += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), contextlib.closing(connection):
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with contextlib.closing(connection):
                self._behave(Exchange(self, connection, number))

    def refuse(self) -> None:
        """Let nobody in any more."""
        # A thread that is blocked on a socket wakes up by a shutdown, not by a close.
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.ended.set()
        self.refuse()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(LONGEST_WAIT_S)
        self._listening.close()
        for thread in self._threads:
            thread.join(LONGEST_WAIT_S)


@contextlib.contextmanager
def serving(behave: Behaviour, *, tls: bool = False) -> Iterator[Server]:
    server = Server(behave, tls=tls)
    try:
        yield server
    finally:
        server.close()


# ── addresses at which nobody answers ───────────────────────────────────────────────────────────


@contextlib.contextmanager
def refusing() -> Iterator[int]:
    """A port that is taken, so that nobody else can listen there, and refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def unreachable() -> Iterator[int]:
    """A port whose queue is full: connecting takes forever."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


# ── what a server does to HTTP ──────────────────────────────────────────────────────────────────


def speaks_no_tls(exchange: Exchange) -> None:
    """What a web server says to a handshake on its plain port."""
    exchange.connection.recv(1)
    exchange.answer(400)


def hangs_before(exchange: Exchange) -> None:
    exchange.hang()


def hangs_after(exchange: Exchange) -> None:
    exchange.request()
    exchange.hang()


def resets_before(exchange: Exchange) -> None:
    """With the request unread; not before it comes, or the client may still be connecting."""
    exchange.connection.recv(1, socket.MSG_PEEK)
    exchange.reset()


def resets_after(exchange: Exchange) -> None:
    exchange.request()
    exchange.reset()


def closes_after(exchange: Exchange) -> None:
    exchange.request()


def half_a_body(exchange: Exchange) -> None:
    exchange.request()
    exchange.send('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"id": "ch_')


def half_a_chunk(exchange: Exchange) -> None:
    exchange.request()
    exchange.send('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n20\r\n{"id": "ch_')


def hangs_in_the_body(exchange: Exchange) -> None:
    half_a_body(exchange)
    exchange.hang()


def garbage(exchange: Exchange) -> None:
    exchange.request()
    exchange.send("lorem ipsum\r\ndolor sit amet\r\n\r\n")


def broken_compression(exchange: Exchange) -> None:
    exchange.request()
    exchange.answer(200, b"this is not gzip", content_encoding="gzip")


def broken_json(exchange: Exchange) -> None:
    exchange.request()
    exchange.answer(200, '{"id": "ch_')


def redirects_for_ever(exchange: Exchange) -> None:
    while exchange.request():
        exchange.answer(302, "", location=exchange.server.url)


def answers(status: int, body: Any = "", **headers: str) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        while exchange.request():
            exchange.answer(status, body, **headers)

    return behave


def status_of_the_path(exchange: Exchange) -> None:
    """`POST /402` is answered with 402."""
    while exchange.request():
        exchange.answer(int(exchange.server.whole[-1].split()[1].strip("/")))


def goes_away(exchange: Exchange) -> None:
    """Take the request, let nobody in any more, and close without an answer."""
    exchange.request()
    exchange.server.refuse()


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first connection gets the first behaviour, and so on; the last one stays."""

    def behave(exchange: Exchange) -> None:
        behaviours[min(exchange.number, len(behaviours)) - 1](exchange)

    return behave
