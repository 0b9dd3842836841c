"""`troth run`: look at runs, and act on them."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import RunNotFoundError, UsageError
from troth.cli import run_acts
from troth.cli.acting import connected, read, showing
from troth.cli.options import (
    DEFAULT_CONNECTION,
    Connection,
    Output,
    Payloads,
    RunId,
    StatementTimeout,
)
from troth.cli.output import as_text, show
from troth.cli.run_page import (
    line_for_people,
    line_record,
    picture_for_people,
    picture_record,
    tail_line,
    tail_record,
)

if TYPE_CHECKING:
    from troth.store.tx import Tx
    from troth.view.model import RunHeader, RunLine
    from troth.view.paging import Page

app = App(name="run", help="Look at runs, and act on them.")
for verb in (run_acts.cancel, run_acts.resume, run_acts.send, run_acts.fork, run_acts.claim):
    app.command(verb)
app.command(run_acts.note_, name="note")

State = Literal[
    "ready", "running", "waiting", "undoing", "attention", "succeeded", "failed", "cancelled"
]
Why = Literal[
    "in_doubt", "code_changed", "retries_exhausted", "bug", "poison", "undo_failed", "journal_limit"
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
    reason: Annotated[
        list[Why] | None,
        Parameter(
            negative="", help="Runs in attention for this reason; may be given several times."
        ),
    ] = None,
    parent: Annotated[UUID | None, Parameter(help="Runs that this run has started.")] = None,
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
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List runs, the newest first: those that are alive and those that have ended.

    Example: troth run list --state attention --since 7d
    """
    from troth.journal.model import Reason, RunState
    from troth.view import runs as view
    from troth.view import store
    from troth.view.filters import Since
    from troth.view.model import MOST_RUNS

    if not 1 <= limit <= MOST_RUNS:
        msg = f"--limit is 1 to {MOST_RUNS}, not {limit}; the next page is --after the last id"
        raise UsageError(msg)
    which = view.RunFilter(
        states=frozenset(map(RunState, state or ())),
        reasons=frozenset(map(Reason, reason or ())),
        workflow=workflow,
        key=key,
        parent=parent,
        since=Since(since or ""),
    )

    async def page(tx: Tx) -> tuple[Page[RunLine], list[str]]:
        found = await view.page(tx, connection.schema, which, after=after, limit=limit)
        ask = workflow and not found.rows
        return found, await store.live_workflows(tx, connection.schema) if ask else []

    found, known = read(connection, statement_timeout, page)
    shown = line_for_people if output == "table" else line_record
    show(
        [shown(line) for line in found.rows],
        output,
        "No runs." if which.is_empty() else "No runs match.",
    )
    if known and workflow not in known:
        print(f"Workflows with runs that are alive: {', '.join(known)}", file=sys.stderr)
    if found.cut:
        print(
            f"Looked at as many runs as one page may; further: --after {found.next}",
            file=sys.stderr,
        )
    elif found.next and output == "table":
        print(f"There are more: --after {found.next}", file=sys.stderr)


@app.command
def versions(
    workflow: Annotated[
        str | None, Parameter(help="Of this workflow; without it, of all of them.")
    ] = None,
    /,
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> int:
    """Show how many runs of which workflows and versions are alive, and how many workers can execute them.

    A version may leave the program when no run of it is alive. Exit code 1: there are runs that no worker can execute.

    Example: troth run versions checkout
    """
    from troth.view import store as view

    found = read(
        connection, statement_timeout, lambda tx: view.alive(tx, connection.schema, workflow)
    )
    show([dataclasses.asdict(each) for each in found], output, "No runs are alive.")
    return 0 if all(each.workers for each in found) else 1


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
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one run: how it stands, what its journal tells, what it has not heard yet, and why it needs attention.

    Example: troth run show 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f
    """
    from troth.view import store as view

    if limit < 1:
        msg = f"--limit is at least 1, not {limit}"
        raise UsageError(msg)
    picture = read(
        connection,
        statement_timeout,
        lambda tx: view.picture(tx, connection.schema, run, limit=limit),
    )
    payloads = payloads and showing(connection, "run", [run])
    if output == "table":
        picture_for_people(picture, payloads=payloads)
    else:
        print(
            as_text(picture_record(picture, payloads=payloads), indent=2 if output == "json" else 0)
        )


@app.command
def export(
    runs: Annotated[tuple[UUID, ...], Parameter(help="The ids of the runs.")],
    /,
    *,
    file: Annotated[
        Path | None,
        Parameter(name=["--output", "-o"], help="Where to; without it, to standard output."),
    ] = None,
    redact: Annotated[
        bool, Parameter(negative="", help="Replace all values by placeholders of their types.")
    ] = False,
    connection: Connection = DEFAULT_CONNECTION,
    statement_timeout: StatementTimeout = 60.0,
) -> None:
    """Write runs with their whole journals, a line of JSON each: for `troth replay`, and for tests.

    Redacted, a replay compares calls and their order, and neither arguments nor results.

    Example: troth run export 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --redact -o tests/a_run.jsonl
    """
    from troth.view import store as view
    from troth.workflow.recorded import redact as redacted
    from troth.workflow.recorded import to_line

    found = read(
        connection, statement_timeout, lambda tx: view.recorded(tx, connection.schema, runs)
    )
    missing = sorted(set(runs) - {run.id for run in found})
    if missing:
        msg = f"there is no run {missing[0]} in the schema {connection.schema}"
        raise RunNotFoundError(msg)
    if not redact and not showing(connection, "run", runs):
        return
    text = "".join(to_line(redacted(run) if redact else run) + "\n" for run in found)
    if file is None:
        print(text, end="")
    else:
        file.write_text(text)


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

    payloads = payloads and showing(connection, "run" if run else "runs", [run or "all"])

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

    return connected(connection, lambda _opened, url: follow(url))
