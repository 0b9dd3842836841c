"""`troth reconcile close`, `approve` and `periods`: a period is closed by two people."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.acting import act, author, preview, read
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    StatementTimeout,
)
from troth.cli.output import show
from troth.cli.reconcile_page import utc

if TYPE_CHECKING:
    from troth.command.model import Author
    from troth.reconcile.breaks_store import Closable, Period
    from troth.store.tx import Tx

Name = Annotated[str, Parameter(help="The name of the reconciliation.")]


def close(
    name: Name,
    /,
    *,
    until: Annotated[str, Parameter(help="The end of the period: a time (2026-12-01).")],
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Prepare to close a period: every break in it must be explained. Another person approves it.

    Example: troth reconcile close stripe --until 2026-12-01
    """
    _close(connection, name, until, author(by, note), approves=False)


def approve(
    name: Name,
    /,
    *,
    until: Annotated[
        str, Parameter(help="The end of the period, as the other person has said it.")
    ],
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Approve that a period is closed, as another person has prepared it. What has changed since must be prepared again.

    Example: troth reconcile approve stripe --until 2026-12-01
    """
    _close(connection, name, until, author(by, note), approves=True)


def _close(connection: Connection, name: str, until: str, who: Author, *, approves: bool) -> None:
    from troth.reconcile import acts

    end = _moment(until)

    async def look(tx: Tx) -> Closable:
        return await acts.closable(tx, connection.schema, name, end)

    details = acts.close_details(end, preview(connection, look))

    async def do(tx: Tx) -> Closable:
        return await acts.close(tx, connection.schema, name, end, details, who, approves=approves)

    def say(found: Closable) -> str:
        return f"{name} is closed until {utc(end)}, with {found.explained} explained breaks"

    act(connection, who, "reconcile.close", name, details, do, say)


def periods(
    name: Annotated[
        str | None, Parameter(help="Of this reconciliation. Without it: of all.")
    ] = None,
    /,
    *,
    limit: Annotated[int, Parameter(help="At most so many, up to 1000.")] = 100,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List closed periods, the last first.

    Example: troth reconcile periods stripe
    """
    from troth.reconcile import acts, breaks_store

    if not 1 <= limit <= 1000:
        raise UsageError(f"--limit is 1 to 1000, not {limit}")

    async def look(tx: Tx) -> list[Period]:
        q = breaks_store.queries(connection.schema)
        found = await breaks_store.periods(tx, q, name, limit=limit)
        if name is not None and not found:
            await acts.require_declared(tx, connection.schema, name)
        return found

    found = read(connection, statement_timeout, look)
    show([_period(each) for each in found], output, "No period is closed.")


def _period(period: Period) -> dict[str, Any]:
    return {
        "reconciliation": period.reconciliation, "since": period.since, "until": period.until, "run": period.run,
        "accepted": period.accepted, "prepared_by": period.prepared_by, "approved_by": period.approved_by,
        "closed_at": period.closed_at, "note": period.note,
    }  # fmt: skip


def _moment(text: str) -> datetime:
    try:
        return durations.moment(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"--until: {error}") from None
