"""`troth provider`: whether the providers of effects are called, how fast, and who may call."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from troth.cli import durations
from troth.cli.acting import read
from troth.cli.filtering import After, Limit, check_limit, ends
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.view.providers import ProviderLine

app = App(name="provider", help="Look at the providers that effects call.")


@app.command(name="list")
def list_(
    *,
    name: Annotated[str | None, Parameter(help="Only this one.")] = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List providers that declare a rate, a breaker or a concurrency: whether they are called, and how long a call waits.

    Example: troth provider list --name bank
    """
    from troth.view.providers import providers

    check_limit(limit)
    page = read(
        connection,
        statement_timeout,
        lambda tx: providers(tx, connection.schema, name=name, after=after, limit=limit),
    )
    shown = _for_people if output == "table" else asdict
    show([shown(line) for line in page.rows], output, "No provider declares any of these.")
    ends(page, output)


def _for_people(line: ProviderLine) -> dict[str, Any]:
    breaker: str | None = None if line.breaker_failures is None else line.breaker
    if line.opens_in_s is not None:
        breaker = f"open, tried again in {durations.words(line.opens_in_s)}"
    rate = None
    if line.rate_limit is not None:
        rate = f"{line.rate_limit} per {durations.words(line.rate_per_s or 0.0)}"
    at_once = None if line.concurrency is None else f"{line.held} of {line.concurrency}"
    return {
        "provider": line.name,
        "breaker": breaker,
        "failed": None if line.failed_s is None else f"{durations.words(line.failed_s)} ago",
        "rate": rate,
        "next call waits": durations.words(line.booked_s) if rate and line.booked_s else None,
        "at once": at_once,
        "declared by": line.declared_by,
    }
