"""`troth audit`: who did what at the desk, and what waits for a second person."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from troth.cli.acting import author, beginning, connected, proposal_words, read
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    StatementTimeout,
)
from troth.cli.output import as_text, show

if TYPE_CHECKING:
    from troth.command.model import Proposed
    from troth.store.connect import AsyncConnection
    from troth.view.acts import ActLine, ProposalLine

app = App(name="audit", help="Who did what, and what waits for a second person.")

After = Annotated[
    str | None, Parameter(help="The next page: what the page before has said at its end.")
]
Limit = Annotated[int, Parameter(help="At most so many, up to 1000.")]


@app.command(name="list")
def list_(
    *,
    by: Annotated[str | None, Parameter(help="What this person did.")] = None,
    act: Annotated[
        str | None, Parameter(help="This act (run.cancel), or all of a kind (run).")
    ] = None,
    about: Annotated[
        str | None, Parameter(help="What was done to this object: an id, a name, an address.")
    ] = None,
    outcome: Annotated[
        Literal["done", "proposed", "refused"] | None,
        Parameter(help="What was done, waits or waited for a second person, or was not allowed."),
    ] = None,
    via: Annotated[
        Literal["cli", "console", "program"] | None, Parameter(help="From where it was done.")
    ] = None,
    since: Annotated[
        str | None, Parameter(help="Since a time (2026-11-24T08:00) or for so long (2h, 7d).")
    ] = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List what people did, the latest first. Values that may be confidential are in no record.

    Example: troth audit list --act run --since 7d
    """
    from troth.view import acts as view
    from troth.view.filters import Since

    which = view.ActFilter(
        by=by,
        act=act,
        about=about,
        outcome=None if outcome is None else view.ActOutcome(outcome),
        via=None if via is None else view.ActVia(via),
        since=Since(since or ""),
    )
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.acts(tx, connection.schema, which, after=after, limit=limit),
    )
    line = _for_people if output == "table" else _for_programs
    show(
        [line(each) for each in page.rows],
        output,
        "Nobody did anything." if which.is_empty() else "No acts match.",
    )
    if page.next is not None and output == "table":
        print(f"There may be more: --after {page.next}", file=sys.stderr)


@app.command
def waiting(
    *,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List acts that wait for a second person, the oldest first, with what that person types.

    A word in capitals stands for a value that may be confidential: the second person must know it. Findings about effects
    wait with their effects: see `troth effect show`.

    Example: troth audit waiting
    """
    from troth.view import acts as view

    page = read(
        connection,
        statement_timeout,
        lambda tx: view.waiting(tx, connection.schema, after=after, limit=limit),
    )
    show([_proposal(each, output) for each in page.rows], output, "Nothing waits.")
    if page.next is not None and output == "table":
        print(f"There may be more: --after {page.next}", file=sys.stderr)


@app.command
def withdraw(
    proposal: Annotated[int, Parameter(help="The number of the proposal.")],
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Take back what was proposed and has not happened.

    Example: troth audit withdraw 17 --note "the wrong run"
    """
    from troth.command import desk

    who = author(by, note)

    async def do(opened: AsyncConnection, _url: str) -> Proposed | None:
        async with beginning(opened) as tx:
            return await desk.withdraw(tx, connection.schema, who, proposal)

    made = connected(connection, do)
    print(f"proposal {proposal} is withdrawn" if made is None else proposal_words(made, {}))


def _for_people(line: ActLine) -> dict[str, Any]:
    details = ", ".join(
        f"{name}={_plain(value)}"
        for name, value in {**line.details, **(line.result or {})}.items()
        if value not in (None, False, [])
    )
    return {
        "at": line.at,
        "by": line.by,
        "via": line.via,
        "act": line.act,
        "about": line.about,
        "details": details,
        "outcome": f"done, after {line.agrees_with}" if line.agrees_with else line.outcome,
        "note": line.note,
    }


def _plain(value: object) -> str:
    return value if isinstance(value, str) else as_text(value)


def _for_programs(line: ActLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "at": line.at,
        "by": line.by,
        "role": line.role,
        "via": line.via,
        "act": line.act,
        "about": line.about,
        "details": line.details,
        "note": line.note,
        "outcome": line.outcome,
        "agrees_with": line.agrees_with,
        "result": line.result,
    }


def _proposal(line: ProposalLine, output: str) -> dict[str, Any]:
    from troth.command.spelling import as_command

    command = "" if line.untold else as_command(line.act, line.about, line.details)
    told = {
        "id": line.id,
        "by": line.by,
        "until": line.until,
        "command": command,
        "note": line.note,
    }
    if output == "table":
        return told
    more = {"act": line.act, "about": line.about, "details": line.details, "at": line.at}
    return {**told, **more, "hidden": list(line.hidden), "argv": shlex.split(command)}
