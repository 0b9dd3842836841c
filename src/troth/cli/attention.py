"""`troth attention`: what waits for a person."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from troth.cli import durations
from troth.cli.acting import read
from troth.cli.filtering import After, Limit, check_limit, ends, told
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import console, show, table, title

if TYPE_CHECKING:
    from troth.store.tx import Tx
    from troth.view.attention import AttentionLine
    from troth.view.ledger import OverdueLine
    from troth.view.paging import Page

app = App(name="attention", help="Look at what waits for a person.")


@app.command(name="list")
def list_(
    *,
    reason: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="For this reason: in_doubt, bug, …; may be given several times."
        ),
    ] = None,
    workflow: Annotated[str | None, Parameter(help="Runs of this workflow.")] = None,
    owner: Annotated[str | None, Parameter(help="Those that this person looks after.")] = None,
    unclaimed: Annotated[
        bool, Parameter(negative="", help="Those that nobody looks after.")
    ] = False,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List the runs that wait for a person, what has waited longest first: why, what is at stake, who looks after it.

    Without a filter it ends with the balances that should be zero by now; `troth ledger overdue` has them for programs.

    Example: troth attention list --reason in_doubt --unclaimed
    """
    from troth.view.attention import AttentionFilter, attention
    from troth.view.ledger import overdue
    from troth.view.paging import Page

    check_limit(limit)
    which = told(
        AttentionFilter, reason=reason, workflow=workflow, owner=owner, unclaimed=unclaimed
    )
    everything = output == "table" and after is None and which == AttentionFilter()

    async def look(tx: Tx) -> tuple[Page[AttentionLine], Page[OverdueLine]]:
        runs = await attention(tx, connection.schema, which, after=after, limit=limit)
        return runs, await overdue(tx, connection.schema, limit=limit) if everything else Page(())

    page, balances = read(connection, statement_timeout, look)
    shown = _for_people if output == "table" else asdict
    show([shown(line) for line in page.rows], output, "Nothing waits for a person.")
    ends(page, output)
    if balances.rows:
        title(console(), "balances that should be zero by now")
        console().print(table([overdue_for_people(line) for line in balances.rows]))


@app.command
def reasons(
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Count what waits for a person, by reason, with the longest wait of each.

    Example: troth attention reasons -o json
    """
    from troth.view.attention import reasons as counted

    found = read(connection, statement_timeout, lambda tx: counted(tx, connection.schema))
    show(
        [
            {
                "reason": each.reason,
                "runs": str(each.count),
                "oldest": durations.words(each.oldest_s),
            }
            if output == "table"
            else asdict(each)
            for each in found
        ],
        output,
        "Nothing waits for a person.",
    )


def overdue_for_people(line: OverdueLine) -> dict[str, Any]:
    """One overdue balance: whose, in which flow, how much, for how long."""
    return {
        "flow": line.flow, "customer": line.customer, "account": line.account, "left": line.left,
        "since": line.since, "overdue": durations.words(line.late_s),
    }  # fmt: skip


def _for_people(line: AttentionLine) -> dict[str, Any]:
    return {
        "run": line.run,
        "workflow": line.workflow,
        "reason": line.reason,
        "since": durations.words(line.age_s),
        "at": line.path or line.at,
        "stake": line.stake,
        "owner": line.owner,
        "message": "too large for a list" if line.untold else line.message,
    }
