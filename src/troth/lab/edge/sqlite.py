"""sqlite3: connections and cursors that ask the lab.

Both are subclasses of the real types over an empty database in memory, so that type checks, context managers and
`sqlite3.Row` work, and everything that could touch data is overridden; what is not known here refuses.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from types import TracebackType
from typing import Any, Literal, Self

from troth.lab.edge import clock
from troth.lab.edge.attempt import Attempt, attributed
from troth.lab.edge.patch import replaced
from troth.lab.model import Observation, Op
from troth.lab.sqlite import Sqlite, reads_clock, unfollowed

_real_connect = sqlite3.connect
_OPTIONS = ("detect_types", "isolation_level")
_CALLED = re.compile(r"\b(\w+)\s*\(|\b(regexp)\b", re.IGNORECASE)
_OF_THE_LIBRARY = re.compile(
    r"\s*select\s+sqlite_(compileoption_used|version)\s*\([^()]*\)\s*;?\s*$", re.IGNORECASE
)
"""What SQLite answers without a database."""
_PLACED = (
    "database",
    "timeout",
    "detect_types",
    "isolation_level",
    "check_same_thread",
    "factory",
    "cached_statements",
    "uri",
)


@contextmanager
def caught(databases: tuple[Sqlite, ...]) -> Iterator[None]:
    """`sqlite3.connect` asks the lab while the context lasts."""

    def connect(*positional: Any, **options: Any) -> sqlite3.Connection:
        given = dict(zip(_PLACED, positional, strict=False)) | options
        path = str(given["database"])
        if path in {"", ":memory:"}:
            made: sqlite3.Connection = _real_connect(*positional, **options)
            return made
        attempt = attributed(f"sqlite3.connect({path!r})")
        if given.get("uri"):
            path = path.removeprefix("file:").split("?")[0]
        if given.get("factory", sqlite3.Connection) is not sqlite3.Connection:
            attempt.refuse("sqlite3.connect(factory=…) is not supported")
        if "autocommit" in given:
            attempt.refuse("sqlite3.connect(autocommit=…) is not supported; isolation_level is")
        database = next((one for one in databases if one.opens(path)), None)
        if database is None:
            attempt.refuse(
                f"sqlite3.connect({path!r}): unknown here; declare it with lab.database()"
            )
        return Connection(attempt, database, {k: given[k] for k in _OPTIONS if k in given})

    with replaced({(sqlite3, "connect"): connect, (sqlite3.dbapi2, "connect"): connect}):
        yield


class Cursor(sqlite3.Cursor):
    """Rows that were observed, behind the interface of a cursor."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._connection = connection
        self._seen: tuple[Any, ...] = (None, (), -1, None)
        self._rows: Iterator[tuple[Any, ...]] = iter(())

    def execute(self, sql: str, parameters: Any = (), /) -> Cursor:
        return self._ask(sql, ("execute", _plain(self._connection.attempt, parameters)))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor:
        rows = tuple(_plain(self._connection.attempt, row) for row in parameters)
        return self._ask(sql, ("executemany", rows))

    def executescript(self, script: str, /) -> Cursor:
        return self._ask(script, ("executescript",))

    def _ask(self, sql: str, params: tuple[Any, ...]) -> Cursor:
        if _OF_THE_LIBRARY.match(sql):
            found = self._connection.in_memory(sql)
            self._seen, self._rows = (("answer",), found, -1, None), iter(found)
            return self
        before = self._seen[3]
        self._seen = self._connection.ask("sql", sql, params)
        if self._seen[3] is None:  # lastrowid stays what it was until the next INSERT
            self._seen = (*self._seen[:3], before)
        self._rows = iter(self._seen[1])
        return self

    @property
    def description(self) -> Any:
        columns = self._seen[0]
        return None if columns is None else tuple((name, *(None,) * 6) for name in columns)

    @property
    def rowcount(self) -> int:
        return int(self._seen[2])

    @property
    def lastrowid(self) -> int | None:
        found: int | None = self._seen[3]
        return found

    def __iter__(self) -> Cursor:
        return self

    def __next__(self) -> Any:
        row = next(self._rows)
        factory = self.row_factory
        if factory is None:
            return row
        if factory is sqlite3.Row:  # reads the names from the inside of a real cursor
            return sqlite3.Row(self._connection.named(self._seen[0]), row)
        return factory(self, row)

    def fetchone(self) -> Any:
        return next(self, None)

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        return [row for _, row in zip(range(size or self.arraysize), self, strict=False)]

    def fetchall(self) -> list[Any]:
        return list(self)


class Connection(sqlite3.Connection):
    """A connection whose database is a world of the lab."""

    def __init__(self, attempt: Attempt, database: Sqlite, options: dict[str, Any]) -> None:
        super().__init__(":memory:", check_same_thread=False)
        self.attempt = attempt
        self._database = database
        self._handle = next(attempt.handles)
        self._in_transaction = False
        self._open = True
        self._functions: set[str] = set()
        self._isolation_level = options.get("isolation_level", "")
        attempt.kept.append(super().close)
        self.ask("connect", "", tuple(options.items()))

    def ask(self, kind: Any, text: str = "", params: Any = ()) -> Any:
        """One operation; the observation, or its exception."""
        attempt = attributed(f"{kind} on {self._database.name}")
        if attempt is not self.attempt:
            attempt.refuse(
                "a connection that was opened by an earlier attempt is used again; "
                "connections kept between attempts are not explored yet"
            )
        if not self._open:
            raise sqlite3.ProgrammingError("Cannot operate on a closed database.")
        if kind == "sql" and self._functions and self._calls_one(text):
            attempt.refuse(f"{text!r}: functions of the application's own are not explored yet")
        if kind == "sql" and (why := unfollowed(text)):
            attempt.refuse(f"{text!r}: {why}")
        if kind == "sql" and (self._database.schema_reads_clock or reads_clock(text)):
            clock.tick(attempt)
        observed = attempt.ask(Op(kind, self._database.name, text, params, self._handle))
        if observed.error:
            raise self._error(observed)
        if isinstance(observed.value, tuple):
            self._in_transaction = bool(observed.value[4])
        else:
            self._in_transaction = bool(observed.value)
        return observed.value

    def _error(self, observed: Observation) -> sqlite3.Error:
        message, code, name, *in_transaction = observed.value
        self._in_transaction = bool(in_transaction[0]) if in_transaction else self._in_transaction
        error: sqlite3.Error = getattr(sqlite3, observed.error)(message)
        error.sqlite_errorcode, error.sqlite_errorname = code, name
        return error

    def in_memory(self, sql: str) -> tuple[Any, ...]:
        """The rows of a statement that needs no database."""
        return tuple(sqlite3.Cursor(self).execute(sql).fetchall())

    def named(self, columns: tuple[str, ...]) -> sqlite3.Cursor:
        """A real cursor with columns of these names."""
        names = ", ".join('NULL AS "{}"'.format(name.replace('"', '""')) for name in columns)
        return sqlite3.Cursor(self).execute(f"SELECT {names}")

    def cursor(self, factory: Any = None) -> Any:
        made = _cursors(factory or Cursor)(self)
        made.row_factory = self.row_factory
        return made

    def execute(self, *arguments: Any) -> Cursor:
        made: Cursor = self.cursor().execute(*arguments)
        return made

    def executemany(self, *arguments: Any) -> Cursor:
        made: Cursor = self.cursor().executemany(*arguments)
        return made

    def executescript(self, *arguments: Any) -> Cursor:
        made: Cursor = self.cursor().executescript(*arguments)
        return made

    def commit(self) -> None:
        if self._in_transaction:
            self.ask("commit")

    def rollback(self) -> None:
        if self._in_transaction:
            self.ask("rollback")

    def create_function(self, name: str, *_: Any, **__: Any) -> None:
        """SQLAlchemy and Django make many for every connection; as long as no statement asks for them, they may be missing."""
        self._functions.add(name.lower())

    create_aggregate = create_function

    def _calls_one(self, text: str) -> bool:
        return any((one[0] or one[1]).lower() in self._functions for one in _CALLED.findall(text))

    def close(self) -> None:
        if self._open and self.attempt.refused is None:
            self.ask("close")
        self._open = False
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:  # the real one commits in C, without calling commit()
        if kind is None:
            self.commit()
        else:
            self.rollback()
        return False

    @property
    def in_transaction(self) -> bool:
        return self._in_transaction

    @property
    def total_changes(self) -> int:
        self.attempt.refuse(
            "sqlite3.Connection.total_changes is not supported; a cursor's rowcount is"
        )

    @property
    def isolation_level(self) -> Any:
        return self._isolation_level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        self.ask("setting", "isolation_level", (level,))
        self._isolation_level = level


@cache
def _cursors(factory: type) -> Any:
    """The application's class of cursors, on top of the lab's."""
    return factory if issubclass(factory, Cursor) else type(factory.__name__, (factory, Cursor), {})


def _refusing(name: str) -> Any:
    def method(self: Connection, *_: Any, **__: Any) -> Any:
        self.attempt.refuse(f"sqlite3.Connection.{name} is not supported by the lab yet")

    return method


for _name in (
    "backup", "blobopen", "create_collation", "create_window_function", "deserialize",
    "enable_load_extension", "iterdump", "load_extension", "serialize", "set_authorizer", "set_progress_handler", "set_trace_callback",
):  # fmt: skip
    if hasattr(sqlite3.Connection, _name):
        setattr(Connection, _name, _refusing(_name))
for _name in ("autocommit", "text_factory"):  # setting them would only reach the empty database
    if hasattr(sqlite3.Connection, _name):
        setattr(Connection, _name, property(_refusing(_name), _refusing(_name)))


def _plain(attempt: Attempt, parameters: Any) -> Any:
    """Parameters as plain data, adapted as the driver would."""
    if isinstance(parameters, dict):
        return {str(name): _value(attempt, value) for name, value in parameters.items()}
    return tuple(_value(attempt, value) for value in parameters)


def _value(attempt: Attempt, value: Any) -> Any:
    if value is None or type(value) in {int, float, str, bytes}:
        return value
    for base in (bool, int, float, str):
        if isinstance(value, base):
            return int(value) if base is bool else base(value)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    try:
        return sqlite3.adapt(value, sqlite3.PrepareProtocol)
    except sqlite3.ProgrammingError:
        attempt.refuse(f"a parameter of type {type(value).__name__}: SQLite has no adapter for it")
