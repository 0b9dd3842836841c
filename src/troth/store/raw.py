"""A statement of many parameters, in PostgreSQL's own words for them.

psycopg remembers how it has read a statement if that has up to fifty parameters; one with more it reads anew, placeholder by
placeholder, each time. Of a flush that was 0.09 ms, and a lone step needs two. Written with `$1`, `$2` … there is nothing to
read.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, LiteralString

from psycopg import AsyncConnection, AsyncRawCursor

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
