"""What a transaction step is given: the smallest part of a database handle that troth relies on.

psycopg's connections are such handles as they are; adapters give the same shape to handles of
other libraries. Whoever has a `Tx` executes statements in the transaction that troth commits, and
does not commit or roll back itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, LiteralString, Protocol

Row = tuple[Any, ...]
Params = Sequence[Any] | Mapping[str, Any]


class Rows(Protocol):
    """The result of one statement."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement returned or touched."""

    async def fetchone(self) -> Row | None:
        """The next row, or None after the last."""

    async def fetchall(self) -> list[Row]:
        """All rows that are left."""

    def __aiter__(self) -> AsyncIterator[Row]:
        """The rows that are left, one by one."""


class Tx(Protocol):
    """An open transaction, from a coroutine."""

    async def execute(self, query: LiteralString, params: Params | None = None) -> Rows:
        """Run one statement; parameters are written `%s` or `%(name)s`."""


class BlockingRows(Protocol):
    """The result of one statement, from a thread."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement returned or touched."""

    def fetchone(self) -> Row | None:
        """The next row, or None after the last."""

    def fetchall(self) -> list[Row]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Row]:
        """The rows that are left, one by one."""


class BlockingTx(Protocol):
    """An open transaction, from a thread."""

    def execute(self, query: LiteralString, params: Params | None = None) -> BlockingRows:
        """Run one statement; parameters are written `%s` or `%(name)s`."""
