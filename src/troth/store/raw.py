"""A statement of many parameters, in PostgreSQL's own words for them.

psycopg remembers how it has read a statement if that has up to fifty parameters; one with more it reads anew, placeholder by
placeholder, each time. Of a flush that was 0.09 ms, and a lone step needs two. Written with `$1`, `$2` … there is nothing to
read.

`Prepared` goes one step further, for a connection that does nothing but a statement or two: what a cursor finds out (which
types, which statement, which rows), is known before. That is half of what such a call costs its process.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, LiteralString

from psycopg import AsyncConnection, AsyncRawCursor, pq
from psycopg.abc import Buffer
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq.abc import PGresult
from psycopg.waiting import Ready, Wait

from troth.store.tx import Row

_PLACEHOLDER = re.compile("%b")


async def value(
    connection: AsyncConnection[Any], query: LiteralString, params: Sequence[Any]
) -> Any:
    """The first column of the first row; *query* has `%b` for each of its parameters."""
    return (await row(connection, query, params))[0]


async def row(connection: AsyncConnection[Any], query: LiteralString, params: Sequence[Any]) -> Row:
    """The first row; *query* has `%b` for each of its parameters."""
    cursor = AsyncRawCursor(connection)
    found = await (await cursor.execute(numbered(query), params)).fetchone()
    assert found is not None
    return tuple(found)


@cache
def numbered(query: LiteralString) -> LiteralString:
    """The statement with `$1`, `$2` … in the place of each `%b`."""
    number = itertools.count(1)
    return _PLACEHOLDER.sub(lambda _: f"${next(number)}", query)


class Prepared:
    """A statement that a connection prepares once and runs again and again, with parameters that are encoded already.

    One at a time, and nothing else is done with the connection meanwhile. Whoever is cancelled closes the connection.
    """

    def __init__(self, connection: AsyncConnection[Any], query: LiteralString, types: Sequence[int]) -> None:  # fmt: skip
        """*query* has `%b` for each of its parameters, *types* their oids."""
        self._server = connection.pgconn
        self._query = numbered(query).encode()
        self._types = types
        self._formats = [pq.Format.BINARY] * len(types)
        self._name = b""
        self._rows = Transformer(connection)

    async def row(self, params: Sequence[Buffer | None]) -> Row:
        """The first row that it answers with these parameters."""
        if not self._name:
            name = b"troth_%d" % id(self)
            self._server.send_prepare(name, self._query, self._types)
            await self._answer()
            self._name = name
        self._server.send_query_prepared(self._name, params, self._formats, pq.Format.BINARY)
        self._rows.set_pgresult(await self._answer())
        found = self._rows.load_row(0, tuple)
        assert found is not None
        return found

    async def _answer(self) -> PGresult:
        # `connection.wait` looks for Ctrl-C ten times a second, which costs a timer for each statement.
        going = execute(self._server)
        try:
            wait = next(going)
            while True:
                wait = going.send(await _ready(self._server.socket, wait))
        except StopIteration as done:
            result: PGresult = done.value[-1]
            if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
                raise error_from_result(result) from None
            return result


async def _ready(socket: int, wait: Wait) -> Ready:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[Ready] = loop.create_future()

    def tell(what: Ready) -> None:
        if not ready.done():
            ready.set_result(what)

    if wait & Wait.R:
        loop.add_reader(socket, tell, Ready.R)
    if wait & Wait.W:
        loop.add_writer(socket, tell, Ready.W)
    try:
        return await ready
    finally:
        loop.remove_reader(socket)
        if wait & Wait.W:
            loop.remove_writer(socket)
