"""`troth find`: where an id, a key or a name leads, as the console's jump does."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from troth.cli.acting import read
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.view.jump import Target

app = App(name="find")

# The command that shows each kind of thing: `{id}` is the id, `{within}` what it is within.
_SHOWN: dict[str, tuple[str, ...]] = {
    "run": ("run", "show", "{id}"),
    "effect": ("effect", "show", "{within}", "{id}"),
    "workflow": ("run", "list", "--workflow", "{id}"),
    "request": ("request", "show", "{id}"),
    "event": ("inbox", "show", "{id}", "--source", "{within}"),
    "outbox_message": ("outbox", "list", "{id}"),
    "endpoint": ("outbox", "list", "--endpoint", "{id}"),
    "object": ("machine", "show", "{within}", "{id}"),
    "schedule": ("schedule", "show", "{id}"),
    "provider": ("provider", "list", "--name", "{id}"),
    "worker": ("worker", "list", "--worker", "{id}"),
    "decision": ("access", "why", "{id}"),
    "principal": ("access", "decisions", "--principal", "{id}"),
}


@app.default
def find(
    text: Annotated[
        str, Parameter(help="An id, a key or a name, as a whole: a part of one finds nothing.")
    ],
    /,
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> int:
    """Tell what an id, a key or a name may mean, the surest first, and which command shows it. Exit code 1: nothing.

    Example: troth find order-4711
    """
    from troth.view.jump import jump

    found = read(connection, statement_timeout, lambda tx: jump(tx, connection.schema, text))
    show([_line(each) for each in found], output, "")
    if not found and output == "table":
        print(f"Nothing has the id, the key or the name {text!r}.", file=sys.stderr)
    return 0 if found else 1


def _line(target: Target) -> dict[str, Any]:
    return {
        "what": target.screen.replace("_", " "),
        "id": target.id,
        "within": target.within,
        "is": target.label,
        "shown by": command(target),
    }


def command(target: Target) -> str:
    """The command that shows what was found."""
    words = (
        word.replace("{id}", target.id) if "{id}" in word else word.replace("{within}", target.within or "")
        for word in _SHOWN[target.screen]
    )  # fmt: skip
    return shlex.join(["troth", *words])
