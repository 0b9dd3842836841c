"""`troth machine`: the objects of declared machines, and pictures of the machines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli.acting import read, showing
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, Payloads, StatementTimeout
from troth.cli.output import Record, as_text, console, facts, show, table, title

if TYPE_CHECKING:
    from troth.machine.model import Entry, Standing
    from troth.store.tx import Tx

app = App(name="machine", help="Look at the objects of machines, and draw machines.")

_MOST_ENTRIES = 1000


@app.command(name="list")
def list_(
    machine: Annotated[str | None, Parameter(help="This machine; without it: all.")] = None,
    /,
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """List machines that have objects, with how many are in each state; 10,000 of each are counted.

    Example: troth machine list subscription
    """
    from troth.view.machines import machines

    found = read(connection, statement_timeout, lambda tx: machines(tx, connection.schema, machine))
    lines = [
        {"machine": line.machine, "state": state, "objects": str(n) if output == "table" else n.n}
        for line in found
        for state, n in line.counts.items()
    ]
    show(lines, output, "No objects." if machine is None else f"No objects of {machine}.")


@app.command(name="show")
def show_(
    machine: Annotated[str, Parameter(help="The name of the machine.")],
    object_: Annotated[str, Parameter(name="ID", help="The id of the object.")],
    /,
    *,
    payloads: Annotated[
        Payloads,
        Parameter(negative="", help="Show the data of entries, too; it may be confidential."),
    ] = False,
    limit: Annotated[int, Parameter(help="At most so many entries, up to 1000.")] = 100,
    before: Annotated[
        int | None, Parameter(help="The page before: the smallest number of this one.")
    ] = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> None:
    """Show one object: its state, and the latest entries of its history in the order in which they came.

    Example: troth machine show subscription sub_42
    """
    from troth.machine import store
    from troth.machine.model import UnknownObjectError
    from troth.store.plan import carry_out

    if not 1 <= limit <= _MOST_ENTRIES:
        msg = f"--limit is 1 to {_MOST_ENTRIES}, not {limit}; the page before is --before a number"
        raise UsageError(msg)

    async def look(tx: Tx) -> tuple[Standing, list[Entry]]:
        q = store.queries(connection.schema)
        found = await carry_out(tx, store.look(q, machine, object_, hold=False))
        if found is None:
            msg = f"the machine {machine} has no object {object_!r} in the schema {connection.schema}: troth machine list"
            raise UnknownObjectError(msg)
        return found[0], await carry_out(tx, store.history(q, machine, object_, before, limit))

    standing, latest = read(connection, statement_timeout, look)
    payloads = payloads and showing(connection, "object", [object_], machine)
    entries = [_entry(each, payloads=payloads) for each in reversed(latest)]
    stands = {
        "machine": machine, "id": standing.id, "state": standing.state, "version": standing.version,
        "since": standing.since,
    }  # fmt: skip
    if output != "table":
        print(as_text({**stands, "history": entries}, indent=2 if output == "json" else 0))
        return
    out = console()
    facts(out, stands)
    if entries:
        title(out, "history")
        out.print(table([_for_people(each, payloads=payloads) for each in entries]))
    if len(latest) == limit and latest[-1].seq > 1:
        print(f"There may be more: --before {latest[-1].seq}", file=sys.stderr)


@app.command
def draw(
    program: Annotated[str, Parameter(help="MODULE:NAME of the Troth object.")],
    machine: Annotated[str, Parameter(help="The name of the machine.")],
    /,
    *,
    format_: Annotated[Literal["svg", "mermaid"], Parameter(name="--format")] = "svg",
) -> None:
    """Print a picture of a machine, from its declaration.

    Example: troth machine draw shop.app:troth subscription > subscription.svg
    """
    from troth.cli import target
    from troth.machine import Machine

    parts = target.find(program).parts
    machines = {part.name: part for part in parts if isinstance(part, Machine)}
    found = machines.get(machine)
    if found is None:
        offer = f"it has {', '.join(sorted(machines))}" if machines else "it includes none"
        raise UsageError(f"{program} has no machine {machine}; {offer}")
    print(found.svg() if format_ == "svg" else found.mermaid(), end="")


def _entry(entry: Entry, *, payloads: bool) -> Record:
    """One entry of a history, for programs."""
    record = {
        "seq": entry.seq, "at": entry.at, "event": entry.event, "observed": entry.observed, "from": entry.from_state,
        "to": entry.to_state, "path": entry.path, "superseded": entry.superseded, "version": entry.version,
        "cause": entry.cause, "by": entry.by, "why": entry.why,
    }  # fmt: skip
    return {**record, "data": entry.data} if payloads else record


def _for_people(entry: Record, *, payloads: bool) -> Record:
    line = {
        "": entry["seq"], "at": entry["at"], "what": _words(entry), "state": entry["to"], "version": entry["version"],
        "cause": entry["cause"], "by": entry["by"], "why": entry["why"],
    }  # fmt: skip
    if payloads:
        line["data"] = None if entry["data"] is None else as_text(entry["data"])
    return line


def _words(entry: Record) -> str:
    if entry["event"] is not None:
        said = entry["event"]
    elif entry["observed"] is not None:
        said = f"observed {entry['observed']}"
        said += f" (over {', '.join(entry['path'])})" if len(entry["path"]) > 1 else ""
    else:
        said = "created"
    return f"{said}: superseded" if entry["superseded"] else said
