"""A connection that is cut for real: a proxy before a real server, which breaks off where it is told to."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from typing import Literal, Self

Where = Literal["nowhere", "before", "after"]


class Cut:
    """Passes bytes on, until the client says something after `arm`: then both ends are closed.

    "before": the server never hears it. "after": the server has answered, and the client does not hear that.

    Args:
        target: (host, port), or the path of a socket.
    """

    def __init__(self, target: tuple[str, int] | str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._where: Where = "nowhere"
        self._passing = 0
        self._refusing = self._shut = False
        self._stop, self._stopped = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def arm(self, where: Where, passing: int = 0, *, refusing: bool = False) -> None:
        """The next that the client says is cut off here; or what comes when so many of its messages have been answered.

        `refusing`: from then on, nobody gets through.
        """
        self._where, self._passing, self._refusing = where, passing, refusing

    def accept_again(self) -> None:
        """Whoever comes gets through."""
        self._where, self._shut = "nowhere", False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.send(b"x")
        self._thread.join()
        for end in (self._listener, self._stop, self._stopped):
            end.close()

    def _serve(self) -> None:
        peers: dict[socket.socket, socket.socket] = {}
        clients: set[socket.socket] = set()
        while True:
            ready, _, _ = select.select([self._listener, self._stopped, *peers], [], [])
            if self._stopped in ready:
                break
            for end in ready:
                if end is self._listener:
                    client = self._listener.accept()[0]
                    if self._shut:
                        client.close()
                        continue
                    server = self._connected()
                    peers |= {client: server, server: client}
                    clients.add(client)
                elif end in peers and not self._passed(end, peers[end], end in clients):
                    _close(peers, end)
        for end in list(peers):
            end.close()

    def _connected(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target)
        made = socket.socket(socket.AF_UNIX)
        made.connect(self._target)
        return made

    def _passed(self, end: socket.socket, peer: socket.socket, says: bool) -> bool:
        """Whether the connection goes on."""
        try:
            data = end.recv(65536)
        except ConnectionError:
            return False
        if not data:
            return False
        if says and self._where != "nowhere" and self._passing:
            self._passing -= 1
        elif says and self._where != "nowhere":
            where, self._where = self._where, "nowhere"
            self._shut = self._refusing
            if where == "after":
                peer.sendall(data)
                peer.recv(65536)
            return False
        with suppress(ConnectionError):
            peer.sendall(data)
        return True


def _close(peers: dict[socket.socket, socket.socket], end: socket.socket) -> None:
    other = peers.pop(end)
    peers.pop(other, None)
    for one in (end, other):
        one.close()
