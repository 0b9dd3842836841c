"""`troth run`: look at runs, and act on them."""

from __future__ import annotations

import dataclasses
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from cyclopts import App, Parameter

from troth.base.errors import RunNotFoundError, UsageError
from troth.cli import durations
from troth.cli.acting import act, agreed, author, connected, read
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    Payloads,
    RunId,
    StatementTimeout,
    Yes,
)
from troth.cli.output import as_text, show
from troth.cli.run_page import (
    cancel_words,
    fork_words,
    line_for_people,
    line_record,
    picture_for_people,
    picture_record,
    rewind_words,
    tail_line,
    tail_record,
)
from troth.command.rules import require_redo_allowed

if TYPE_CHECKING:
    from troth.command.model import Author
    from troth.store.tx import Tx
    from troth.view.model import RunHeader, RunLine

app = App(name="run", help="Look at runs, and act on them.")

State = Literal[
    "ready", "running", "waiting", "undoing", "attention", "succeeded", "failed", "cancelled"
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
    statement_timeout: StatementTimeout = 5.0,
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

    async def page(tx: Tx) -> tuple[list[RunLine], list[str]]:
        found = await view.runs(tx, connection.schema, which, before=after or LAST_ID, limit=limit)
        known = await view.live_workflows(tx, connection.schema) if workflow and not found else []
        return found, known

    lines, known = read(connection, statement_timeout, page)
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
    """Ask a run to stop. It ends as cancelled once a worker has heard it, and has undone what can be undone.

    A run that no worker has at the moment is cancelled by the next worker that claims it.

    Example: troth run cancel 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --note "ordered twice"
    """
    from troth.command.act import cancel as ask
    from troth.view import store as view

    async def do(tx: Tx) -> RunHeader:
        found = await view.header(tx, connection.schema, run)
        await ask(tx, connection.schema, run, author(by, note))
        return found

    print(cancel_words(act(connection, do)))


@app.command
def send(
    run: Annotated[str, Parameter(help="The id of the run, or the key that it was started with.")],
    topic: Annotated[str, Parameter(help="The topic, as in troth.receive.")],
    value: Annotated[str, Parameter(help="What to say, as JSON.")] = "null",
    /,
    *,
    key: Annotated[
        str | None,
        Parameter(help="The same key is the same message, however often it is sent."),
    ] = None,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Leave a message for a run, and record who did.

    Whether the value has the type that the run expects is found out when it is received: a wrong one parks the run.

    Example: troth run send payout:1 approved '{"by": "ada"}' --key ticket-17
    """
    from troth.base import codec
    from troth.command.act import send as leave

    try:
        to: UUID | str = UUID(run)
    except ValueError:
        to = run

    try:
        payload = codec.encode(codec.decode(value.encode()))
    except ValueError as error:
        raise UsageError(f"{value!r} is not JSON: {error}") from None
    who = author(by, note)
    act(connection, lambda tx: leave(tx, connection.schema, to, topic, payload, key, who))
    print(f"run {run} has a message of {topic}")


@app.command
def resume(
    run: RunId,
    /,
    *,
    from_: Annotated[
        str | None,
        Parameter(
            name="--from", help="Go back to before the answer of this step, and on from there."
        ),
    ] = None,
    redo_transactions: Annotated[
        bool,
        Parameter(negative="", help="Run steps and transactions that it goes back over once more."),
    ] = False,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Let a run go on that stands in attention, and record who decided so.

    Mend the cause first: what made the run stop is tried again. A run in doubt is settled by `troth effect settle`.

    With --from, what the journal has from that step on does not count any more; it shows first what is kept and what is
    done again, and asks. Effects are not blindly repeated: what became of them is found out by their key, their probe or
    a person.

    Example: troth run resume 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --note "fixed in 4f2a91c"
    """
    from troth.command.act import resume as go_on

    if from_ is not None:
        _go_back(connection, run, from_, author(by, note), redo_transactions, yes=yes)
        return
    if redo_transactions:
        raise UsageError("--redo-transactions goes with --from STEP")
    reason = act(connection, lambda tx: go_on(tx, connection.schema, run, author(by, note)))
    print(
        f"run {run} is ready: it was in attention ({reason}), and goes on when a worker claims it"
    )


def _go_back(
    connection: Connection,
    run: UUID,
    path: str,
    who: Author,
    redo_transactions: bool,
    *,
    yes: bool,
) -> None:
    from troth.command.rewind import preview, rewind

    schema = connection.schema
    shown = act(connection, lambda tx: preview(tx, schema, run, path))
    print(rewind_words(shown))
    require_redo_allowed(shown, redo_transactions=redo_transactions)
    if not yes and not agreed(f"Let run {run} go back?"):
        raise UsageError("nothing was done; --yes does not ask")

    async def do(tx: Tx) -> None:
        allowed = redo_transactions
        if await rewind(tx, schema, run, path, who, redo_transactions=allowed) != shown:
            msg = f"run {run} has moved on since this was shown; nothing was done"
            raise UsageError(msg)

    act(connection, do)
    print(f"run {run} is ready, and goes on from before {path} when a worker claims it")


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
    text = "".join(to_line(redacted(run) if redact else run) + "\n" for run in found)
    if file is None:
        print(text, end="")
    else:
        file.write_text(text)


@app.command
def fork(
    run: RunId,
    /,
    *,
    from_: Annotated[
        str, Parameter(name="--from", help="The first step that the new run does by itself.")
    ],
    dry_run: Annotated[bool, Parameter(negative="", help="Only show what it means.")] = False,
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Start another run with the same input and the same past up to a step, alive or ended; it goes on from there.

    It shows what is kept and what is done again, and asks. Effects from that step on are sent again, under other keys. What
    is kept stays the first run's: a fork that fails does not undo it.

    Example: troth run fork 019d2f7c-5e80-7000-8000-5a5b6c7d8e9f --from ship --dry-run
    """
    from troth.command.fork import fork as make
    from troth.command.fork import preview

    schema = connection.schema
    shown = act(connection, lambda tx: preview(tx, schema, run, from_))
    print(fork_words(shown))
    if dry_run:
        return
    if not yes and not agreed(f"Fork run {run}?"):
        raise UsageError("nothing was done; --yes does not ask")
    who = author(by, note)
    new = act(connection, lambda tx: make(tx, schema, run, from_, who, shown))
    print(f"run {new} goes on from before {from_} when a worker claims it")


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

    return connected(connection, lambda _opened, url: follow(url))


def _moment(text: str) -> datetime:
    try:
        return durations.moment(text, datetime.now(UTC))
    except ValueError as error:
        raise UsageError(f"--since: {error}") from None
