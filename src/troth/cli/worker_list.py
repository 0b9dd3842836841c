"""`troth worker list`: which processes there are, and whether they beat."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from troth.cli import durations
from troth.cli.acting import read
from troth.cli.filtering import After, Limit, check_limit, ends, told
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import cell, show

if TYPE_CHECKING:
    from troth.store.tx import Tx
    from troth.view.workers import GoneLine, WorkerLine

_NAMED = 4  # workflows in a line for people


def list_(
    *,
    executes: Annotated[
        bool, Parameter(negative="", help="Those that execute runs, without clients.")
    ] = False,
    worker: Annotated[int | None, Parameter(help="The one with this number.")] = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List processes: how long ago each beat, what it has in hand, what it executes; and who was found dead.

    Example: troth worker list --executes
    """
    from troth.view import workers as view

    check_limit(limit)
    which = told(view.WorkerFilter, executes=executes, worker=worker)

    async def look(tx: Tx) -> tuple[Any, tuple[GoneLine, ...]]:
        page = await view.processes(tx, connection.schema, which, after=after, limit=limit)
        return page, await view.gone(tx, connection.schema)

    page, gone = read(connection, statement_timeout, look)
    shown = _for_people if output == "table" else asdict
    show([shown(line) for line in page.rows], output, "No such process is there.")
    ends(page, output)
    for each in gone if output == "table" else ():
        print(
            f"{cell(each.name)} ({each.id}) was found dead {durations.words(each.gone_s)} ago; of its runs {each.in_hand} are"
            " not released yet",
            file=sys.stderr,
        )


def _for_people(line: WorkerLine) -> dict[str, Any]:
    names = ", ".join(line.workflows[:_NAMED])
    more = len(line.workflows) - _NAMED
    return {
        "worker": line.id,
        "name": line.name,
        "beat": f"{durations.words(line.beat_s)} ago" + (": late" if line.late else ""),
        "lease": durations.words(line.lease_s),
        "in hand": line.in_hand,
        "executes": (f"{names} and {more} more" if more > 0 else names) if line.executes else None,
        "up": durations.words(line.up_s),
    }
