"""One act on all runs of a filter: counted first, then done to those that were counted, each with a record of its own."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from troth.base.errors import UsageError
from troth.cli.acting import agreed, beginning, connected, read
from troth.cli.options import Connection
from troth.command.desk import MOST_AT_ONCE
from troth.journal.model import ENDED
from troth.view.runs import RunFilter

if TYPE_CHECKING:
    from troth.command.desk import Swept
    from troth.command.model import Author
    from troth.store.connect import AsyncConnection
    from troth.store.tx import Tx


def on_where(
    connection: Connection,
    who: Author,
    name: str,
    where: str,
    deed: Callable[[Tx, UUID], Awaitable[object]],
    *,
    verb: str,
    yes: bool,
) -> int:
    """Do the act *name*, which takes no details, to the runs of a filter; *verb* is what people read. The exit code.

    Raises `UsageError` for a filter that there is not, an empty one, and if nobody has agreed.
    """
    which = filter_of(where)
    runs, more = read(connection, 30.0, lambda tx: find(tx, connection.schema, which))
    said = urlencode(which.to_query())
    if not runs:
        print(f"No run that is alive matches {said}.")
        return 0
    count = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    first = f"the newest {count} of more" if more else count
    print(f"{said}: {first}")
    if not yes and not agreed(f"{verb.capitalize()} {first}?"):
        raise UsageError("nothing was done; --yes does not ask")

    async def sweep(opened: AsyncConnection, _url: str) -> Swept:
        from troth.command import desk

        return await desk.on_each(
            lambda: beginning(opened), connection.schema, who, name, runs, {}, deed
        )

    return _told(connected(connection, sweep), verb)


def filter_of(where: str) -> RunFilter:
    """The filter that *where* says, as a URL's query. Raises `UsageError`, also for a word that is no field."""
    try:
        pairs = parse_qsl(where, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        pairs = []
    known = ("state", "reason", "workflow", "key", "parent", "since")
    unknown = [word for word, _ in pairs if word not in known]
    if not pairs or unknown:
        msg = f"--where {where!r} is no filter: write it as state=attention&workflow=checkout, of {', '.join(known)}"
        raise UsageError(msg)
    which = RunFilter.from_query(pairs)
    if which.is_empty():
        raise UsageError("this would be every run that is alive: filter first")
    if which.states & ENDED:
        raise UsageError("a run that has ended stays as it is: filter by the states of those alive")
    return which


async def find(tx: Tx, schema: str, which: RunFilter) -> tuple[list[UUID], bool]:
    """The newest runs that are alive and match, at most as many as one act may be about; and whether there are more."""
    from troth.view.runs import live_ids

    found = await live_ids(tx, schema, which, MOST_AT_ONCE + 1)
    return found[:MOST_AT_ONCE], len(found) > MOST_AT_ONCE


def _told(swept: Swept, verb: str) -> int:
    print(f"{verb}: done for {len(swept.done)}")
    if swept.proposed:
        print(f"proposed for {len(swept.proposed)}, which wait for a second person")
    for run, why in swept.failed.items():
        print(f"troth: {run}: {why}", file=sys.stderr)
    if swept.failed:
        print(f"not possible for {len(swept.failed)}", file=sys.stderr)
    return 1 if swept.failed else 0
