"""`troth run`: look at runs, and act on them."""

from __future__ import annotations

import asyncio
import getpass
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output
from troth.cli.output import as_text, show
from troth.cli.run_page import (
    cancel_words,
    line_for_people,
    line_record,
    picture_for_people,
    picture_record,
    tail_line,
    tail_record,
)

if TYPE_CHECKING:
    from troth.command.act import Author, Finding
    from troth.store.connect import AsyncConnection
    from troth.store.tx import Tx
    from troth.view.model import RunHeader, RunLine

app = App(name="run", help="Look at runs, and act on them.")

T = TypeVar("T")
State = Literal[
    "ready", "running", "waiting", "undoing", "attention", "succeeded", "failed", "cancelled"
]
RunId = Annotated[UUID, Parameter(help="The id of the run.")]
Limit = Annotated[
    durations.Length,
    Parameter(name="--statement-timeout", help="A statement that takes longer is ended."),
]
Note = Annotated[str | None, Parameter(help="Why, for the record.")]
By = Annotated[
    str | None,
    Parameter(help="Who acts, for the record. Without it: the user and host of this shell."),
]
Payloads = Annotated[
    bool,
    Parameter(
        negative="", help="Show what steps were given and returned, too; it may be confidential."
    ),
]


@app.command(name="list")
def list_(
    *,
    state: Annotated[
        list[State] | None,
        Parameter(negative="", help="Runs in this state; may be given several times."),
    ] = None,
    workflow: Annotated[str | None, Parameter(help="Runs of this workflow.")] = None,
    key: Annotated[str | None, Parameter(help="The run that was started with this key.")] = None,
    since: Annotated[
        str | None,
        Parameter(help="Runs made since a time (2026-11-24T08:00) or for so long (2h, 7d)."),
    ] = None,
    limit: Annotated[int, Parameter(help="At most so many, up to 1000.")] = 50,
    after: Annotated[
        UUID | None, Parameter(help="The next page: the id at the end of the page before.")
    ] = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: Limit = 5.0,
) -> None:
    """List runs, the newest first: those that are alive and those that have ended.

    Example: troth run list --state attention --since 7d
    """
    from troth.journal.model import RunState
    from troth.view import store as view
    from troth.view.model import BEGINNING, LAST_ID, MOST_RUNS, Filter

    if not 1 <= limit <= MOST_RUNS:
        msg = f"--limit is 1 to {MOST_RUNS}, not {limit}; the next page is --after the last id"
        raise UsageError(msg)
    which = Filter(
        states=frozenset(map(RunState, state or ())),
        workflow=workflow,
        key=key,
        since=BEGINNING if since is None else _moment(since),
    )

    async def read(tx: Tx) -> tuple[list[RunLine], list[str]]:
        found = await view.runs(tx, connection.schema, which, before=after or LAST_ID, limit=limit)
        known = await view.live_workflows(tx, connection.schema) if workflow and not found else []
        return found, known

    lines, known = _read(connection, statement_timeout, read)
    shown = line_for_people if output == "table" else line_record
    show(
        [shown(line) for line in lines],
        output,
        "No runs match." if which != Filter() else "No runs.",
    )
    if known and workflow not in known:
        print(f"Workflows with runs that are alive: {', '.join(known)}", file=sys.stderr)
    if len(lines) == limit and output == "table":
        print(f"There may be more: --after {lines[-1].id}", file=sys.stderr)


@app.command(name="show")
def show_(
    run: RunId,
    /,
    *,
    payloads: Payloads = False,
    limit: Annotated[
        int, Parameter(help="The latest so many entries of the journal, up to 4999.")
    ] = 500,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: Limit = 5.0,
) -> None:
    """Show one run: how it stands, what its journal tells, what it has not heard yet, and why it needs attention.

    Example: troth run show 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f
    """
    from troth.view import store as view

    if limit < 1:
        msg = f"--limit is at least 1, not {limit}"
        raise UsageError(msg)
    picture = _read(
        connection,
        statement_timeout,
        lambda tx: view.picture(tx, connection.schema, run, limit=limit),
    )
    if output == "table":
        picture_for_people(picture, payloads=payloads)
    else:
        print(
            as_text(picture_record(picture, payloads=payloads), indent=2 if output == "json" else 0)
        )


@app.command
def cancel(
    run: RunId,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Ask a run to stop. It ends as cancelled once a worker has heard it; what it has confirmed until then stays.

    A run that no worker has at the moment is cancelled by the next worker that claims it.

    Example: troth run cancel 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --note "ordered twice"
    """
    from troth.command import act
    from troth.view import store as view

    async def do(tx: Tx) -> RunHeader:
        found = await view.header(tx, connection.schema, run)
        await act.cancel(tx, connection.schema, run, _author(by, note))
        return found

    print(cancel_words(_act(connection, do)))


@app.command
def resume(
    run: RunId,
    /,
    *,
    done: Annotated[
        str | None,
        Parameter(
            help="The effect in doubt happened; this is its result, as JSON (null, '\"cus_1\"', …)."
        ),
    ] = None,
    not_done: Annotated[
        bool,
        Parameter(
            negative="",
            help="The effect in doubt did not happen and cannot any more: it may be sent again.",
        ),
    ] = False,
    program: Annotated[
        str | None,
        Parameter(
            help="MODULE:NAME, to check first that the code can take the result given by --done."
        ),
    ] = None,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Let a run go on that stands in attention, and record who decided so.

    A run in doubt needs --done or --not-done: did its effect happen? For all other reasons, mend the cause first; what
    made the run stop is then tried again.

    Example: troth run resume 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --done '"re_42"' --note "seen in the dashboard"
    """
    from troth.command import act
    from troth.view import store as view

    finding = _finding(done, not_done=not_done)

    async def do(tx: Tx) -> str:
        if program is not None and isinstance(finding, act.Happened):
            found = await view.header(tx, connection.schema, run)
            _check_result(program, found, finding.value)
        return await act.resume(tx, connection.schema, run, _author(by, note), finding)

    reason = _act(connection, do)
    print(
        f"run {run} is ready: it was in attention ({reason}), and goes on when a worker claims it"
    )


@app.command
def tail(
    run: Annotated[
        UUID | None, Parameter(help="One run, until it ends. Without it: all of them.")
    ] = None,
    /,
    *,
    payloads: Payloads = False,
    connection: Connection = DEFAULT_CONNECTION,
    output: Annotated[
        Literal["table", "jsonl"],
        Parameter(name=["--output", "-o"], help="For people (table) or for programs (jsonl)."),
    ] = "table",
) -> int:
    """Follow a run until it ends: exit code 0 if it succeeded, 1 if not. Or follow all runs, until Ctrl-C.

    Example: troth run tail -o jsonl | jq -r 'select(.state == "failed") | .run'
    """
    from troth.view.follow import Follower
    from troth.view.model import RunHeader

    async def follow(url: str) -> int:
        last: RunHeader | None = None
        async with Follower(url, connection.schema) as follower:
            if run is None:
                async with aclosing(follower.all()) as lines:
                    async for line in lines:
                        say(line.id, line)
                return 0
            async with aclosing(follower.run(run)) as steps:
                async for step in steps:
                    say(run, step)
                    last = step if isinstance(step, RunHeader) else last
        return 0 if last is not None and last.line.state == "succeeded" else 1

    def say(run_id: UUID, step: object) -> None:
        record = tail_record(run_id, step, payloads=payloads)
        print(as_text(record) if output == "jsonl" else tail_line(record), flush=True)

    return _connected(connection, lambda _opened, url: follow(url))


def _read(connection: Connection, limit_s: float, act: Callable[[Tx], Awaitable[T]]) -> T:
    """Read in one snapshot of the connection's database."""
    from troth.view.store import reading

    async def read(opened: AsyncConnection, _url: str) -> T:
        async with reading(opened, connection.schema, limit_s) as tx:
            return await act(tx)

    return _connected(connection, read)


def _act(connection: Connection, act: Callable[[Tx], Awaitable[T]]) -> T:
    """Act in one transaction of the connection's database."""
    from troth.store.isolation import transaction_async

    async def do(opened: AsyncConnection, _url: str) -> T:
        async with transaction_async(opened, "read committed"):
            return await act(opened)

    return _connected(connection, do)


def _connected(connection: Connection, act: Callable[[AsyncConnection, str], Awaitable[T]]) -> T:
    """Do something with an open connection and its URL, once the schema has been found to fit."""
    from troth.store.connect import connect_async
    from troth.store.migrate import require_schema

    async def do(url: str) -> T:
        async with await connect_async(url) as opened:
            await require_schema(opened, connection.schema)
            return await act(opened, url)

    with connection.find() as database:
        return asyncio.run(do(database.url))


def _moment(text: str) -> datetime:
    try:
        return durations.moment(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None


def _author(by: str | None, note: str | None) -> Author:
    from troth.command.act import Author

    if by is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container that runs under a number without a name
            user = str(os.getuid())
        by = f"{user}@{socket.gethostname()}"
    return Author(by, note)


def _finding(done: str | None, *, not_done: bool) -> Finding | None:
    import msgspec

    from troth.command.act import DidNotHappen, Happened

    if done is None:
        return DidNotHappen() if not_done else None
    if not_done:
        raise UsageError("--done and --not-done: it is one or the other")
    try:
        msgspec.json.decode(done)
    except (msgspec.DecodeError, UnicodeEncodeError) as error:
        msg = f"--done {done!r} is not JSON ({error}); a text needs its quotes: --done '\"{done}\"'"
        raise UsageError(msg) from None
    return Happened(done.encode())


def _check_result(program: str, run: RunHeader, value: bytes) -> None:
    """Raise `UsageError` (a `PayloadError`) if the step in doubt cannot take this result."""
    from troth.base import codec
    from troth.cli import target

    path = str(codec.decode(run.detail or b"{}").get("at", ""))
    name = path.rpartition(":")[2].partition("#")[0]
    step = target.find(program).steps.get(name)
    if step is None:
        msg = f"{program} has no step {name}, which run {run.line.id} is in doubt about"
        raise UsageError(msg)
    step.result.decode(value)
