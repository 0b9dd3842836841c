"""The boundary: where the application's calls are caught in this process, one file per library.

Every catcher does the same: it turns the call into an `Op`, asks the current attempt, and turns the `Observation` into what the
library would have returned or raised. None of them does I/O. Outside an attempt the original function runs; what an
attempt does that no catcher knows (a socket, a process, a file) is an escape and refuses the verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from troth.lab.sqlite import Sqlite

if TYPE_CHECKING:
    from troth.lab.postgres import Postgres
    from troth.lab.queue import Queue


@contextmanager
def installed(
    sqlites: tuple[Sqlite, ...],
    postgreses: tuple[Postgres, ...],
    hosts: dict[str, str],
    mail: str | None,
    redis_name: str | None,
    allowed: tuple[str, ...],
    queues: tuple[Queue, ...] = (),
) -> Iterator[None]:
    """Catch calls while the context lasts.

    Args:
        sqlites: to which connections of sqlite3 go.
        postgreses: to which connections of psycopg, psycopg2 and asyncpg go.
        hosts: the provider's name per host, for HTTP.
        mail: the name of the mailbox, if there is one.
        redis_name: the name of Redis, if there is one.
        allowed: patterns of paths that the application may write.
        queues: where messages go.
    """
    from troth.lab.edge import (
        aiohttp,
        aiosqlite,
        asyncpg,
        cache,
        celery,
        clock,
        django,
        escape,
        http,
        psycopg,
        psycopg2,
        redis,
        smtp,
        sqlalchemy,
        sqlite,
        tasks,
        threads,
        urllib3,
    )

    with ExitStack() as stack:
        stack.enter_context(sqlite.caught(sqlites))
        stack.enter_context(aiosqlite.caught())
        stack.enter_context(psycopg.caught(postgreses))
        stack.enter_context(psycopg2.caught(postgreses))
        stack.enter_context(asyncpg.caught(postgreses))
        stack.enter_context(sqlalchemy.caught(postgres=bool(postgreses)))
        stack.enter_context(http.caught(hosts))
        stack.enter_context(aiohttp.caught(hosts))
        stack.enter_context(urllib3.caught(hosts))
        stack.enter_context(smtp.caught(mail))
        stack.enter_context(celery.caught(queues))
        stack.enter_context(django.caught())
        stack.enter_context(redis.caught(redis_name))
        stack.enter_context(clock.caught())
        stack.enter_context(cache.caught())
        stack.enter_context(tasks.caught())
        stack.enter_context(threads.caught())
        stack.enter_context(escape.caught(allowed))
        yield
