"""`troth reconcile`: what two sides differ in, and what becomes of that; runs, breaks, periods."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text

from troth.base.errors import UsageError
from troth.cli import durations, reconcile_periods
from troth.cli.acting import act, author, read
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    StatementTimeout,
)
from troth.cli.output import as_text, console, facts, show, table, title
from troth.cli.reconcile_page import break_line, happening, item_line, run_facts, run_line, utc

if TYPE_CHECKING:
    from troth.command.model import Settlement
    from troth.reconcile.breaks_store import Happening
    from troth.reconcile.model import Break, Side, Window
    from troth.reconcile.store import RunLine
    from troth.store.tx import Tx

app = App(
    name="reconcile", help="Compare our books with theirs; explain what differs; close periods."
)

for each in (reconcile_periods.close, reconcile_periods.approve, reconcile_periods.periods):
    app.command(each)

_MOST = 1000
_LOOK_S = 0.5

Name = Annotated[str, Parameter(help="The name of the reconciliation.")]
Number = Annotated[int, Parameter(help="The number of the break.")]
Limit = Annotated[int, Parameter(help="At most so many, up to 1000.")]


@app.command
def run(
    name: Name,
    /,
    *,
    since: Annotated[
        str | None,
        Parameter(
            help="From a time (2026-11-01) or so long ago (35d). Without it: as far as it looks back."
        ),
    ] = None,
    until: Annotated[str | None, Parameter(help="To a time. Without it: now.")] = None,
    detach: Annotated[bool, Parameter(negative="", help="Do not wait for its end.")] = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> int:
    """Ask the workers for a run, and show how far it is. 0: clean or explained; 1: breaks, or a side that is not complete.

    Example: troth reconcile run stripe --since 2026-11-01 --until 2026-12-01
    """
    from troth.reconcile import acts

    who, now = author(by, note), datetime.now(UTC)
    first, last = _moment("since", since, now), _moment("until", until, now)

    async def do(tx: Tx) -> tuple[int, Window]:
        return await acts.request(tx, connection.schema, name, who, first, last)

    def say(made: tuple[int, Window]) -> str:
        number, window = made
        return f"run {number} of {name}: {utc(window.since)} to {utc(window.until)}"

    made = act(connection, who, "reconcile.run", name, {"since": first, "until": last}, do, say)
    if not isinstance(made, tuple) or detach:
        return 0
    line = _follow(connection, made[0])
    _print_run(line)
    return 0 if line.verdict in {"clean", "explained"} else 1


@app.command(name="breaks")
def breaks_(
    name: Annotated[
        str | None, Parameter(help="Of this reconciliation. Without it: of all.")
    ] = None,
    /,
    *,
    state: Annotated[
        list[str] | None,
        Parameter(
            help="open, accepted, corrected or resolved; may be repeated. Without it: what is not resolved."
        ),
    ] = None,
    kind: Annotated[str | None, Parameter(help="Only this kind: missing_ours, amount …")] = None,
    owner: Annotated[str | None, Parameter(help="Only those that this person looks after.")] = None,
    limit: Limit = 100,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List breaks, those with the most money first.

    Example: troth reconcile breaks stripe --state open
    """
    from troth.reconcile import acts, breaks_store
    from troth.reconcile.model import BreakState, Kind

    _require_limit(limit)
    states = [
        _one_of(BreakState, each, "--state") for each in state or ("open", "accepted", "corrected")
    ]
    wanted = None if kind is None else _one_of(Kind, kind, "--kind")

    async def look(tx: Tx) -> list[Break]:
        q = breaks_store.queries(connection.schema)
        found = await breaks_store.breaks(
            tx, q, name, states=states, kind=wanted, owner=owner, limit=limit
        )
        if name is not None and not found:  # a name that is none has no breaks either
            await acts.require_declared(tx, connection.schema, name)
        return found

    found = read(connection, statement_timeout, look)
    show([break_line(each, output) for each in found], output, "No breaks.")


@app.command(name="show")
def show_(
    number: Number,
    /,
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one break: the evidence of both sides, what is proposed, and what has happened to it.

    Example: troth reconcile show 17
    """
    from troth.reconcile import breaks_store

    async def look(tx: Tx) -> tuple[Break, list[Happening]]:
        q = breaks_store.queries(connection.schema)
        return await breaks_store.one(tx, q, number), await breaks_store.history(tx, q, number)

    found, told = read(connection, statement_timeout, look)
    if output != "table":
        whole = {
            **break_line(found, output),
            "ours": [item_line(each) for each in found.ours],
            "theirs": [item_line(each) for each in found.theirs],
            "more": found.more,
            "history": [happening(each) for each in told],
        }
        print(as_text(whole, indent=2 if output == "json" else 0))
        return
    out = console()
    out.print(Text(f"break {found.id} of {found.reconciliation}: {found.kind}", style="bold"))
    facts(out, {name: value for name, value in break_line(found, "facts").items() if name != "id"})
    for side, items in (("Ours", found.ours), ("Theirs", found.theirs)):
        title(out, side)
        out.print(table([item_line(each) for each in items]) if items else "Nothing.")
    if found.more:
        out.print(f"{found.more} more are not shown.")
    title(out, "What happened")
    out.print(table([happening(each) for each in told]))


@app.command
def accept(
    number: Number,
    /,
    *,
    until: Annotated[str, Parameter(help="Until a day (2026-12-31), or for so long (30d).")],
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Explain a break until some day. It is open again after it, and if it becomes another difference.

    Example: troth reconcile accept 17 --until 30d --note "the bank books it in December, see mail of 24 November"
    """
    from troth.reconcile import acts

    who, end = author(by, note), _ahead(until)

    async def do(tx: Tx) -> Break:
        return await acts.accept(tx, connection.schema, number, end, who)

    act(
        connection, who, "reconcile.accept", number, {"until": end}, do,
        lambda _: f"break {number} is accepted until {utc(end)}",
    )  # fmt: skip


@app.command
def reopen(
    number: Number,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Take back that a break is explained.

    Example: troth reconcile reopen 17 --note "that was another invoice"
    """
    from troth.reconcile import acts

    who = author(by, note)

    async def do(tx: Tx) -> Break:
        return await acts.reopen(tx, connection.schema, number, who)

    act(connection, who, "reconcile.reopen", number, {}, do, lambda _: f"break {number} is open")


@app.command
def own(
    number: Number,
    /,
    *,
    for_: Annotated[
        str | None, Parameter(name="--for", help="Who looks after it. Without it: you.")
    ] = None,
    release: Annotated[bool, Parameter(negative="", help="Nobody does any more.")] = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Say that you look after a break, or who does.

    Example: troth reconcile own 17
    """
    from troth.reconcile import acts

    who = author(by, note)
    owner = None if release else (for_ or who.by)

    async def do(tx: Tx) -> Break:
        return await acts.own(tx, connection.schema, number, owner, who)

    said = f"{owner} looks after break {number}" if owner else f"nobody looks after break {number}"
    act(connection, who, "reconcile.own", number, {"owner": owner}, do, lambda _: said)


@app.command
def settle(
    number: Number,
    /,
    *,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Do what a break proposes: the program books it, or an effect that they do not have is taken not to have happened.

    Example: troth reconcile settle 17 --note "refunded at the provider, re_123"
    """
    from troth.command.model import Settlement
    from troth.reconcile import acts

    who = author(by, note)

    async def do(tx: Tx) -> Settlement | Break:
        return await acts.settle_break(tx, connection.schema, number, who)

    def say(made: Settlement | Break) -> str:
        if not isinstance(made, Settlement):
            return f"break {number} is booked by the next worker that can: troth reconcile show {number}"
        if made.settled:
            return f"{made.path} did not happen; its run goes on"
        return f"proposed: {made.needed} people must agree about {made.path}"

    act(connection, who, "reconcile.settle", number, {}, do, say)


# Runs -----------------------------------------------------------------------------------------------------------------


@app.command
def runs(
    name: Annotated[
        str | None, Parameter(help="Of this reconciliation. Without it: of all.")
    ] = None,
    /,
    *,
    number: Annotated[
        int | None, Parameter(name="--run", help="One run, with all that is known.")
    ] = None,
    limit: Limit = 20,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List runs, the latest first, or show one: what was read, by which rules, and what it came to.

    Example: troth reconcile runs stripe
    """
    from troth.reconcile import acts, store

    _require_limit(limit)
    missing = UsageError(f"there is no run {number} of a reconciliation: troth reconcile runs")
    if number is not None and not 0 < number < 2**63:
        raise missing

    async def look(tx: Tx) -> list[RunLine]:
        q = store.queries(connection.schema)
        found = await store.runs(tx, q, name, run=number, limit=limit)
        if name is not None and not found:
            await acts.require_declared(tx, connection.schema, name)
        return found

    found = read(connection, statement_timeout, look)
    if number is not None and not found:
        raise missing
    if number is not None and output == "table":
        _print_run(found[0])
        return
    show([run_line(each, output) for each in found], output, "No runs.")


def _print_run(line: RunLine) -> None:
    out = console()
    out.print(
        Text(f"run {line.id} of {line.reconciliation}: {line.verdict or line.phase}", style="bold")
    )
    facts(out, run_facts(line))


def _follow(connection: Connection, number: int) -> RunLine:
    """Show how far a run is, until it is over."""
    from troth.reconcile import store

    q = store.queries(connection.schema)

    async def look(tx: Tx) -> tuple[RunLine, dict[Side, tuple[int, int, int]]]:
        (line,) = await store.runs(tx, q, run=number)
        return line, await store.progress(tx, q, number)

    said = ""
    while True:
        line, read_so_far = read(connection, 5.0, look)
        if line.ended_at is not None:
            return line
        sides = ", ".join(f"{side.word} {items}" for side, (items, _, _) in read_so_far.items())
        error = f"; it failed {line.failures} times: {line.error}" if line.failures else ""
        now = f"{line.phase}{f' ({sides})' if sides else ''}{error}"
        if now != said:
            print(now, file=sys.stderr, flush=True)
            said = now
        time.sleep(_LOOK_S)


# Words ----------------------------------------------------------------------------------------------------------------


def _one_of(kinds: Any, word: str, option: str) -> Any:
    try:
        return kinds(word)
    except ValueError:
        raise UsageError(f"{option} is one of {', '.join(kinds)}, not {word!r}") from None


def _moment(option: str, text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        return durations.moment(text, now)
    except ValueError as error:
        raise UsageError(f"--{option}: {error}") from None


def _ahead(text: str) -> datetime:
    """A time, or how long from now."""
    now = datetime.now(UTC)
    try:
        return now + timedelta(seconds=durations.seconds(text))
    except ValueError:
        found = _moment("until", text, now)
        assert found is not None
        return found


def _require_limit(limit: int) -> None:
    if not 1 <= limit <= _MOST:
        raise UsageError(f"--limit is 1 to {_MOST}, not {limit}")
