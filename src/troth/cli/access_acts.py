"""`troth access acts`: what people may do, who may, and how many it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from troth.base.errors import UsageError
from troth.cli.acting import author, beginning, connected, proposal_words, read
from troth.cli.options import DEFAULT_CONNECTION, By, Connection, Note, Output
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.command.model import Proposed
    from troth.store.connect import AsyncConnection
    from troth.view.acts import ActRule


def acts(
    *,
    set_: Annotated[
        str | None, Parameter(name="--set", help="Make a rule for this act (with --eyes).")
    ] = None,
    eyes: Annotated[
        int | None, Parameter(help="So many people must do it before it happens: 1 or 2.")
    ] = None,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
) -> None:
    """List what people may do: the role that it needs, how many people, and what it means. Or make a rule.

    The first person's act is recorded as a proposal, and happens when a second person does the same. A rule holds for the
    command line and the console alike; to lower one takes as many people as it asks for.

    Example: troth access acts --set effect.settle --eyes 2
    """
    from troth.command import desk
    from troth.view import acts as view

    if (set_ is None) != (eyes is None):
        raise UsageError("--set ACT and --eyes NUMBER go together")
    if set_ is None or eyes is None:
        rules = read(connection, 5.0, lambda tx: view.rules(tx, connection.schema))
        show([_line(each, output) for each in rules], output, "There are none.")
        return
    who, act, people = author(by, note), set_, eyes

    async def do(opened: AsyncConnection, _url: str) -> Proposed | None:
        async with beginning(opened) as tx:
            return await desk.set_rule(tx, connection.schema, who, act, people)

    made = connected(connection, do)
    if made is None:
        print(f"{act} needs {'one person' if people == 1 else 'two people'} from now on")
    else:
        print(proposal_words(made, {"eyes": people}))


def _line(rule: ActRule, output: str) -> dict[str, Any]:
    kind = rule.kind
    line = {"act": kind.name, "role": kind.least.word, "people": rule.eyes, "means": kind.promise}
    if output == "table":
        return line
    return {**line, "about": kind.about, "details": kind.details, "hidden": kind.hidden}
