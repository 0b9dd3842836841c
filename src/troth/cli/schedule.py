"""`troth schedule`: what starts by the clock, when next, what came of it; pause, run now, make up for the past."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.acting import act, agreed, author, preview, read
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    StatementTimeout,
    Yes,
)
from troth.cli.output import as_text, console, facts, show, table, title

if TYPE_CHECKING:
    from troth.schedule.model import Entry, Line
    from troth.store.tx import Tx

app = App(name="schedule", help="Look at what starts by the clock; pause it, run it now.")

_MOST = 1000

Name = Annotated[str, Parameter(help="The name of the schedule.")]
Limit = Annotated[int, Parameter(help="At most so many, up to 1000.")]


@app.command(name="list")
def list_(
    *,
    workflow: Annotated[str | None, Parameter(help="Only of this workflow.")] = None,
    paused: Annotated[bool, Parameter(negative="", help="Only those that are paused.")] = False,
    after: Annotated[str, Parameter(help="The next page: the last name of this one.")] = "",
    limit: Limit = 100,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List schedules by name: when they fire, in words, when next, and what came of the last time.

    Example: troth schedule list --workflow nightly
    """
    from troth.schedule import store
    from troth.store.plan import carry_out

    _require_limit(limit)

    async def page(tx: Tx) -> list[Line]:
        plan = store.lines(
            store.queries(connection.schema),
            workflow=workflow,
            paused=paused,
            after=after,
            limit=limit,
        )
        return await carry_out(tx, plan)

    lines = read(connection, statement_timeout, page)
    show([_line(line, output) for line in lines], output, "No schedules.")


@app.command(name="show")
def show_(
    name: Name,
    /,
    *,
    limit: Annotated[int, Parameter(help="At most so many entries; 100 are kept.")] = 20,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one schedule and its last firings, the latest first, with their runs.

    Example: troth schedule show nightly
    """
    from troth.schedule import store
    from troth.store.plan import carry_out

    _require_limit(limit)

    async def look(tx: Tx) -> tuple[Line, list[Entry]]:
        return await carry_out(tx, store.show(store.queries(connection.schema), name, limit))

    line, entries = read(connection, statement_timeout, look)
    if output != "table":
        told = {**_line(line, output), "firings": [_entry(entry) for entry in entries]}
        print(as_text(told, indent=2 if output == "json" else 0))
        return
    out = console()
    out.print(Text(line.name, style="bold"))
    facts(out, _facts(line))
    title(out, "Firings, the latest first")
    if entries:
        out.print(table([_entry(entry) for entry in entries]))
    else:
        out.print("None yet.")


@app.command
def pause(
    name: Name,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Let a schedule rest, also over deployments. What comes meanwhile is left out; runs that it has started go on.

    Example: troth schedule pause nightly --note "the warehouse moves"
    """
    from troth.schedule import store
    from troth.store.plan import carry_out

    who = author(by, note)

    async def do(tx: Tx) -> None:
        await carry_out(tx, store.pause(store.queries(connection.schema), name, who.by, who.note))

    act(connection, who, "schedule.pause", name, {}, do, lambda _: f"{name} is paused")


@app.command
def resume(
    name: Name,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Let a paused schedule go on. What it has slept through is recorded and not made up for (see backfill).

    Example: troth schedule resume nightly
    """
    from troth.schedule import store
    from troth.store.plan import carry_out

    who = author(by, note)

    async def do(tx: Tx) -> datetime | None:
        q = store.queries(connection.schema)
        return await carry_out(tx, store.resume(q, name, who.by, who.note))

    def say(next_at: datetime | None) -> str:
        return f"{name} goes on" + (f": next at {_utc(next_at)}" if next_at else "")

    act(connection, who, "schedule.resume", name, {}, do, say)


@app.command
def run(
    name: Name,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Fire a schedule once now, whatever its times and its overlap say, also while it is paused. It is recorded with who did.

    Example: troth schedule run nightly --note "yesterday's file came late"
    """
    from troth.schedule import store
    from troth.store.plan import carry_out

    who = author(by, note)

    async def do(tx: Tx) -> None:
        q = store.queries(connection.schema)
        await carry_out(tx, store.wish(q, name, None, who.by, who.note))

    said = f"{name} will be fired by the next worker that can: troth schedule show {name}"
    act(connection, who, "schedule.run", name, {}, do, lambda _: said)


@app.command
def backfill(
    name: Name,
    /,
    *,
    since: Annotated[str, Parameter(help="From a time (2026-11-24T08:00) or so long ago (2d).")],
    until: Annotated[str, Parameter(help="To a time, or so long ago. Without it: now.")] = "0s",
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Fire for all times of a range in the past, up to 1000, after asking. A time that was fired is not fired again.

    The runs begin at once and together: give the workflow a queue with a limit if that is too much.

    Example: troth schedule backfill nightly --since 2026-11-20 --until 2026-11-24
    """
    from troth.schedule import acts, store
    from troth.store.plan import carry_out

    who = author(by, note)
    now = datetime.now(UTC)
    begin, end = _moment("since", since, now), _moment("until", until, now)
    q = store.queries(connection.schema)

    async def look(tx: Tx) -> list[datetime]:
        return await carry_out(tx, acts.times_between(q, name, begin, end))

    async def do(tx: Tx) -> list[datetime]:
        return await carry_out(tx, acts.backfill(q, name, begin, end, who.by, who.note))

    found = preview(connection, look)
    if not found:
        print(f"{name} has no times between {_utc(begin)} and {_utc(end)}")
        return
    count = f"{len(found)} {'time' if len(found) == 1 else 'times'}"
    span = f"{_utc(found[0])} to {_utc(found[-1])}"
    if not yes and not agreed(f"Fire {name} for {count}, {span}?"):
        print("troth: nothing was done; --yes fires without asking", file=sys.stderr)
        return
    act(
        connection, who, "schedule.backfill", name, {"since": begin, "until": end}, do,
        lambda _: f"{name} will be fired for {count}, {span}",
        told=lambda times: {"times": len(times)},
    )  # fmt: skip


# Lines ----------------------------------------------------------------------------------------------------------------


def _line(line: Line, output: str) -> dict[str, Any]:
    from troth.schedule import rules

    words = rules.words(line.terms.cron)
    if output == "table":
        return {
            "name": line.name,
            "workflow": line.workflow,
            "when": f"{words} ({line.terms.tz})",
            "state": _state(line),
            "next": None if line.paused_at or line.orphaned else line.next_at,
            "last": line.last_at,
            "result": line.last_result,
        }
    return {
        "name": line.name,
        "workflow": line.workflow,
        "cron": line.terms.cron,
        "tz": line.terms.tz,
        "words": words,
        "overlap": line.terms.overlap,
        "catch_up_s": line.terms.catch_up.total_seconds(),
        "missed": line.terms.missed,
        "jitter_s": line.terms.jitter.total_seconds(),
        "declared": line.declared,
        "state": _state(line),
        "next_at": line.next_at,
        "paused_at": line.paused_at,
        "paused_by": line.paused_by,
        "paused_note": line.paused_note,
        "last_at": line.last_at,
        "last_result": line.last_result,
        "last_run": line.last_run,
    }


def _state(line: Line) -> str:
    if line.paused_at is not None:
        return "paused"
    return "orphaned" if line.orphaned else "on"


def _facts(line: Line) -> dict[str, object]:
    from troth.schedule import rules

    terms = line.terms
    state = _state(line)
    if line.paused_at is not None:
        state += f" by {line.paused_by} since {_utc(line.paused_at)}"
        state += f": {line.paused_note}" if line.paused_note else ""
    if line.orphaned:
        state += f": no program declares it since {_utc(line.seen_at)}, so it does not fire"
    return {
        "workflow": line.workflow,
        "when": f"{rules.words(terms.cron)} ({terms.cron}, {terms.tz})",
        "made": "in code" if line.declared else "as data",
        "state": state,
        "next": line.next_at,
        "overlap": terms.overlap,
        "catch up": f"{durations.words(terms.catch_up.total_seconds())}, {terms.missed}",
        "jitter": durations.words(terms.jitter.total_seconds()) if terms.jitter else None,
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "at": entry.at,
        "until": entry.until,
        "result": entry.result,
        "run": entry.run,
        "state": entry.run_state,
        "by": entry.by,
        "note": entry.note,
        "written_at": entry.written_at,
    }


def _utc(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def _require_limit(limit: int) -> None:
    if not 1 <= limit <= _MOST:
        msg = f"--limit is 1 to {_MOST}, not {limit}"
        raise UsageError(msg)


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        return durations.moment(text, now)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from None
