"""Which database, and how to connect to it.

An explicit URL wins over `TROTH_DATABASE_URL`, that over the `PG*` variables of libpq (if one of
them says where to go), and if nothing is said the project's embedded server is used.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self, TypeAlias

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from troth.base import settings
from troth.store.embedded import Embedded
from troth.store.errors import DatabaseUnavailable

AsyncConnection: TypeAlias = psycopg.AsyncConnection[TupleRow]
BlockingConnection: TypeAlias = psycopg.Connection[TupleRow]
AsyncPool: TypeAlias = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]
BlockingPool: TypeAlias = ConnectionPool[psycopg.Connection[TupleRow]]
Origin = Literal["argument", "TROTH_DATABASE_URL", "PG*", "embedded"]

# A black-holed network is noticed in under four seconds instead of never; after a failover, the
# host that may be written to is found. Each may be set by the user, in the URL or by its variable.
DEFAULTS: Mapping[str, tuple[str, str | None]] = {
    "connect_timeout": ("2", "PGCONNECT_TIMEOUT"),
    "keepalives_idle": ("2", None),
    "keepalives_interval": ("1", None),
    "keepalives_count": ("2", None),
    "tcp_user_timeout": ("3000", None),
    "application_name": ("troth", "PGAPPNAME"),
    "target_session_attrs": ("read-write", "PGTARGETSESSIONATTRS"),
}


def origin(url: str | None, environ: Mapping[str, str] = os.environ) -> Origin:
    """Who decides which database is used."""
    if url:
        return "argument"
    if environ.get("TROTH_DATABASE_URL"):
        return "TROTH_DATABASE_URL"
    if any(environ.get(name) for name in ("PGHOST", "PGDATABASE", "PGSERVICE")):
        return "PG*"
    return "embedded"


@dataclass(slots=True)
class Database:
    """A database that was found: its URL, who said so, and the claim that keeps it running.

    `url` may carry a password: show `place(url)` instead. Close it when the last connection is closed.
    """

    url: str = field(repr=False)
    origin: Origin
    _claim: Embedded | None = None

    @classmethod
    def find(cls, url: str | None = None, directory: Path | None = None) -> Self:
        """Find the database, starting the embedded one in `directory` (`TROTH_DIRECTORY`) if need be. Blocks.

        Raises `DatabaseUnavailable` if that does not start; a server elsewhere is not contacted.
        """
        match origin(url):
            case "argument":
                return cls(url or "", "argument")
            case "TROTH_DATABASE_URL":
                return cls(os.environ["TROTH_DATABASE_URL"], "TROTH_DATABASE_URL")
            case "PG*":
                return cls("", "PG*")  # libpq reads its variables itself
            case "embedded":
                claim = Embedded.acquire(directory or settings.read().directory)
                return cls(claim.url, "embedded", claim)

    def close(self) -> None:
        """Give up the claim on an embedded server."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def conninfo(url: str, environ: Mapping[str, str] = os.environ) -> str:
    """`url` for libpq, with the settings of `DEFAULTS` that the user has not made."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq quotes the part that it cannot read, which may be the password
        raise DatabaseUnavailable(
            "The database URL cannot be read: it should look like "
            "postgresql://user:password@host:5432/database, with %-escapes for special characters."
        ) from None
    missing = {
        name: value
        for name, (value, variable) in DEFAULTS.items()
        if name not in given and not (variable and environ.get(variable))
    }
    return make_conninfo(url, **missing)


def place(url: str) -> str:
    """Host, port and database of a URL, and no secrets: for messages and logs."""
    given = conninfo_to_dict(url)

    def part(name: str, variable: str, fallback: str) -> str:
        return str(given.get(name) or os.environ.get(variable) or fallback)

    host = part("host", "PGHOST", part("hostaddr", "PGHOSTADDR", "the local socket"))
    database = part("dbname", "PGDATABASE", part("user", "PGUSER", "the default one"))
    service = part("service", "PGSERVICE", "")
    suffix = f", service {service}" if service else ""
    return f"host {host}, port {part('port', 'PGPORT', '5432')}, database {database}{suffix}"


async def connect_async(url: str) -> psycopg.AsyncConnection[TupleRow]:
    """A new connection in autocommit mode; `DatabaseUnavailable` if there is none to be had."""
    settings = conninfo(url)
    try:
        connection = await psycopg.AsyncConnection.connect(settings, autocommit=True)
        try:
            await _read_committed(connection)
        except BaseException:  # whoever asked may have been cancelled
            await connection.close()
            raise
    except psycopg.OperationalError as error:
        raise unavailable(url, error) from None
    return connection


def connect_blocking(url: str) -> psycopg.Connection[TupleRow]:
    """A new connection in autocommit mode; `DatabaseUnavailable` if there is none to be had."""
    settings = conninfo(url)
    try:
        connection = psycopg.Connection.connect(settings, autocommit=True)
        try:
            _read_committed_blocking(connection)
        except BaseException:
            connection.close()
            raise
    except psycopg.OperationalError as error:
        raise unavailable(url, error) from None
    return connection


def pool_async(url: str, min_size: int, max_size: int) -> AsyncPool:
    """A pool of autocommit connections, to be opened by `await pool.open()` in its event loop."""
    return AsyncConnectionPool(
        conninfo(url),
        min_size=min_size,
        max_size=max_size,
        kwargs={"autocommit": True},
        configure=_read_committed,
        open=False,
        name="troth",
    )


def pool_blocking(url: str, min_size: int, max_size: int) -> BlockingPool:
    """A pool of autocommit connections for threads, to be opened by `pool.open()`."""
    return ConnectionPool(
        conninfo(url),
        min_size=min_size,
        max_size=max_size,
        kwargs={"autocommit": True},
        configure=_read_committed_blocking,
        open=False,
        name="troth",
    )


# Statements outside an explicit transaction follow the database's default, which a user may have raised; the journal
# protocol must see what was committed while it waited.
_READ_COMMITTED = "SET default_transaction_isolation = 'read committed'"


async def _read_committed(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    await connection.execute(_READ_COMMITTED)


def _read_committed_blocking(connection: psycopg.Connection[TupleRow]) -> None:
    connection.execute(_READ_COMMITTED)


def unavailable(url: str, error: psycopg.Error) -> DatabaseUnavailable:
    """What to tell the user about a failed connection: where, and the server's reason."""
    secret = conninfo_to_dict(url).get("password")
    reason = " ".join(str(error).split())
    if secret:
        reason = reason.replace(str(secret), "***")
    return DatabaseUnavailable(f"No connection to PostgreSQL ({place(url)}): {reason}")


async def listen(
    connection: AsyncConnection, channels: Sequence[str], *, ready: Callable[[], None]
) -> AsyncIterator[tuple[str, str]]:
    """Notifications of some channels as (channel, payload), for ever; `ready()` when it listens."""
    for channel in channels:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
    ready()
    async for notification in connection.notifies():
        yield notification.channel, notification.payload
