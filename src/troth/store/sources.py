"""Where a transaction step's transaction comes from: troth's own pool, or a handle of the user's library.

A *source* opens transactions at a stated isolation level. Leaving one commits it, an exception rolls it back. troth adds
the journal entry as the last statement before COMMIT, so whatever the library still holds back is sent before that. What
an exception means for a transaction, only the source can tell, since each library wraps the server's errors in its own way.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, LiteralString, Protocol, TypeVar

from psycopg import ProgrammingError
from psycopg.pq import TransactionStatus

from troth.base.errors import UsageError
from troth.store.connect import AsyncConnection, AsyncPool, BlockingConnection, BlockingPool
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.isolation import transaction_async, transaction_blocking
from troth.store.tx import BlockingTx, Params, Row, Tx

H_co = TypeVar("H_co", covariant=True)

ENDED = (
    "the body of a transaction step has ended the transaction itself. troth commits it, together with the journal entry, "
    "when the body returns, and rolls it back when the body raises: remove the commit or rollback, and use savepoints for "
    "what may fail"
)


class Opened(Protocol[H_co]):
    """An open transaction, in a coroutine."""

    @property
    def handle(self) -> H_co:
        """What the body of the step gets."""

    @property
    def tx(self) -> Tx:
        """The same transaction, for troth."""

    @property
    def session(self) -> object | None:
        """The server's session, if it keeps what was set in it for as long as this object lives."""

    def finish(self, query: LiteralString, params: Params) -> Awaitable[object]:
        """Send what is held back, and then the last statement. Raises `UsageError` if the body has ended the transaction."""


class Source(Protocol[H_co]):
    """Opens transactions for `async def` steps."""

    def open(self, isolation: str) -> AbstractAsyncContextManager[Opened[H_co]]:
        """A transaction: committed on leaving, rolled back by an exception."""

    def failure(self, error: Exception) -> Failure | None:
        """What an exception says of the transaction that it ended. None: nothing, it is the body's own."""


class BlockingOpened(Protocol[H_co]):
    """An open transaction, in a thread."""

    @property
    def handle(self) -> H_co:
        """What the body of the step gets."""

    @property
    def tx(self) -> BlockingTx:
        """The same transaction, for troth."""

    @property
    def session(self) -> object | None:
        """The server's session, if it keeps what was set in it for as long as this object lives."""

    def finish(self, query: LiteralString, params: Params) -> object:
        """Send what is held back, and then the last statement. Raises `UsageError` if the body has ended the transaction."""


class BlockingSource(Protocol[H_co]):
    """Opens transactions for `def` steps, in the thread that asks."""

    def open_blocking(self, isolation: str) -> AbstractContextManager[BlockingOpened[H_co]]:
        """A transaction: committed on leaving, rolled back by an exception."""

    def failure(self, error: Exception) -> Failure | None:
        """What an exception says of the transaction that it ended. None: nothing, it is the body's own."""


# troth's own pools ----------------------------------------------------------------------------------------------------


class _Own:
    """A psycopg connection is the handle, the `Tx` and the session at once."""

    __slots__ = ("handle", "session", "tx")

    def __init__(self, connection: AsyncConnection) -> None:
        self.handle = self.tx = self.session = connection

    def finish(self, query: LiteralString, params: Params) -> Awaitable[object]:
        if self.handle.pgconn.transaction_status == TransactionStatus.IDLE:
            raise UsageError(ENDED)
        return self.handle.execute(query, params)


class _OwnBlocking:
    __slots__ = ("handle", "session", "tx")

    def __init__(self, connection: BlockingConnection) -> None:
        self.handle = self.tx = self.session = connection

    def finish(self, query: LiteralString, params: Params) -> object:
        if self.handle.pgconn.transaction_status == TransactionStatus.IDLE:
            raise UsageError(ENDED)
        return self.handle.execute(query, params)


class OwnSource:
    """The pool of a worker."""

    def __init__(self, pool: AsyncPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def open(self, isolation: str) -> AsyncIterator[_Own]:
        """A transaction on a connection of the pool."""
        async with self._pool.connection() as connection, transaction_async(connection, isolation):
            try:
                yield _Own(connection)
            except ProgrammingError as error:
                raise _told(error) from error

    def failure(self, error: Exception) -> Failure | None:
        """By SQLSTATE."""
        return own_failure(error)


class OwnBlockingSource:
    """The pool of a worker's threads."""

    def __init__(self, pool: BlockingPool) -> None:
        self._pool = pool

    @contextmanager
    def open_blocking(self, isolation: str) -> Iterator[_OwnBlocking]:
        """A transaction on a connection of the pool."""
        with self._pool.connection() as connection, transaction_blocking(connection, isolation):
            try:
                yield _OwnBlocking(connection)
            except ProgrammingError as error:
                raise _told(error) from error

    def failure(self, error: Exception) -> Failure | None:
        """By SQLSTATE."""
        return own_failure(error)


def own_failure(error: Exception) -> Failure | None:
    """What an exception of psycopg, of its pool or of the network says of a transaction."""
    if isinstance(error, DatabaseError | StoreError | OSError):
        return failure_of(error)
    return None


def state_failure(state: str | None) -> Failure:
    """What an SQLSTATE says, whichever library reports it. A server without room for a connection is tried again."""
    if state == "53300":
        return Failure.LOST
    return failure_of(_State(state))


class _State(Exception):
    def __init__(self, state: str | None) -> None:
        self.sqlstate = state


def _told(error: ProgrammingError) -> Exception:
    """Psycopg forbids `commit()` and `rollback()` inside its transaction blocks; say what to do instead."""
    forbidden = error.sqlstate is None and str(error).startswith("Explicit ")
    return UsageError(ENDED) if forbidden else error


# For adapters ---------------------------------------------------------------------------------------------------------

_PLACEHOLDER = re.compile(r"%(?:%|\((\w+)\)s|s)")
_JSON_OIDS = frozenset({114, 3802})  # json, jsonb


@functools.lru_cache(maxsize=512)
def _numbered(query: str) -> tuple[str, tuple[str | None, ...]]:
    """*query* with `$1`, `$2` … for `%s` and `%(name)s`; which parameter each number stands for (None: the next one)."""
    names: list[str | None] = []

    def number(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        name = found[1]
        if name is not None and name in names:
            return f"${names.index(name) + 1}"
        names.append(name)
        return f"${len(names)}"

    return _PLACEHOLDER.sub(number, query), tuple(names)


def numbered(query: str, params: Params | None) -> tuple[str, tuple[Any, ...]]:
    """A statement as PostgreSQL itself takes it, and its parameters in that order. Raises `UsageError` if they do not fit."""
    if params is None:
        return query, ()
    text, names = _numbered(query)
    if isinstance(params, Mapping):
        try:
            return text, tuple(params[name] for name in names if name is not None)
        except KeyError as missing:
            msg = f"the statement has a parameter {missing} that was not given"
            raise UsageError(msg) from None
    if len(params) != len(names):
        msg = f"the statement has {len(names)} parameters, and {len(params)} were given"
        raise UsageError(msg)
    return text, tuple(params)


class FetchedRows:
    """Rows that a library has fetched already, as troth reads them: tuples, with JSON decoded."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: Sequence[Sequence[Any]], oids: Sequence[int], rowcount: int) -> None:
        json_columns = [n for n, oid in enumerate(oids) if oid in _JSON_OIDS]
        self._rows: Iterator[Row] = iter([_decoded(row, json_columns) for row in rows])
        self.rowcount = rowcount

    def take(self) -> Row | None:
        """The next row, or None after the last."""
        return next(self._rows, None)

    def rest(self) -> list[Row]:
        """All rows that are left."""
        return list(self._rows)


class AsyncRows(FetchedRows):
    """For coroutines."""

    __slots__ = ()

    async def fetchone(self) -> Row | None:
        """The next row, or None after the last."""
        return self.take()

    async def fetchall(self) -> list[Row]:
        """All rows that are left."""
        return self.rest()

    async def __aiter__(self) -> AsyncIterator[Row]:
        for row in self._rows:
            yield row


class BlockingFetchedRows(FetchedRows):
    """For threads."""

    __slots__ = ()

    def fetchone(self) -> Row | None:
        """The next row, or None after the last."""
        return self.take()

    def fetchall(self) -> list[Row]:
        """All rows that are left."""
        return self.rest()

    def __iter__(self) -> Iterator[Row]:
        return self._rows


def _decoded(row: Sequence[Any], json_columns: Sequence[int]) -> Row:
    if not json_columns:
        return tuple(row)
    values = list(row)
    for column in json_columns:
        if isinstance(values[column], str):
            values[column] = json.loads(values[column])
    return tuple(values)
