"""Transaction steps on SQLAlchemy 2.1: the body gets a session or a connection in an open transaction.

    engine = create_async_engine("postgresql+psycopg://…")        # or postgresql+asyncpg
    shop = SQLAlchemySource(engine)                               # an Engine serves `def` steps

    @troth.transaction(via=shop)
    async def reserve(session: AsyncSession, article: str) -> int: ...

The engine must lead to the database of troth's schema, and its role must be allowed to use that schema. Needs the extra
`troth[sqlalchemy]`, and the driver.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Generic, LiteralString, TypeVar, cast, overload

try:
    from sqlalchemy import Connection, CursorResult, Engine, event, exc
    from sqlalchemy.ext.asyncio import (
        AsyncConnection,
        AsyncEngine,
        AsyncSession,
        async_sessionmaker,
    )
    from sqlalchemy.orm import Session, sessionmaker
except ImportError as missing:
    raise ImportError("SQLAlchemy is not installed: pip install 'troth[sqlalchemy]'") from missing

from troth.base.errors import UsageError
from troth.store.failure import Failure
from troth.store.sources import (
    ENDED,
    AsyncRows,
    BlockingFetchedRows,
    BlockingSource,
    Source,
    numbered,
    own_failure,
    state_failure,
)
from troth.store.tx import BlockingRows, BlockingTx, Params, Rows, Tx

__all__ = ["SQLAlchemyConnections", "SQLAlchemySource", "blocking_tx", "tx"]

AS = TypeVar("AS", bound=AsyncSession)
S = TypeVar("S", bound=Session)

_DRIVERS = {"psycopg", "psycopg_async", "asyncpg"}


@overload
def SQLAlchemySource(engine: AsyncEngine) -> Source[AsyncSession]: ...
@overload
def SQLAlchemySource(engine: async_sessionmaker[AS]) -> Source[AS]: ...
@overload
def SQLAlchemySource(engine: Engine) -> BlockingSource[Session]: ...
@overload
def SQLAlchemySource(engine: sessionmaker[S]) -> BlockingSource[S]: ...
def SQLAlchemySource(engine: Any) -> Any:  # noqa: N802  (made like an object of a class)
    """Sessions of an engine, or of a session maker: an async one serves `async def` steps, the other `def` steps.

    A session is closed for good after its step. Raises `UsageError` for another driver than psycopg and asyncpg.
    """
    maker: Any = engine
    if isinstance(engine, AsyncEngine):
        maker = async_sessionmaker(engine, expire_on_commit=False)
    elif isinstance(engine, Engine):
        maker = sessionmaker(engine, expire_on_commit=False)
    bind = maker.kw.get("bind")
    if bind is not None:
        _require_driver(bind)
    if isinstance(maker, async_sessionmaker):
        return _AsyncSessions(maker)
    return _Sessions(maker)


@overload
def SQLAlchemyConnections(engine: AsyncEngine) -> Source[AsyncConnection]: ...
@overload
def SQLAlchemyConnections(engine: Engine) -> BlockingSource[Connection]: ...
def SQLAlchemyConnections(engine: AsyncEngine | Engine) -> Any:  # noqa: N802  (see above)
    """Connections of an engine, for those who use SQLAlchemy without its ORM. Raises `UsageError` as above."""
    _require_driver(engine)
    if isinstance(engine, AsyncEngine):
        return _AsyncConnections(engine)
    return _Connections(engine)


async def tx(handle: AsyncSession | AsyncConnection) -> Tx:
    """The handle's transaction, for `troth.start(tx=…)` and everything else that takes a `Tx`; begun if need be."""
    connection = handle if isinstance(handle, AsyncConnection) else await handle.connection()
    _require_driver(connection)
    return _AsyncTx(connection)


def blocking_tx(handle: Session | Connection) -> BlockingTx:
    """The handle's transaction, for everything that takes a `BlockingTx`; begun if need be."""
    connection = handle if isinstance(handle, Connection) else handle.connection()
    _require_driver(connection)
    return _Tx(connection)


def failure(error: Exception) -> Failure | None:
    """What an exception says of the transaction that it ended."""
    if isinstance(error, exc.TimeoutError):  # no connection of the pool was free
        return Failure.LOST
    if isinstance(error, exc.DBAPIError):
        if error.connection_invalidated:
            return Failure.LOST
        state = getattr(error.orig, "sqlstate", None)
        if state is None:
            return Failure.LOST if isinstance(error, exc.OperationalError) else Failure.DATA
        return state_failure(state)
    return own_failure(error)


def _require_driver(bind: Any) -> None:
    dialect = bind.dialect
    if dialect.name != "postgresql" or dialect.driver not in _DRIVERS:
        msg = (
            f"{dialect.name}+{dialect.driver} cannot commit together with troth's journal: use an engine of "
            "postgresql+psycopg or postgresql+asyncpg"
        )
        raise UsageError(msg)


class _Guard:
    """Keeps the body of a step from ending the transaction: troth does, when the entry is in it."""

    __slots__ = ("_connection", "_ended", "_finishing")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ended = False
        self._finishing = False
        event.listen(connection, "commit", self._commits)
        event.listen(connection, "rollback", self._rolls_back)

    def _commits(self, connection: Connection) -> None:
        if not self._finishing:
            self._ended = True
            # SQLAlchemy counts the transaction as ended, and would put the connection back with it.
            connection.connection.rollback()
            raise UsageError(ENDED)

    def _rolls_back(self, _connection: Connection) -> None:
        self._ended = True

    def require_open(self) -> None:
        """Before the last statement. Raises `UsageError` if the body has ended the transaction, by whatever means."""
        if self._ended or not _in_transaction(self._connection):
            raise UsageError(ENDED)
        self._finishing = True


def _in_transaction(connection: Connection) -> bool:
    """As the server sees it: a COMMIT in SQL is seen, too."""
    driver = cast("Any", connection.connection.driver_connection)
    if hasattr(driver, "is_in_transaction"):  # asyncpg
        return bool(driver.is_in_transaction())
    return driver is not None and driver.pgconn.transaction_status != 0


# Coroutines -----------------------------------------------------------------------------------------------------------

H = TypeVar("H")


class _AsyncOpened(Generic[H]):
    __slots__ = ("_guard", "handle", "session", "tx")

    def __init__(self, handle: H, connection: AsyncConnection) -> None:
        assert connection.sync_connection is not None
        self._guard = _Guard(connection.sync_connection)
        self.handle = handle
        self.tx = _AsyncTx(connection)
        self.session: None = None  # a pool's events may reset it

    async def finish(self, query: LiteralString, params: Params) -> object:
        if isinstance(self.handle, AsyncSession):
            await self.handle.flush()
        self._guard.require_open()
        return await self.tx.execute(query, params)


class _AsyncSessions:
    def __init__(self, maker: async_sessionmaker[Any]) -> None:
        self._maker = maker

    def __repr__(self) -> str:
        return "SQLAlchemySource(…)"

    @asynccontextmanager
    async def open(self, isolation: str) -> AsyncIterator[_AsyncOpened[AsyncSession]]:
        async with self._maker(close_resets_only=False) as session:
            connection = await session.connection(execution_options=_level(isolation))
            yield _AsyncOpened(session, connection)
            await session.commit()

    failure = staticmethod(failure)


class _AsyncConnections:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    def __repr__(self) -> str:
        return "SQLAlchemyConnections(…)"

    @asynccontextmanager
    async def open(self, isolation: str) -> AsyncIterator[_AsyncOpened[AsyncConnection]]:
        async with self._engine.connect() as connection:
            await connection.execution_options(**_level(isolation))
            await connection.begin()
            yield _AsyncOpened(connection, connection)
            await connection.commit()

    failure = staticmethod(failure)


class _AsyncTx:
    __slots__ = ("_connection", "_dollar")

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._dollar = connection.dialect.driver == "asyncpg"

    async def execute(self, query: LiteralString, params: Params | None = None) -> Rows:
        text, values, options = _asked(query, params, dollar=self._dollar)
        result = await self._connection.exec_driver_sql(text, values, options)
        return AsyncRows(*_fetched(result))


# Threads --------------------------------------------------------------------------------------------------------------


class _Opened(Generic[H]):
    __slots__ = ("_guard", "handle", "session", "tx")

    def __init__(self, handle: H, connection: Connection) -> None:
        self._guard = _Guard(connection)
        self.handle = handle
        self.tx = _Tx(connection)
        self.session: None = None

    def finish(self, query: LiteralString, params: Params) -> object:
        if isinstance(self.handle, Session):
            self.handle.flush()
        self._guard.require_open()
        return self.tx.execute(query, params)


class _Sessions:
    def __init__(self, maker: sessionmaker[Any]) -> None:
        self._maker = maker

    def __repr__(self) -> str:
        return "SQLAlchemySource(…)"

    @contextmanager
    def open_blocking(self, isolation: str) -> Iterator[_Opened[Session]]:
        with self._maker(close_resets_only=False) as session:
            connection = session.connection(execution_options=_level(isolation))
            yield _Opened(session, connection)
            session.commit()

    failure = staticmethod(failure)


class _Connections:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __repr__(self) -> str:
        return "SQLAlchemyConnections(…)"

    @contextmanager
    def open_blocking(self, isolation: str) -> Iterator[_Opened[Connection]]:
        with self._engine.connect() as connection:
            connection.execution_options(**_level(isolation))
            connection.begin()
            yield _Opened(connection, connection)
            connection.commit()

    failure = staticmethod(failure)


class _Tx:
    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def execute(self, query: LiteralString, params: Params | None = None) -> BlockingRows:
        text, values, options = _asked(query, params, dollar=False)
        result = self._connection.exec_driver_sql(text, values, options)
        return BlockingFetchedRows(*_fetched(result))


def _level(isolation: str) -> dict[str, Any]:
    return {"isolation_level": isolation.upper()}


def _asked(query: str, params: Params | None, *, dollar: bool) -> tuple[str, Any, Any]:
    if params is None:
        return query, None, {"no_parameters": True}
    if dollar:
        text, values = numbered(query, params)
        return text, values, None
    return query, dict(params) if isinstance(params, Mapping) else tuple(params), None


def _fetched(result: CursorResult[Any]) -> tuple[list[Any], list[Any], int]:
    if not result.returns_rows:
        return [], [], result.rowcount
    oids = [column[1] for column in result.cursor.description or ()]
    rows = list(result.fetchall())
    return rows, oids, len(rows)
