"""Several statements in one message to the server: the simple query protocol, with values written into the text.

A pipeline would save the same round trips and costs the client twice as much. The statements run one after the other; the
first that fails ends them all. psycopg writes the values as literals, escaped for this connection.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import AsyncClientCursor, ClientCursor

from troth.store.connect import AsyncConnection, BlockingConnection
from troth.store.tx import Params, Row


async def send_together(
    connection: AsyncConnection, statements: LiteralString, params: Params | None = None
) -> tuple[list[Row], str]:
    """The rows of those statements that return any, and what the server said of the last one (`COMMIT`, …)."""
    async with AsyncClientCursor(connection) as cursor:
        await cursor.execute(statements, params)
        rows: list[Row] = []
        while True:
            if cursor.description is not None:
                rows += await cursor.fetchall()
            if not cursor.nextset():
                return rows, cursor.statusmessage or ""


def send_together_blocking(
    connection: BlockingConnection, statements: LiteralString, params: Params | None = None
) -> tuple[list[Row], str]:
    """As `send_together`, from a thread."""
    with ClientCursor(connection) as cursor:
        cursor.execute(statements, params)
        rows: list[Row] = []
        while True:
            if cursor.description is not None:
                rows += cursor.fetchall()
            if not cursor.nextset():
                return rows, cursor.statusmessage or ""
