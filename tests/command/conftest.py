"""The cell and the runs of the command line's tests; what they are is told there."""

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
