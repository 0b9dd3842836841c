"""`troth outbox`: events on their way out, what did not arrive, and the endpoints of customers."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.acting import act, author, read
from troth.cli.filtering import After, Limit, check_limit, ends, told
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    StatementTimeout,
)
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.command.model import Author
    from troth.store.tx import Tx
    from troth.view.outbox import DeliveryLine, EndpointLine, LagLine

app = App(name="outbox", help="Look at events on their way out, and send them again.")
endpoint_app = App(name="endpoint", help="Look at the endpoints of webhooks; enable, disable.")
app.command(endpoint_app)

State = Literal["pending", "delivered", "dead", "in_doubt", "dropped"]

EndpointId = Annotated[UUID, Parameter(help="The id of the endpoint.")]


@app.command(name="list")
def list_(
    message: Annotated[UUID | None, Parameter(help="One message. Without it: all.")] = None,
    *,
    endpoint: Annotated[UUID | None, Parameter(help="Only to this endpoint.")] = None,
    outbox: Annotated[str | None, Parameter(help="Only of this outbox.")] = None,
    destination: Annotated[str | None, Parameter(help="Only to this destination.")] = None,
    state: Annotated[
        list[State] | None,
        Parameter(negative="", help="Deliveries in this state; may be given several times."),
    ] = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List deliveries, the latest first: what was published, to whom it goes, and how that stands.

    Example: troth outbox list 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f
    """
    from troth.view import outbox as view

    check_limit(limit)
    which = told(
        view.OutboxFilter, state=state, outbox=outbox, destination=destination, endpoint=endpoint, message=message
    )  # fmt: skip
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.deliveries(tx, connection.schema, which, after=after, limit=limit),
    )
    show([_delivery(line, output) for line in page.rows], output, "No deliveries.")
    ends(page, output)


@app.command
def dead(
    *,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List dead letters (no try is left, or it was refused) and deliveries in doubt (it may have arrived).

    Example: troth outbox dead -o jsonl
    """
    from troth.view import outbox as view

    check_limit(limit)
    which = view.OutboxFilter(states=view.FAILED)
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.deliveries(tx, connection.schema, which, after=after, limit=limit),
    )
    show([_delivery(line, output) for line in page.rows], output, "No dead letters.")
    ends(page, output)


@app.command
def lag(
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show how far each destination and endpoint is behind; those that owe nothing are left out.

    Example: troth outbox lag -o json
    """
    from troth.view import outbox as view

    lines = read(connection, statement_timeout, lambda tx: view.lag(tx, connection.schema))
    show([_lag(line, output) for line in lines], output, "Nothing waits.")


@app.command
def resend(
    message: Annotated[
        UUID | None, Parameter(help="One message: dead, in doubt, or delivered already.")
    ] = None,
    /,
    *,
    endpoint: Annotated[UUID | None, Parameter(help="Dead letters of this endpoint.")] = None,
    since: Annotated[
        str | None,
        Parameter(help="Dead since a time (2026-11-24T08:00) or for so long (2h, 7d)."),
    ] = None,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Send again, and record who said so. What is in doubt is sent again one by one, by its id: it may arrive twice.

    Example: troth outbox resend --endpoint 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --since 2d --note "they were down"
    """
    from troth.outbox import store
    from troth.store.plan import carry_out

    if message is None and endpoint is None and since is None:
        raise UsageError("say what to send again: the id of a message, --endpoint or --since")
    who = author(by, note)
    at = None if since is None else _moment(since)

    async def do(tx: Tx) -> list[UUID]:
        q = store.queries(connection.schema)
        return await carry_out(tx, store.resend(q, message=message, endpoint=endpoint, since=at))

    def told(found: list[UUID]) -> dict[str, Any]:
        return {"messages": found}

    if message is not None and endpoint is None and since is None:
        act(connection, who, "outbox.resend", message, {}, do, _resent, told=told)
    elif message is None:
        which = {"endpoint": endpoint, "since": at}
        act(connection, who, "outbox.resend_all", "dead letters", which, do, _resent, told=told)
    else:
        raise UsageError("the id of a message says all: it goes without --endpoint and --since")


def _resent(messages: list[UUID]) -> str:
    count = len(messages)
    if not count:
        print("troth: there is nothing like that to send again", file=sys.stderr)
    return f"{count} {'delivery' if count == 1 else 'deliveries'} will be sent again"


@endpoint_app.command(name="list")
def endpoints(
    *,
    outbox: Annotated[str | None, Parameter(help="Only of this outbox.")] = None,
    failing: Annotated[
        bool, Parameter(negative="", help="Only those that fail or are disabled.")
    ] = False,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List endpoints and their health, the latest first. Secrets are not shown.

    Example: troth outbox endpoint list --failing
    """
    from troth.view import outbox as view

    check_limit(limit)
    which = told(view.EndpointFilter, outbox=outbox, failing=failing)
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.endpoints(tx, connection.schema, which, after=after, limit=limit),
    )
    show([_endpoint(line, output) for line in page.rows], output, "No endpoints.")
    ends(page, output)


@endpoint_app.command
def enable(
    endpoint: EndpointId,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Let an endpoint be called again. What has waited for it goes out, in order, with all its tries.

    Example: troth outbox endpoint enable 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f
    """
    said = f"endpoint {endpoint} is enabled: what has waited for it goes out now"
    _switch(connection, endpoint, "outbox.endpoint.enable", author(by, note), said)


@endpoint_app.command
def disable(
    endpoint: EndpointId,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Do not call an endpoint any more. What is published for it waits.

    Example: troth outbox endpoint disable 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --note "they asked for it"
    """
    said = f"endpoint {endpoint} is disabled: what is published for it waits"
    _switch(connection, endpoint, "outbox.endpoint.disable", author(by, note), said)


def _switch(connection: Connection, endpoint: UUID, name: str, who: Author, said: str) -> None:
    from troth.outbox import store
    from troth.store.plan import carry_out

    async def do(tx: Tx) -> None:
        q = store.queries(connection.schema)
        verb = name.rpartition(".")[2]
        await carry_out(tx, store.switch_endpoint(q, endpoint, verb, who.by))

    act(connection, who, name, endpoint, {}, do, lambda _: said)


# Lines ----------------------------------------------------------------------------------------------------------------


def _delivery(line: DeliveryLine, output: str) -> dict[str, Any]:
    if output == "table":
        return {
            "id": line.message,
            "type": line.type,
            "key": line.key,
            "to": line.url or f"{line.outbox}/{line.destination}",
            "state": line.state,
            "attempts": line.attempts,
            "next": line.next_at,
            "last": line.last,
        }
    return {
        "message": line.message,
        "outbox": line.outbox,
        "type": line.type,
        "key": line.key,
        "published_at": line.published_at,
        "destination": line.destination,
        "endpoint": line.endpoint,
        "url": line.url,
        "state": line.state,
        "attempts": line.attempts,
        "next_at": line.next_at,
        "last": line.last,
        "last_at": line.last_at,
    }


def _lag(line: LagLine, output: str) -> dict[str, Any]:
    to = {"destination": f"{line.outbox}/{line.destination}", "endpoint": line.endpoint}
    counts = {"pending": line.pending, "dead": line.dead, "in_doubt": line.in_doubt}
    counted = {name: str(each) if output == "table" else each.n for name, each in counts.items()}
    pending = {"url": line.url, "pending": counted.pop("pending")}
    health = {"failing_since": line.failing_since, "disabled_since": line.disabled_at}
    if output == "table":
        oldest = None if line.oldest_s is None else durations.words(line.oldest_s)
        return {**to, **pending, "oldest": oldest, **counted, **health}
    return {**to, **pending, "oldest_s": line.oldest_s, **counted, **health}


def _endpoint(line: EndpointLine, output: str) -> dict[str, Any]:
    found = {
        "id": line.id,
        "destination": f"{line.outbox}/{line.destination}",
        "url": line.url,
        "types": " ".join(line.types) if output == "table" else list(line.types),
        "order": "per_key" if line.per_key else "none",
        "failing_since": line.failing_since,
        "disabled_since": line.disabled_at,
        "because": line.disabled_because,
    }
    if output == "table":
        return found
    return {**found, "allow_private": line.allow_private, "created_at": line.created_at}


def _moment(text: str) -> datetime:
    try:
        return durations.moment(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None
