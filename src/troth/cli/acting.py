"""How a command reaches the database: one snapshot to read in, or one transaction to act in."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from troth.cli.options import Connection

if TYPE_CHECKING:
    from troth.command.model import Author
    from troth.store.connect import AsyncConnection
    from troth.store.tx import Tx

T = TypeVar("T")


def read(connection: Connection, limit_s: float, act: Callable[[Tx], Awaitable[T]]) -> T:
    """Read in one snapshot; a statement that takes longer than *limit_s* seconds is ended."""
    from troth.view.store import reading

    async def do(opened: AsyncConnection, _url: str) -> T:
        async with reading(opened, connection.schema, limit_s) as tx:
            return await act(tx)

    return connected(connection, do)


def act(connection: Connection, deed: Callable[[Tx], Awaitable[T]]) -> T:
    """Act in one transaction."""

    async def do(opened: AsyncConnection, _url: str) -> T:
        return await transacted(opened, deed)

    return connected(connection, do)


async def transacted(opened: AsyncConnection, deed: Callable[[Tx], Awaitable[T]]) -> T:
    """Act in one transaction of an open connection."""
    from troth.store.isolation import transaction_async

    async with transaction_async(opened, "read committed"):
        return await deed(opened)


def connected(connection: Connection, do: Callable[[AsyncConnection, str], Awaitable[T]]) -> T:
    """Do something with an open connection and its URL, once the schema has been found to fit."""
    from troth.store.connect import connect_async
    from troth.store.migrate import require_schema

    async def reach(url: str) -> T:
        async with await connect_async(url) as opened:
            await require_schema(opened, connection.schema)
            return await do(opened, url)

    with connection.find() as database:
        return asyncio.run(reach(database.url))


def author(by: str | None, note: str | None) -> Author:
    """Who acts: *by*, or the user and host of this shell."""
    from troth.command.model import Author

    if by is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container that runs under a number without a name
            user = str(os.getuid())
        by = f"{user}@{socket.gethostname()}"
    return Author(by, note)


def agreed(question: str) -> bool:
    """Ask a person; where there is none, the answer is no."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
