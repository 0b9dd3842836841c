"""Several statements in one message to the server: the simple query protocol, with values written into the text.

A pipeline would save the same round trips and costs the client twice as much. The statements run one after the other; the
first that fails ends them all. psycopg writes the values as literals, escaped for this connection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from psycopg import AsyncClientCursor, ClientCursor
from psycopg.rows import TupleRow

from troth.store.connect import AsyncConnection, BlockingConnection
from troth.store.plan import Statement
from troth.store.tx import Row


async def send_together(
    connection: AsyncConnection, statements: Iterable[Statement]
) -> tuple[list[Row], str]:
    """The rows of those that return any, and what the server said of the last one (`COMMIT`, …)."""
    async with AsyncClientCursor(connection) as cursor:
        await cursor.execute(_text(cursor, statements))
        rows: list[Row] = []
        while True:
            if cursor.description is not None:
                rows += await cursor.fetchall()
            if not cursor.nextset():
                return rows, cursor.statusmessage or ""


def send_together_blocking(
    connection: BlockingConnection, statements: Iterable[Statement]
) -> tuple[list[Row], str]:
    """As `send_together`, from a thread."""
    with ClientCursor(connection) as cursor:
        cursor.execute(_text(cursor, statements))
        rows: list[Row] = []
        while True:
            if cursor.description is not None:
                rows += cursor.fetchall()
            if not cursor.nextset():
                return rows, cursor.statusmessage or ""


def _text(
    cursor: AsyncClientCursor[TupleRow] | ClientCursor[TupleRow], statements: Iterable[Statement]
) -> LiteralString:
    texts = (
        each.query if each.params is None else cursor.mogrify(each.query, each.params)
        for each in statements
    )
    return ";\n".join(texts)
