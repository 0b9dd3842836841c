"""Transaction steps on asyncpg: the body gets an `asyncpg.Connection` in an open transaction.

    shop = AsyncpgSource(lambda: pool)

    @troth.transaction(via=shop)
    async def reserve(connection: asyncpg.Connection, article: str) -> int: ...

The pool must lead to the database of troth's schema, and its role must be allowed to use that schema. Needs the extra
`troth[asyncpg]`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal, LiteralString

try:
    import asyncpg
except ImportError as missing:
    raise ImportError("asyncpg is not installed: pip install 'troth[asyncpg]'") from missing

from troth.base.errors import UsageError
from troth.store.failure import Failure
from troth.store.sources import ENDED, AsyncRows, numbered, own_failure, state_failure
from troth.store.tx import Params, Rows, Tx

__all__ = ["AsyncpgSource", "tx"]

_Level = Literal["read_committed", "repeatable_read", "serializable"]
_LEVELS: Final[dict[str, _Level]] = {
    "read committed": "read_committed",
    "repeatable read": "repeatable_read",
    "serializable": "serializable",
}


def tx(connection: asyncpg.Connection) -> Tx:
    """The connection's open transaction, for `troth.start(tx=…)` and everything else that takes a `Tx`.

    Raises `UsageError` if it has none: each statement would then commit by itself.
    """
    if not connection.is_in_transaction():
        raise UsageError("this asyncpg connection is in no transaction: begin one first")
    return _Tx(connection)


class AsyncpgSource:
    """Transactions on connections of a pool. *pool*: the pool, or a function that gives the one of the running loop."""

    def __init__(self, pool: asyncpg.Pool | Callable[[], asyncpg.Pool]) -> None:
        self._pool = pool

    def __repr__(self) -> str:
        return "AsyncpgSource(…)"

    @asynccontextmanager
    async def open(self, isolation: str) -> AsyncIterator[_Opened]:
        """A transaction on a connection of the pool; waits until one is free."""
        pool = self._pool if isinstance(self._pool, asyncpg.Pool) else self._pool()
        async with (
            pool.acquire() as connection,
            connection.transaction(isolation=_LEVELS[isolation]),
        ):
            yield _Opened(connection)

    def failure(self, error: Exception) -> Failure | None:
        """By SQLSTATE; a connection that was closed under way has none."""
        if isinstance(error, asyncpg.PostgresError):
            return state_failure(error.sqlstate)
        if isinstance(error, asyncpg.InterfaceError) and "closed" in str(error):
            return Failure.LOST
        return own_failure(error)


class _Opened:
    __slots__ = ("handle", "session", "tx")

    def __init__(self, connection: Any) -> None:
        self.handle: asyncpg.Connection = connection
        self.session: None = (
            None  # asyncpg's pool resets sessions between two users, their locks included
        )
        self.tx = _Tx(connection)

    def finish(self, query: LiteralString, params: Params) -> Awaitable[object]:
        if not self.handle.is_in_transaction():
            raise UsageError(ENDED)
        return self.tx.execute(query, params)


class _Tx:
    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def execute(self, query: LiteralString, params: Params | None = None) -> Rows:
        text, values = numbered(query, params)
        statement = await self._connection.prepare(text)
        rows = await statement.fetch(*values)
        oids = [attribute.type.oid for attribute in statement.get_attributes()]
        said = statement.get_statusmsg() or ""  # "INSERT 0 1"
        count = said.rpartition(" ")[2]
        return AsyncRows(rows, oids, int(count) if count.isdecimal() else -1)
