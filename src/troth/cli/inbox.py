"""`troth inbox`: events that came in, and putting them back."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli import durations
from troth.cli.acting import act, author, read, showing
from troth.cli.filtering import MOST, After, Limit, SinceOption, check_limit, ends, told
from troth.cli.options import (
    DEFAULT_CONNECTION,
    By,
    Connection,
    Note,
    Output,
    Payloads,
    StatementTimeout,
)
from troth.cli.output import as_text, block, console, facts, show, title

if TYPE_CHECKING:
    from troth.command.model import Author
    from troth.inbox import State
    from troth.inbox.model import Which
    from troth.inbox.store import Told
    from troth.store.tx import Tx
    from troth.view.inbox import EventLine, SourceLine

app = App(name="inbox", help="Look at events that came in, and put them back.")

StateName = Literal["received", "parked", "applied", "superseded", "ignored", "quarantined"]
Source = Annotated[str | None, Parameter(help="Only of this source.")]


@app.command(name="list")
def list_(
    *,
    state: Annotated[
        list[StateName] | None,
        Parameter(negative="", help="Events in this state; may be given several times."),
    ] = None,
    source: Source = None,
    type_: Annotated[str | None, Parameter(name="--type", help="Events of this type.")] = None,
    object_: Annotated[
        str | None, Parameter(name="--object", help="Events about this object.")
    ] = None,
    since: SinceOption = None,
    limit: Limit = 50,
    after: After = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Say how each source stands: what is open, what was settled within a day, what came only by sweep. Or list events,
    the latest first, if a filter says which.

    Example: troth inbox list --state quarantined
    """
    from troth.view import inbox as view

    check_limit(limit)
    which = told(
        view.InboxFilter, state=state, source=source, type=type_, object=object_, since=since
    )
    if which in {view.InboxFilter(), view.InboxFilter(source=source)} and after is None:
        found = read(connection, statement_timeout, lambda tx: view.sources(tx, connection.schema))
        shown = _line_for_people if output == "table" else _record
        lines = [shown(each) for each in found if source in {None, each.source}]
        show(lines, output, "No events have come.")
        return
    page = read(
        connection,
        statement_timeout,
        lambda tx: view.events(tx, connection.schema, which, after=after, limit=limit),
    )
    show([_event(line, output) for line in page.rows], output, "No events match.")
    ends(page, output)


@app.command(name="show")
def show_(
    event: Annotated[str, Parameter(help="The id of the event, as its source gave it.")],
    /,
    *,
    source: Source = None,
    payloads: Payloads = False,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one event: how it came, how it stands and why, what else came under its id, who put it back.

    Example: troth inbox show evt_1NG8Du2eZvKYlo2CUI79vXWy
    """
    from troth.inbox import store

    told = read(
        connection, statement_timeout, lambda tx: store.show(tx, connection.schema, event, source)
    )
    payloads = payloads and showing(connection, "event", [event])
    if output == "table":
        _page(told, payloads=payloads)
    else:
        record = _told_record(told, payloads=payloads)
        print(as_text(record, indent=2 if output == "json" else 0))


@app.command
def replay(
    event: Annotated[str | None, Parameter(help="The id of the event.")] = None,
    /,
    *,
    quarantined: Annotated[bool, Parameter(negative="", help="All that are quarantined.")] = False,
    ignored: Annotated[bool, Parameter(negative="", help="All that nobody handled.")] = False,
    source: Source = None,
    type_: Annotated[str | None, Parameter(name="--type", help="Of all: of this type.")] = None,
    object_: Annotated[
        str | None, Parameter(name="--object", help="Of all: about this object.")
    ] = None,
    limit: Limit = MOST,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
) -> None:
    """Let an event be tried anew that was quarantined, ignored or parked, and record who decided so.

    Mend the cause first: a handler that fails again quarantines it again.

    Example: troth inbox replay evt_1NG8Du2eZvKYlo2CUI79vXWy --note "fixed in 4f2a91c"
    """
    from troth.inbox import State
    from troth.inbox.model import Which
    from troth.inbox.replay import find
    from troth.inbox.replay import replay as put_back

    check_limit(limit)
    if (event is not None) + quarantined + ignored != 1:
        raise UsageError("say what is to be put back: an EVENT, --quarantined or --ignored")
    if event is not None and (type_ is not None or object_ is not None):
        raise UsageError("the id of an event says all: it goes without --type and --object")
    who = author(by, note)
    if event is None:
        state = State.QUARANTINED if quarantined else State.IGNORED
        _replay_all(connection, state, Which(source, type_, object_), limit, who)
        return

    async def do(tx: Tx) -> State:
        found = await find(tx, connection.schema, event, source)
        return await put_back(tx, connection.schema, found, event, by=who.by, note=who.note)

    act(
        connection, who, "inbox.replay", event, {"source": source}, do,
        lambda was: f"{event} is put back: it was {was}, and is applied by the next worker",
        told=lambda was: {"was": was},
    )  # fmt: skip


def _replay_all(
    connection: Connection, state: State, which: Which, limit: int, who: Author
) -> None:
    from troth.inbox.replay import replay_all

    async def do(tx: Tx) -> list[str]:
        by, note = who.by, who.note
        return await replay_all(tx, connection.schema, state, which, limit=limit, by=by, note=note)

    def say(done: list[str]) -> str:
        if len(done) == limit:
            print("There may be more: do it again.", file=sys.stderr)
        return f"{len(done)} events are put back that were {state}"

    details = {**asdict(which), "limit": limit}
    act(
        connection, who, "inbox.replay_all", state, details, do, say,
        told=lambda done: {"events": done},
    )  # fmt: skip


def _line_for_people(line: SourceLine) -> dict[str, Any]:
    from troth.view.paging import Count

    told_of = {
        name: str(each) if isinstance(each, Count) else each for name, each in _counted(line)
    }
    del told_of["oldest_seconds"]
    return told_of | {"oldest": None if line.oldest_s is None else durations.words(line.oldest_s)}


def _record(line: SourceLine) -> dict[str, Any]:
    from troth.view.paging import Count

    return {name: each.n if isinstance(each, Count) else each for name, each in _counted(line)}


def _counted(line: SourceLine) -> list[tuple[str, Any]]:
    from troth.view.paging import Count

    return [
        ("source", line.source),
        *(
            (state, line.open.get(state, Count(0)))
            for state in ("received", "parked", "quarantined")
        ),
        *((f"{state}_24h", line.settled[state]) for state in ("applied", "superseded", "ignored")),
        ("only_by_sweep", line.only_by_sweep),
        ("conflicts", line.conflicts),
        ("swept_at", line.swept_at),
        ("sweep_error", line.sweep_error),
        ("oldest_seconds", line.oldest_s),
    ]


def _event(line: EventLine, output: str) -> dict[str, Any]:
    return {
        "source": line.source,
        "event": line.event,
        "type": line.type,
        "object": line.object,
        "state": line.state,
        "received_at": line.received_at,
        "parked_since": line.parked_since,
        "failures": line.failures,
        "delivered": line.delivered,
        "reason": _last_line(line.reason) if output == "table" else line.reason,
    }


def _last_line(reason: str | None) -> str | None:
    return reason.strip().splitlines()[-1] if reason and reason.strip() else reason


def _told_record(told: Told, *, payloads: bool) -> dict[str, Any]:
    record = {key: value for key, value in told.facts.items() if key != "headers"}
    record["conflicts"] = [
        dict(zip(("type", "found_by", "first_seen", "last_seen", "seen"), row[:5], strict=True))
        | ({"body": _text(bytes(row[5]))} if payloads else {})
        for row in told.conflicts
    ]
    record["replays"] = [
        dict(zip(("at", "by", "note", "was", "reason"), row, strict=True)) for row in told.replays
    ]
    if payloads:
        record["headers"] = told.facts["headers"]
        record["body"] = _text(told.body)
    return record


def _page(told: Told, *, payloads: bool) -> None:
    out = console()
    plain = {key: value for key, value in told.facts.items() if key not in {"headers", "reason"}}
    facts(out, {key.replace("_", " "): value for key, value in plain.items()})
    if told.facts["reason"]:
        title(out, "Reason")
        print(block(told.facts["reason"]))
    for kind, found_by, first, last, seen, body in told.conflicts:
        title(out, "Another content came under this id, and is not applied")
        facts(
            out,
            {"type": kind, "found by": found_by, "first": first, "last": last, "seen": seen},
        )
        if payloads:
            print(block(_text(bytes(body)) or ""))
    for at, by, note, was, _ in told.replays:
        title(out, "Put back")
        facts(out, {"at": at, "by": by, "note": note, "was": was})
    if payloads:
        title(out, "Body")
        print(block(_text(told.body) or "it is forgotten"))


def _text(body: bytes | None) -> str | None:
    return None if body is None else body.decode(errors="replace")
