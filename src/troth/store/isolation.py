"""A transaction at a stated isolation level, on a connection in autocommit mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

from psycopg import IsolationLevel

from troth.store.connect import AsyncConnection, BlockingConnection

_LEVELS: Final = {
    "read committed": IsolationLevel.READ_COMMITTED,
    "repeatable read": IsolationLevel.REPEATABLE_READ,
    "serializable": IsolationLevel.SERIALIZABLE,
}


def level(name: str) -> IsolationLevel:
    """As psycopg names it."""
    return _LEVELS[name]


@asynccontextmanager
async def transaction_async(connection: AsyncConnection, level: str) -> AsyncIterator[None]:
    """Commit on leaving, roll back on an exception."""
    await connection.set_isolation_level(_LEVELS[level])
    async with connection.transaction():
        yield


@contextmanager
def transaction_blocking(connection: BlockingConnection, level: str) -> Iterator[None]:
    """Commit on leaving, roll back on an exception."""
    connection.isolation_level = _LEVELS[level]
    with connection.transaction():
        yield
