"""A statement of many parameters, in PostgreSQL's own words for them.

psycopg remembers how it has read a statement if that has up to fifty parameters; one with more it reads anew, placeholder by
placeholder, each time. Of a flush that was 0.09 ms, and a lone step needs two. Written with `$1`, `$2` … there is nothing to
read.

`Line` goes one step further, for a connection that does nothing but a statement or two: what a cursor finds out (which
types, which statement, which rows), is known before. That is most of what such a call costs its process.
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
from psycopg.errors import OperationalError, error_from_result
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


class Line:
    """A connection that does nothing but a few statements, again and again, one at a time.

    Each is prepared once; its parameters are encoded already. Whoever is cancelled closes the line.
    """

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._server = connection.pgconn
        self._socket = connection.pgconn.socket
        self._rows = Transformer(connection)
        self._names: dict[str, bytes] = {}
        self._loop = asyncio.get_running_loop()
        self._waits: asyncio.Future[Ready] | None = None
        self._listens = False
        self._unasked = 0  # how often the server was heard while nobody waited

    async def row(self, query: LiteralString, types: Sequence[int], params: Sequence[Buffer | None]) -> Row:  # fmt: skip
        """The first row; *query* has `%b` for each of its parameters, *types* are their oids."""
        name = self._names.get(query)
        if name is None:
            name = b"troth_%d" % len(self._names)
            self._server.send_prepare(name, numbered(query).encode(), types)
            await self._answer()
            self._names[query] = name
        formats = [pq.Format.BINARY] * len(types)
        self._server.send_query_prepared(name, params, formats, pq.Format.BINARY)
        self._rows.set_pgresult(await self._answer())
        found = self._rows.load_row(0, tuple)
        assert found is not None
        return found

    async def close(self) -> None:
        """Close the connection: what it had not committed did not happen."""
        self._listen(on=False)
        await self._connection.close()

    async def _answer(self) -> PGresult:
        # `connection.wait` looks for Ctrl-C ten times a second, and tells the loop of the socket anew for each statement.
        going = execute(self._server)
        try:
            wait = next(going)
            while True:
                wait = going.send(await self._ready(wait))
        except OperationalError:
            # The socket is closed, and its number may be somebody else's soon.
            self._listen(on=False)
            raise
        except StopIteration as done:
            result: PGresult = done.value[-1]
            if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
                raise error_from_result(result) from None
            return result

    async def _ready(self, wait: Wait) -> Ready:
        self._waits = self._loop.create_future()
        self._unasked = 0
        self._listen(on=True)
        if wait & Wait.W:
            self._loop.add_writer(self._socket, self._tell, Ready.W)
        try:
            return await self._waits
        finally:
            self._waits = None
            if wait & Wait.W:
                self._loop.remove_writer(self._socket)

    def _listen(self, *, on: bool) -> None:
        if on and not self._listens:
            self._loop.add_reader(self._socket, self._tell, Ready.R)
        elif self._listens and not on:
            self._loop.remove_reader(self._socket)
        self._listens = on

    def _tell(self, what: Ready) -> None:
        if self._waits is None:
            # Once may be an echo of what was read just now. More is news that nobody reads: it would be told for ever.
            self._unasked += 1
            if self._unasked > 1:
                self._listen(on=False)
        elif not self._waits.done():
            self._waits.set_result(what)
