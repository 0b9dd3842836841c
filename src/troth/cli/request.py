"""`troth request`: what was asked under idempotency keys, and what was answered."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from troth.cli import durations
from troth.cli.acting import read, showing
from troth.cli.filtering import After, Limit, SinceOption, check_limit, ends, told
from troth.cli.options import (
    DEFAULT_CONNECTION,
    Connection,
    Output,
    Payloads,
    StatementTimeout,
)
from troth.cli.output import as_text, block, console, facts, show, title

if TYPE_CHECKING:
    from troth.view.paging import Blob
    from troth.view.requests import RequestLine, RequestStory

app = App(name="request", help="Look at idempotent requests and their answers.")


@app.command(name="list")
def list_(
    *,
    key: Annotated[str | None, Parameter(help="Under this idempotency key.")] = None,
    name: Annotated[str | None, Parameter(help="Through these Requests, by their name.")] = None,
    caller: Annotated[str | None, Parameter(help="From this caller.")] = None,
    method: Annotated[str | None, Parameter(help="With this method: POST, …")] = None,
    route: Annotated[str | None, Parameter(help="To this route, as it is declared.")] = None,
    status: Annotated[int | None, Parameter(help="Answered with this status.")] = None,
    unanswered: Annotated[
        bool, Parameter(negative="", help="Whose run has not been answered for.")
    ] = False,
    since: SinceOption = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List requests, the latest first, with their first answers. How often a key came again is not recorded.

    Example: troth request list --key order-4711
    """
    from troth.view.requests import RequestFilter, requests

    check_limit(limit)
    which = told(
        RequestFilter, key=key, name=name, caller=caller, method=method, route=route, status=status, unanswered=unanswered,
        since=since,
    )  # fmt: skip
    page = read(
        connection,
        statement_timeout,
        lambda tx: requests(tx, connection.schema, which, after=after, limit=limit),
    )
    shown = _for_people if output == "table" else asdict
    show([shown(line) for line in page.rows], output, "No requests match.")
    ends(page, output)


@app.command(name="show")
def show_(
    request: Annotated[
        str, Parameter(help="The id of the request, as `troth request list` shows it.")
    ],
    /,
    *,
    payloads: Payloads = False,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one request: what must be the same in a retry, what was answered, which run it is about.

    Example: troth request show 5d41402abc4b2a76b9719d911017c592
    """
    from troth.view.requests import request as found

    payloads = payloads and showing(connection, "request", [request])
    story = read(
        connection,
        statement_timeout,
        lambda tx: found(tx, connection.schema, request, payloads=payloads),
    )
    if output != "table":
        print(as_text(_record(story), indent=2 if output == "json" else 0))
        return
    out = console()
    line = asdict(story.line)
    facts(out, {name.replace("_", " "): value for name, value in line.items()})
    facts(out, {"same": ", ".join(story.parts)})
    for name, found_blob in (("Headers", story.headers), ("Body", story.body)):
        if found_blob is not None and found_blob.data is not None:
            title(out, name)
            print(block(_text(found_blob)))


def _for_people(line: RequestLine) -> dict[str, Any]:
    return {
        "request": line.id,
        "key": line.key,
        "caller": line.caller,
        "asked": f"{line.method} {line.route}",
        "status": line.status,
        "run": line.run,
        "state": line.run_state,
        "ago": durations.words(line.age_s),
    }


def _record(story: RequestStory) -> dict[str, Any]:
    record: dict[str, Any] = {**asdict(story.line), "parts": list(story.parts)}
    for name, found in (("headers", story.headers), ("body", story.body)):
        if found is not None and found.data is not None:
            record[name] = _text(found)
    return record


def _text(found: Blob) -> str:
    said = (found.data or b"").decode(errors="replace")
    return said + (f"\n… of {found.size} bytes" if found.cut else "")
