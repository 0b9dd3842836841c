"""Transaction steps on Django's ORM: `def` steps in `transaction.atomic`, and the body gets the connection.

    @troth.transaction(via=DjangoSource(using="default"))
    def reserve(connection: BaseDatabaseWrapper, article: str) -> int:
        return Stock.objects.filter(article=article).update(...)

What the ORM writes to the database *using* commits with the journal entry. That must be the database of troth's schema,
through psycopg 3. Use it by its name in `troth.integrations.django`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.transaction import TransactionManagementError
from django.db.utils import Error as DjangoDatabaseError

from troth.base.errors import UsageError
from troth.store.failure import Failure
from troth.store.isolation import level
from troth.store.sources import ENDED, BlockingFetchedRows, own_failure
from troth.store.tx import BlockingRows, BlockingTx, Params


def tx(connection: BaseDatabaseWrapper) -> BlockingTx:
    """The connection's `atomic` block, for everything that takes a `BlockingTx`. Raises `UsageError` if there is none."""
    if not connection.in_atomic_block:
        raise UsageError("this connection of Django's is in no transaction: use transaction.atomic")
    return _Tx(connection)


class DjangoSource:
    """Transactions of Django's database *using*, on the connection of the thread in which a step runs."""

    def __init__(self, using: str = "default") -> None:
        self._using = using

    def __repr__(self) -> str:
        return f"DjangoSource({self._using!r})"

    @contextmanager
    def open_blocking(self, isolation: str) -> Iterator[_Opened]:
        """A durable `atomic` block; connections are kept and closed as between two requests."""
        wrapper = connections[self._using]
        wrapper.close_if_unusable_or_obsolete()
        try:
            with _at_level(wrapper, isolation), transaction.atomic(self._using, durable=True):
                try:
                    yield _Opened(wrapper)
                except TransactionManagementError as error:
                    forbidden = "forbidden when an 'atomic'" in str(error)
                    raise UsageError(ENDED) if forbidden else error from error
        finally:
            wrapper.close_if_unusable_or_obsolete()

    def failure(self, error: Exception) -> Failure | None:
        """By the driver's error, which Django wraps."""
        if isinstance(error, DjangoDatabaseError):
            cause = error.__cause__
            told = own_failure(cause) if isinstance(cause, Exception) else None
            return told or Failure.DATA
        return own_failure(error)


class _Opened:
    __slots__ = ("handle", "session", "tx")

    def __init__(self, wrapper: BaseDatabaseWrapper) -> None:
        self.handle = wrapper
        self.tx = _Tx(wrapper)
        self.session: None = None

    def finish(self, query: LiteralString, params: Params) -> object:
        raw = self.handle.connection
        if self.handle.needs_rollback or raw is None or raw.pgconn.transaction_status == 0:
            raise UsageError(ENDED)
        return self.tx.execute(query, params)


class _Tx:
    """Statements on psycopg's connection inside Django's, so that its parameters and rows are psycopg's."""

    __slots__ = ("_wrapper",)

    def __init__(self, wrapper: BaseDatabaseWrapper) -> None:
        self._wrapper = wrapper

    def execute(self, query: LiteralString, params: Params | None = None) -> BlockingRows:
        values = params if params is None or isinstance(params, Mapping) else tuple(params)
        with self._wrapper.wrap_database_errors:
            cursor: Any = self._wrapper.connection.execute(query, values)
            if cursor.description is None:
                return BlockingFetchedRows([], [], cursor.rowcount)
            oids = [column.type_code for column in cursor.description]
            return BlockingFetchedRows(cursor.fetchall(), oids, cursor.rowcount)


@contextmanager
def _at_level(wrapper: BaseDatabaseWrapper, isolation: str) -> Iterator[None]:
    wrapper.ensure_connection()
    raw = wrapper.connection
    if not hasattr(raw, "pgconn"):
        raise UsageError(f"the database {wrapper.alias!r} is not PostgreSQL through psycopg 3")
    if wrapper.in_atomic_block:
        raise UsageError(
            "a transaction step begins a transaction of its own: this thread is in an atomic block"
        )
    before = raw.isolation_level
    raw.isolation_level = level(isolation)
    try:
        yield
    finally:
        if not raw.closed:
            raw.isolation_level = before
