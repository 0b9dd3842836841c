"""How the console reaches the database: a few connections of its own, opened when the first question comes.

A question is read in one snapshot that cannot write and ends after a time. An act is one transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

from troth.app import Troth
from troth.base.telemetry import Telemetry
from troth.command.store import give_up_early
from troth.console.model import BusyError, OutOfReachError, TooSlowError
from troth.store.connect import AsyncConnection, AsyncPool, Database, place, pool_async
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.isolation import transaction_async
from troth.store.migrate import migrate, require_schema
from troth.store.parts import Part
from troth.store.tx import Tx
from troth.view import store as view

CONNECTIONS = 8
_PATIENCE_S = 4.0  # for a connection
_ENDED_BY_SERVER = "57014"  # PostgreSQL documentation, appendix A: query_canceled


class Reach:
    """The database of one Troth. *limit_s*: how long one question may take."""

    def __init__(self, troth: Troth, limit_s: float) -> None:
        self.limit_s = limit_s
        self._troth = troth
        self._lock = asyncio.Lock()
        self._database: Database | None = None
        self._pool: AsyncPool | None = None

    @property
    def schema(self) -> str:
        """Where troth keeps its tables."""
        return self._troth.schema

    @property
    def telemetry(self) -> Telemetry:
        """Whom to tell of what people do."""
        return self._troth.telemetry

    @property
    def parts(self) -> Sequence[Part]:
        """What the program has included: its machines, among others."""
        return self._troth.parts

    async def open(self) -> AsyncPool:
        """Find the database and see that its schema fits; again it does nothing.

        Raises `OutOfReachError` and `SchemaError`.
        """
        async with self._lock:
            if self._pool is not None:
                return self._pool
            database = await asyncio.to_thread(
                Database.find, self._troth.url, self._troth.directory
            )
            pool = pool_async(database.url, 0, CONNECTIONS)
            try:
                if database.origin == "embedded":
                    await asyncio.to_thread(migrate, database.url, self.schema)
                await pool.open()
                with _worded(self.limit_s):
                    async with pool.connection(_PATIENCE_S) as connection:
                        await require_schema(connection, self.schema)
            except BaseException:
                await pool.close()
                await asyncio.to_thread(database.close)
                raise
            self._database, self._pool = database, pool
            return pool

    async def close(self) -> None:
        """Give everything back."""
        async with self._lock:
            pool, self._pool = self._pool, None
            database, self._database = self._database, None
            if pool is not None:
                await pool.close()
            if database is not None:
                await asyncio.to_thread(database.close)

    @property
    def url(self) -> str:
        """Of the database, once it is open; it may carry a password."""
        assert self._database is not None
        return self._database.url

    @property
    def place(self) -> str:
        """Where the database is, for people."""
        return place(self._database.url) if self._database else "not found yet"

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection]:
        """A connection in autocommit mode. Raises `OutOfReachError`, and `TooSlowError` for what its user does with it."""
        pool = await self.open()
        with _worded(self.limit_s):
            async with pool.connection(_PATIENCE_S) as connection:
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Tx]:
        """One snapshot to read in. Raises `OutOfReachError` and `TooSlowError`."""
        async with (
            self.connection() as connection,
            view.reading(connection, self.schema, self.limit_s) as tx,
        ):
            yield tx

    @asynccontextmanager
    async def acting(self) -> AsyncIterator[Tx]:
        """One transaction to act in. It does not wait for others for long: raises `BusyError`, and `OutOfReachError`."""
        async with (
            self.connection() as connection,
            transaction_async(connection, "read committed"),
        ):
            await give_up_early(connection, self.schema)
            yield connection


@contextmanager
def _worded(limit_s: float) -> Iterator[None]:
    """What the database says when it has no time or is not there, as what the console says then."""
    try:
        yield
    except DatabaseError as error:
        if getattr(error, "sqlstate", None) == _ENDED_BY_SERVER:
            raise TooSlowError(limit_s) from error
        if failure_of(error) in {Failure.AGAIN, Failure.CONFLICT}:
            raise BusyError(
                "somebody else has this in hand at the moment, so nothing was done: do it again"
            ) from error
        if failure_of(error) is Failure.LOST:
            raise OutOfReachError(" ".join(str(error).split())) from error
        raise
