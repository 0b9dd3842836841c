"""SQLAlchemy: its drivers are caught where they talk to a database; here its pools keep nothing from one attempt to the next.

A pooled connection is memory of the process. The lab explores neither what a server remembers of a connection nor which of several
a pool gives out; so while it works, a pool opens a connection for everyone who asks, and closes it when it comes back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from troth.lab.edge.patch import replaced


@contextmanager
def caught(*, postgres: bool) -> Iterator[None]:
    """Pools keep no connections while the context lasts. Nothing is imported if the application has no SQLAlchemy.

    Args:
        postgres: whether there is a PostgreSQL that engines could meet.
    """
    if "sqlalchemy" not in sys.modules:
        yield
        return
    from sqlalchemy.pool import QueuePool

    base: Any = import_module("sqlalchemy.pool.base")

    def get(self: Any) -> Any:
        return self._create_connection()

    def put_back(self: Any, record: Any) -> None:
        del self
        record.close()

    clock = base.time
    base.time = SimpleNamespace(
        time=float
    )  # the age of a connection that is never used again decides nothing
    try:
        with replaced({
            (QueuePool, "_do_get"): get,
            (QueuePool, "_do_return_conn"): put_back,
            **(_introduced() if postgres else {}),
        }):  # fmt: skip
            yield
    finally:
        base.time = clock


def _introduced() -> dict[tuple[Any, str], Any]:
    """What an engine asks a PostgreSQL that it meets for the first time, answered without asking.

    Otherwise the first attempt of a process would differ from all others. It is the same for every server that the lab works with; of the
    types that are looked for, hstore is said to be missing.
    """
    module = import_module("sqlalchemy.dialects.postgresql.base")

    def quotes_are_standard(self: Any, connection: object) -> None:
        del connection
        self._backslash_escapes = False

    dialect = module.PGDialect
    answers: dict[tuple[Any, str], Any] = {
        (dialect, "_get_server_version_info"): lambda *_: (15, 0),
        (dialect, "_get_default_schema_name"): lambda *_: "public",
        (dialect, "get_default_isolation_level"): lambda *_: "READ COMMITTED",
        (dialect, "_set_backslash_escapes"): quotes_are_standard,
    }
    psycopg = import_module("sqlalchemy.dialects.postgresql.psycopg")
    for name in ("PGDialect_psycopg", "PGDialectAsync_psycopg"):
        answers[getattr(psycopg, name), "_type_info_fetch"] = lambda *_: None
    psycopg2 = import_module("sqlalchemy.dialects.postgresql.psycopg2")
    answers[psycopg2.PGDialect_psycopg2, "_hstore_oids"] = lambda *_: None

    async def as_it_is(self: Any, connection: object) -> None:
        """The driver's own codecs for JSON are text, as are those that would be set here; no type is looked up for them."""

    asyncpg = import_module("sqlalchemy.dialects.postgresql.asyncpg")
    for kind in ("json", "jsonb"):
        answers[asyncpg.PGDialect_asyncpg, f"setup_asyncpg_{kind}_codec"] = as_it_is
    return answers
