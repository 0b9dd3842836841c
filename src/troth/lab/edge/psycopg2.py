"""psycopg2: the driver and its libpq are the real ones, connected to a server in this process that asks the lab (`wire`).

It speaks in C and cannot be given another transport, so there is a real socket, without a place in the file system, and a thread
behind each connection. Who asks waits meanwhile: they are one strand.
"""

from __future__ import annotations

import _thread
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

from troth.lab.edge.attempt import Stopped, attributed, current, site_of
from troth.lab.edge.line import Line, Lost, chosen
from troth.lab.edge.patch import replaced
from troth.lab.edge.wire import Wire

if TYPE_CHECKING:
    from troth.lab.postgres import Postgres

_GOODBYE = b"X\0\0\0\4"
_numbers = count(1)
_process = os.getpid
"""The real one: real processes are beside each other, and must not meet at one socket."""

_NOWHERE = {"hostaddr": "", "password": "", "user": "lab", "dbname": "lab", "options": ""}


class Served:
    """One connection, from the server's side."""

    def __init__(self, line: Line) -> None:
        self.host = f"@troth-lab-{_process()}-{next(_numbers)}"
        """For libpq: a socket in the abstract namespace."""
        self._line = line
        self._client = threading.get_ident()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"\0{self.host[1:]}/.s.PGSQL.5432")
        self._listener.listen(1)
        self._context = copy_context()
        _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        with self._listener:
            end, _ = self._listener.accept()
        wire = Wire(self._line)
        with end, suppress(ConnectionError):
            while (data := end.recv(65536)) and data != _GOODBYE:
                self._line.site = site_of(sys._current_frames().get(self._client))  # noqa: SLF001  (where its thread waits)
                try:
                    answer = self._context.run(wire.feed, data)
                except (Lost, Stopped):
                    return  # libpq sees that nobody is there any more
                end.sendall(answer)


@contextmanager
def caught(databases: tuple[Postgres, ...]) -> Iterator[None]:
    """psycopg2's connections ask the lab while the context lasts. It may be imported only later, by SQLAlchemy or Django."""
    if not databases or find_spec("psycopg2") is None:
        yield
        return
    psycopg2: Any = import_module("psycopg2")  # it has no types
    extensions: Any = import_module("psycopg2.extensions")
    real: Any = vars(psycopg2)["_connect"]

    def connect(dsn: str, **options: Any) -> Any:
        if current.get() is None:
            return real(dsn, **options)
        attempt = attributed("psycopg2.connect")
        if options.get("async") or options.get("async_"):
            attempt.refuse("psycopg2.connect(async_=True) is not explored")
        try:
            line = Line(attempt, chosen(databases, dsn))
        except Lost as lost:
            raise psycopg2.OperationalError(f"connection to server failed: {lost}") from None
        place = {"host": Served(line).host, "port": 5432, "sslmode": "disable", "gssencmode": "disable"}  # fmt: skip
        options["connection_factory"] = closing(options.get("connection_factory"), line)
        made = real(extensions.make_dsn(dsn, **place, **_NOWHERE), **options)
        attempt.kept.append(made.close)
        return made

    def closing(factory: Any, line: Line) -> Any:
        """A goodbye is not answered, so it is said where it can be waited for. Who forgets it keeps the connection until his end."""
        base = factory or extensions.connection

        def close(self: Any) -> None:
            line.close()
            base.close(self)

        return type("connection", (base,), {"close": close})

    with replaced({(psycopg2, "_connect"): connect}):
        yield
