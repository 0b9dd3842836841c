"""`troth access decisions`: who wanted what of which, and what was answered."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from troth.cli import durations
from troth.cli.acting import read
from troth.cli.filtering import After, Limit, SinceOption, check_limit, ends, told
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.view.decisions import DecisionLine


def decisions(
    *,
    principal: Annotated[str | None, Parameter(help="About this principal, an id.")] = None,
    action: Annotated[str | None, Parameter(help="About this action.")] = None,
    resource: Annotated[str | None, Parameter(help="About this resource, an id.")] = None,
    verdict: Annotated[Literal["allowed", "denied"] | None, Parameter(help="So answered.")] = None,
    since: SinceOption = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List decisions about access, the latest first. `troth access why` explains one.

    Example: troth access decisions --verdict denied --since 2h
    """
    from troth.view.decisions import DecisionFilter
    from troth.view.decisions import decisions as found

    check_limit(limit)
    which = told(
        DecisionFilter, principal=principal, action=action, resource=resource, verdict=verdict, since=since
    )  # fmt: skip
    page = read(
        connection,
        statement_timeout,
        lambda tx: found(tx, connection.schema, which, after=after, limit=limit),
    )
    shown = _for_people if output == "table" else asdict
    show([shown(line) for line in page.rows], output, "No decisions match.")
    ends(page, output)


def _for_people(line: DecisionLine) -> dict[str, Any]:
    return {
        "id": line.id,
        "answer": "allowed" if line.allowed else "denied",
        "because": line.because,
        "principal": f"{line.principal_type} {line.principal_id}",
        "action": line.action,
        "resource": f"{line.resource_type} {line.resource_id}",
        "ago": durations.words(line.age_s),
    }
