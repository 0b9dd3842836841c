"""How a command reaches the database: one snapshot to read in, or one transaction to act in.

There is no other way to write: whoever acts goes through the desk, which records it. (`troth db migrate` is no act on what
troth keeps.)
"""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any, TypeVar

from troth.cli.options import Connection

if TYPE_CHECKING:
    from troth.command.model import Author, Proposed
    from troth.store.connect import AsyncConnection
    from troth.store.tx import Tx

T = TypeVar("T")

_MAY_NOT_WRITE = "42501"  # insufficient privilege


class _Seen(Exception):
    """Leaves a transaction that is to be rolled back, with what was found in it."""

    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what


def read(connection: Connection, limit_s: float, act: Callable[[Tx], Awaitable[T]]) -> T:
    """Read in one snapshot; a statement that takes longer than *limit_s* seconds is ended."""
    from troth.view.store import reading

    async def do(opened: AsyncConnection, _url: str) -> T:
        async with reading(opened, connection.schema, limit_s) as tx:
            return await act(tx)

    return connected(connection, do)


def preview(connection: Connection, look: Callable[[Tx], Awaitable[T]]) -> T:
    """What an act would find, with the locks that it takes; nothing of it stays."""

    async def do(opened: AsyncConnection, _url: str) -> T:
        from troth.store.isolation import transaction_async

        try:
            async with transaction_async(opened, "read committed"):
                raise _Seen(await look(opened))
        except _Seen as seen:
            found: T = seen.what
            return found

    return connected(connection, do)


def act(
    connection: Connection,
    who: Author,
    name: str,
    about: object,
    details: Mapping[str, Any],
    deed: Callable[[Tx], Awaitable[T]],
    say: Callable[[T], str | None],
    *,
    told: Callable[[T], Mapping[str, Any] | None] | None = None,
) -> T | Proposed:
    """Do the act *name* at the desk, in one transaction; print what *say* makes of its result (None: nothing more),
    or that it is proposed.
    """

    async def do(opened: AsyncConnection, _url: str) -> T | Proposed:
        return await acted(
            opened, connection.schema, who, name, about, details, deed, say, told=told
        )

    return connected(connection, do)


def showing(
    connection: Connection, of: str, about: Sequence[object], path: str | None = None
) -> bool:
    """Record that somebody is about to see what may be confidential; false if a second person must want it first.

    A database user who may only read sees it all the same, as with any other program; that it is not recorded is said.
    """
    from troth.command import desk
    from troth.store.failure import DatabaseError

    who, details = author(None, None), {"of": of, "path": path}

    async def nothing() -> None: ...

    async def do(opened: AsyncConnection, _url: str) -> list[Proposed | None]:
        async with beginning(opened) as tx:
            return [
                await desk.carry_out(
                    tx, connection.schema, who, "payload.show", str(each), details, nothing
                )
                for each in about
            ]

    try:
        waiting = [made for made in connected(connection, do) if made is not None]
    except DatabaseError as error:
        if getattr(error, "sqlstate", None) != _MAY_NOT_WRITE:
            raise
        print("troth: not recorded, since this database user may only read", file=sys.stderr)
        return True
    for proposed in waiting:
        print(proposal_words(proposed, details), file=sys.stderr)
    return not waiting


async def acted(
    opened: AsyncConnection,
    schema: str,
    who: Author,
    name: str,
    about: object,
    details: Mapping[str, Any],
    deed: Callable[[Tx], Awaitable[T]],
    say: Callable[[T], str | None],
    *,
    told: Callable[[T], Mapping[str, Any] | None] | None = None,
) -> T | Proposed:
    """As `act`, on an open connection."""
    from troth.command import desk
    from troth.command.model import Proposed

    async with beginning(opened) as tx:
        made = await desk.carry_out(
            tx, schema, who, name, str(about), details, lambda: deed(tx), told=told
        )
    if isinstance(made, Proposed):
        print(proposal_words(made, details))
    elif (words := say(made)) is not None:
        print(words)
    return made


@asynccontextmanager
async def beginning(opened: AsyncConnection) -> AsyncIterator[Tx]:
    """One transaction of an open connection, for the desk."""
    from troth.store.isolation import transaction_async

    async with transaction_async(opened, "read committed"):
        yield opened


def proposal_words(proposed: Proposed, details: Mapping[str, Any]) -> str:
    """That nothing has happened yet, and what a second person types."""
    from troth.command.spelling import as_command

    return (
        f"proposed as number {proposed.id}; it happens when a second person does the same until "
        f"{proposed.until.astimezone(UTC):%F %T} UTC:\n  {as_command(proposed.act, proposed.about, details)}"
    )


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
