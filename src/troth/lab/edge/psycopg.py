"""psycopg 3, sync and async: the driver is the real one, on a connection of libpq that asks the lab.

Everything above libpq runs as it is (adaptation, rows, transactions, context managers); below it there is no server. Results are the
server's bytes, so they are loaded as the driver loads them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from troth.lab.edge import tasks
from troth.lab.edge.attempt import Attempt, attributed
from troth.lab.edge.line import Line, Lost, chosen
from troth.lab.edge.patch import replaced
from troth.lab.model import Observation

if TYPE_CHECKING:
    from troth.lab.postgres import Postgres

_STATUS = {"I": 0, "T": 2, "E": 3}
_UNKNOWN = 4
_OK, _BAD = 0, 1
_COMMAND_OK, _TUPLES_OK, _FATAL = 1, 2, 7


class Result:
    """What psycopg wants of a result of libpq."""

    def __init__(self, observed: Observation) -> None:
        self.columns: tuple[Any, ...] = ()
        self.rows: tuple[Any, ...] = ()
        self.fields: dict[int, bytes] = {}
        self.command_status: bytes | None = None
        self.oid_value = 0
        if observed.error:
            self.status = _FATAL
            self.fields = dict(observed.value[1])
        else:
            _, tag, tuples, self.columns, self.rows = observed.value
            self.status = _TUPLES_OK if tuples else _COMMAND_OK
            self.command_status = tag.encode()

    @property
    def command_tuples(self) -> int | None:
        words = (self.command_status or b"").split()
        return int(words[-1]) if words and words[-1].isdigit() else None

    @property
    def ntuples(self) -> int:
        return len(self.rows)

    @property
    def nfields(self) -> int:
        return len(self.columns)

    @property
    def error_message(self) -> bytes:
        return self.fields.get(77, b"")

    def get_error_message(self, encoding: str = "utf-8") -> str:
        return self.error_message.decode(encoding)

    def error_field(self, field: int) -> bytes | None:
        return self.fields.get(int(field))

    def get_value(self, row: int, column: int) -> bytes | None:
        value: bytes | None = self.rows[row][column]
        return value

    def fname(self, column: int) -> bytes:
        name: str = self.columns[column][0]
        return name.encode()

    def ftype(self, column: int) -> int:
        return int(self.columns[column][1])

    def fmod(self, column: int) -> int:
        return int(self.columns[column][2])

    def fsize(self, column: int) -> int:
        return int(self.columns[column][3])

    def fformat(self, column: int) -> int:
        return int(self.columns[column][4])

    def ftable(self, _: int) -> int:
        return 0

    def ftablecol(self, _: int) -> int:
        return 0


class Pgconn:
    """What psycopg wants of a connection of libpq."""

    pipeline_status = 0
    socket = -1
    server_version = 150000
    host, port, db, user, hostaddr, options = b"lab.test", b"5432", b"lab", b"lab", b"", b""
    password = b""
    error_message = b""
    nonblocking = 1
    needs_password = used_password = used_gssapi = ssl_in_use = False
    _encoding = "utf-8"

    def __init__(self, attempt: Attempt, database: Postgres) -> None:
        self.attempt = attempt
        self.notice_handler: Any = None
        self.notify_handler: Any = None
        self.results: list[Result] = []
        try:
            self._line = Line(attempt, database)
        except Lost:
            import psycopg

            raise psycopg.OperationalError("connection failed: connection refused") from None

    @property
    def status(self) -> int:
        return _OK if self._line.open else _BAD

    @property
    def transaction_status(self) -> int:
        return _STATUS[self._line.status] if self._line.open else _UNKNOWN

    @property
    def backend_pid(self) -> int:
        self.attempt.refuse("the process id of a connection is not the same again")

    def parameter_status(self, name: bytes) -> bytes | None:
        return {b"client_encoding": b"UTF8", b"TimeZone": b"UTC", b"server_version": b"15"}.get(
            name
        )

    def send_query(self, command: bytes) -> None:
        self._take(self._line.simple, command.decode())

    def send_query_params(
        self,
        command: bytes,
        values: Any,
        param_types: Any = None,
        param_formats: Any = None,
        result_format: int = 0,
    ) -> None:
        plain = tuple(None if one is None else bytes(one) for one in values or ())
        formats = tuple(int(one) for one in param_formats or ())
        self._take(
            self._line.statement,
            command.decode(),
            plain,
            tuple(param_types or ()),
            formats,
            binary=bool(result_format),
        )

    def finish(self) -> None:
        self._line.close()

    def enter_pipeline_mode(self) -> None:
        self.attempt.refuse("psycopg's pipeline mode is not explored")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.attempt.refuse(f"psycopg asks libpq for {name!r}, which the lab does not have")

    def _take(self, ask: Callable[..., Observation], *arguments: Any, **options: Any) -> None:
        try:
            self.results = [Result(ask(*arguments, **options))]
        except Lost as lost:
            import psycopg

            raise psycopg.OperationalError(str(lost)) from None


class Escaping:
    """What psycopg quotes names and values with, as libpq does."""

    def __init__(self, conn: Any = None) -> None:
        del conn

    def escape_identifier(self, data: bytes) -> bytes:
        return b'"' + bytes(data).replace(b'"', b'""') + b'"'

    def escape_literal(self, data: bytes) -> bytes:
        quoted = bytes(data).replace(b"'", b"''")
        if b"\\" in quoted:
            return b" E'" + quoted.replace(b"\\", b"\\\\") + b"'"
        return b"'" + quoted + b"'"


@contextmanager
def caught(databases: tuple[Postgres, ...]) -> Iterator[None]:
    """Psycopg's connections ask the lab while the context lasts. Nothing is imported if the application has no psycopg."""
    if not databases or "psycopg" not in sys.modules:
        yield
        return
    with replaced({**_connecting(databases), **_waiting(), **_adapting()}):
        yield


def _connecting(databases: tuple[Postgres, ...]) -> dict[tuple[Any, str], Any]:
    """A connection has the lab's libpq, and no name is looked up for it."""
    from psycopg import connection, connection_async
    from psycopg._connection_base import BaseConnection
    from psycopg._preparing import Prepare, PrepareManager

    class Unprepared(PrepareManager):
        """Statements are not prepared: the server would answer the same."""

        def get(self, *_: Any, **__: Any) -> tuple[Any, bytes]:
            return Prepare.NO, b""

    def connect(kind: Any, conninfo: str = "") -> Any:
        attempt = attributed("psycopg.connect")
        made = kind(Pgconn(attempt, chosen(databases, conninfo)))
        made._prepared = Unprepared()  # noqa: SLF001  (a statement that is prepared would be asked for twice)
        yield from ()
        return made

    def attempts(params: Any) -> list[Any]:
        return [params]

    async def attempts_async(params: Any) -> list[Any]:
        return [params]

    return {
        (BaseConnection, "_connect_gen"): classmethod(connect),
        (connection, "conninfo_attempts"): attempts,
        (connection_async, "conninfo_attempts_async"): attempts_async,
    }


def _waiting() -> dict[tuple[Any, str], Any]:
    """A connection of the lab waits for nothing: what it sent is answered already."""
    import psycopg
    from psycopg import _cursor_base, generators
    from psycopg._pipeline_base import BasePipeline

    real_execute: Any = generators.execute
    real_wait: Any = psycopg.Connection.wait
    real_wait_async: Any = psycopg.AsyncConnection.wait

    def execute(pgconn: Any) -> Any:
        if not isinstance(pgconn, Pgconn):
            return (yield from real_execute(pgconn))
        return pgconn.results

    def wait(self: Any, gen: Any, interval: float = 0.0) -> Any:
        return _driven(gen) if isinstance(self.pgconn, Pgconn) else real_wait(self, gen, interval)

    async def wait_async(self: Any, gen: Any, interval: float = 0.0) -> Any:
        if not isinstance(self.pgconn, Pgconn):
            return await real_wait_async(self, gen, interval)
        await tasks.settle(attributed("psycopg"))
        return _driven(gen)

    return {
        (psycopg.Connection, "wait"): wait,
        (psycopg.AsyncConnection, "wait"): wait_async,
        (_cursor_base, "execute"): execute,
        (generators, "execute"): execute,
        (BasePipeline, "is_supported"): classmethod(lambda _: False),
    }


def _adapting() -> dict[tuple[Any, str], Any]:
    """Values are adapted as without a connection: in C, a connection must be libpq's."""
    from psycopg import adapt, sql
    from psycopg._py_transformer import Transformer as Plain

    class Transformer(Plain):
        """Adapts without a connection."""

        @property
        def connection(self) -> None:
            return None

    real_escaping: Any = vars(sql)["Escaping"]
    real_transformer: Any = adapt.Transformer

    def escaping(conn: Any = None) -> Any:
        return Escaping() if isinstance(conn, Pgconn) else real_escaping(conn)

    def transformer(context: Any = None) -> Any:
        connection = getattr(context, "connection", None)
        ours = isinstance(getattr(connection, "pgconn", None), Pgconn)
        return Transformer(context) if ours else real_transformer(context)

    return {(sql, "Escaping"): escaping, (adapt, "Transformer"): transformer}


def _driven(gen: Any) -> Any:
    """Run a generator of psycopg to its end. It waits for nothing: the lab has answered already."""
    try:
        while True:
            next(gen)
    except StopIteration as done:
        return done.value
