"""The cell and the runs of the command line's tests; what they are is told there."""

import asyncio
from contextlib import asynccontextmanager

import psycopg

from tests.cli.conftest import cell, runs

__all__ = ["cell", "runs"]


@asynccontextmanager
async def transaction(cell):
    """One transaction on a connection of its own."""
    connection = await psycopg.AsyncConnection.connect(cell[0], autocommit=True)
    async with connection, connection.transaction():
        yield connection


async def blocked(cell, attempt):
    """A task that has begun *attempt* and waits for a lock that another transaction holds."""
    task = asyncio.ensure_future(attempt)
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock' AND strpos(query, %s) > 0
    """
    async with await psycopg.AsyncConnection.connect(cell[0], autocommit=True) as watch:
        async with asyncio.timeout(30):
            while (await (await watch.execute(query, (cell[1],))).fetchone())[0] == 0:
                assert not task.done(), task.result()
                await asyncio.sleep(0)
    return task
