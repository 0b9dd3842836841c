"""psycopg 3, sync and async: the driver is the real one, on a connection of libpq that asks the lab.

Everything above libpq runs as it is (adaptation, rows, transactions, context managers); below it there is no server. Results are the
server's bytes, so they are loaded as the driver loads them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from troth.lab.edge import clock, tasks
from troth.lab.edge.attempt import Attempt, attributed
from troth.lab.edge.patch import replaced
from troth.lab.model import Observation, Op
from troth.lab.postgres_rules import defines, reads_clock

if TYPE_CHECKING:
    from troth.lab.postgres import Postgres

_IDLE, _INTRANS, _INERROR, _UNKNOWN = 0, 2, 3, 4
_STATUS = {"I": _IDLE, "T": _INTRANS, "E": _INERROR, "BAD": _UNKNOWN}
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
        self.status = _OK
        self.transaction_status = _IDLE
        self.notice_handler: Any = None
        self.notify_handler: Any = None
        self.results: list[Result] = []
        self._database = database
        self._handle = next(attempt.handles)
        self._begin = ""
        attempt.kept.append(self._forget)
        observed = self._ask("connect")
        if observed.error:
            import psycopg

            raise psycopg.OperationalError("connection failed: connection refused")

    @property
    def backend_pid(self) -> int:
        self.attempt.refuse("the process id of a connection is not the same again")

    def parameter_status(self, name: bytes) -> bytes | None:
        return {b"client_encoding": b"UTF8", b"TimeZone": b"UTC", b"server_version": b"15"}.get(
            name
        )

    def send_query(self, command: bytes) -> None:
        text = command.decode()
        head = text.strip().upper()
        if head.startswith("BEGIN") and self.transaction_status == _IDLE:
            self._begin, self.transaction_status = text, _INTRANS
            self.results = [Result(Observation(("T", "BEGIN", False, (), ())))]
        elif head in {"COMMIT", "ROLLBACK"}:
            self._end(head)
        else:
            self._statement(text, None, (), (), binary=False)

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
        self._statement(
            command.decode(), plain, tuple(param_types or ()), formats, binary=bool(result_format)
        )

    def finish(self) -> None:
        if self.status == _OK and self.attempt.refused is None:
            self._ask("close")
        self.status, self.transaction_status = _BAD, _UNKNOWN

    def _forget(self) -> None:
        """When the attempt is over, so is its connection, closed or not."""
        self.status = _BAD

    def enter_pipeline_mode(self) -> None:
        self.attempt.refuse("psycopg's pipeline mode is not explored")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.attempt.refuse(f"psycopg asks libpq for {name!r}, which the lab does not have")

    def _end(self, head: str) -> None:
        if self._begin:  # nothing has been sent yet
            self._begin, self.transaction_status = "", _IDLE
            self.results = [Result(Observation(("I", head, False, (), ())))]
            return
        self._take(self._ask("commit" if head == "COMMIT" else "rollback"))

    def _statement(self, text: str, values: Any, types: Any, formats: Any, *, binary: bool) -> None:
        if defines(text) and self.attempt.ordered:
            self.attempt.refuse(
                f"an attempt changes the schema: {text!r}; create it with lab.database(migrate=…)"
            )
        if self._database.schema_reads_clock or reads_clock(text):
            clock.tick(self.attempt)
        inside = self.transaction_status != _IDLE
        begin, self._begin = self._begin, ""
        self._take(self._ask("sql", text, (values, types, formats, binary, inside, begin)))

    def _ask(self, kind: Any, text: str = "", params: tuple[Any, ...] = ()) -> Observation:
        attempt = attributed(f"{kind} on {self._database.name}")
        if attempt is not self.attempt:
            attempt.refuse(
                "a connection that was opened by an earlier attempt is used again; "
                "connections kept between attempts are not explored yet"
            )
        return attempt.ask(Op(kind, self._database.name, text, params, self._handle))

    def _take(self, observed: Observation) -> None:
        if observed.error == "lost":
            import psycopg

            self.status, self.transaction_status = _BAD, _UNKNOWN
            raise psycopg.OperationalError(str(observed.value[1]))
        if observed.error != "refused" or self.transaction_status != _IDLE:
            self.transaction_status = _STATUS[observed.value[0]]
        self.results = [Result(observed)]


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
        made = kind(Pgconn(attempt, _chosen(databases, conninfo)))
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


def _chosen(databases: tuple[Postgres, ...], conninfo: str) -> Postgres:
    return next((one for one in databases if one.name in conninfo), databases[0])


def _driven(gen: Any) -> Any:
    """Run a generator of psycopg to its end. It waits for nothing: the lab has answered already."""
    try:
        while True:
            next(gen)
    except StopIteration as done:
        return done.value
