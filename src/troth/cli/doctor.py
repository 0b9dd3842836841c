"""`troth doctor`: what is wrong with an installation, what that means, and what to do."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from typing import TYPE_CHECKING

from cyclopts import App
from rich.text import Text

from troth.cli.failure import PROBLEM
from troth.cli.options import DEFAULT_CONNECTION, Connection, Output, StatementTimeout
from troth.cli.output import cell, console, show

if TYPE_CHECKING:
    from troth.view.doctor import Finding

app = App(name="doctor")


@app.default
def doctor(
    *,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
    statement_timeout: StatementTimeout = 5.0,
) -> int:
    """Find what is wrong with an installation: settings, server, pooler, schema, workers, tables. It changes nothing.

    Run it where workers run, with their environment. Exit code 0: nothing was found; 1: something was.

    Example: troth doctor -o json
    """
    from troth.store.connect import place
    from troth.view.doctor import RULES, examine
    from troth.view.installation import facts

    with connection.find() as database:
        where = f"{place(database.url)}, schema {connection.schema}"
        found = examine(
            asyncio.run(facts(database.url, connection.schema, limit_s=statement_timeout))
        )
    if output != "table":
        show([dataclasses.asdict(each) for each in found], output, "")
    else:
        print(f"Database: {where} (by {database.origin})", file=sys.stderr)
        _page(found)
        print(f"{len(RULES)} rules, {_counted(len(found))}.")
    return PROBLEM if found else 0


def _page(found: tuple[Finding, ...]) -> None:
    out = console()
    for each in found:
        out.print(Text(f"{each.severity}: {cell(each.found)} ({each.code})", style="bold"))
        out.print(Text(f"  {each.means}"))
        out.print(Text(f"  Do: {each.do}"))
        out.print(Text(f"      {each.command}"))
        out.print()


def _counted(n: int) -> str:
    return f"{n} finding{'' if n == 1 else 's'}" if n else "nothing found"
