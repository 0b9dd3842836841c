"""`troth db`: the schema and its migrations."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from troth.base.errors import UsageError
from troth.cli.acting import act, agreed, author
from troth.cli.durations import Length, words
from troth.cli.options import DEFAULT_CONNECTION, By, Connection, Note, Output, Yes
from troth.cli.output import show

if TYPE_CHECKING:
    from troth.store.migrate import Applied, Migration, Status
    from troth.store.tx import Tx

app = App(name="db", help="Bring the schema up to date and look at its state.")

To = Annotated[int | None, Parameter(help="Stop after the migration with this number.")]


@app.command
def migrate(
    *,
    connection: Connection = DEFAULT_CONNECTION,
    to: To = None,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Print what would be applied and change nothing.")
    ] = False,
    output: Output = "table",
) -> None:
    """Apply the migrations that are pending, each in a transaction of its own.

    Safe to run from several deployments at once: one does it, the others find nothing to do.

    Example: troth db migrate --database-url postgresql://app@db.internal/app
    """
    from troth.store import migrate as migrations
    from troth.store.connect import place

    with connection.find() as database:
        print(f"Database: {place(database.url)} (by {database.origin})", file=sys.stderr)
        if dry_run:
            pending = migrations.status(database.url, connection.schema).pending
            chosen = [each for each in pending if to is None or each.number <= to]
        else:
            chosen = migrations.migrate(database.url, connection.schema, to)
    word = "would apply" if dry_run else "applied"
    records = [{"number": each.number, "name": each.name, "result": word} for each in chosen]
    show(records, output, f"The schema {connection.schema} is up to date.")


@app.command
def status(*, connection: Connection = DEFAULT_CONNECTION, output: Output = "table") -> None:
    """List the migrations: applied when and by which version, pending, changed or unknown.

    Example: troth db status -o json
    """
    from troth.store import migrate as migrations

    with connection.find() as database:
        found = migrations.status(database.url, connection.schema)
    show(_records(found), output, "This version of troth has no migrations.")


@app.command
def sql(
    *,
    connection: Connection = DEFAULT_CONNECTION,
    from_: Annotated[int, Parameter(name="--from", help="The migration that you have.")] = 0,
    to: To = None,
) -> None:
    """Print the SQL of the migrations, to be applied with other tools. Needs no database.

    Example: troth db sql --from 1 --to 3 > upgrade.sql
    """
    from troth.store import migrate as migrations

    print(migrations.render_sql(connection.schema, from_, to))


@app.command
def check(*, connection: Connection = DEFAULT_CONNECTION, output: Output = "table") -> int:
    """Exit with 1 unless the schema is exactly the one that this version of troth needs.

    Example: troth db check || troth db migrate
    """
    from troth.store import migrate as migrations

    with connection.find() as database:
        found = migrations.status(database.url, connection.schema)
    problem = found.problem()
    if output != "table":
        reason = None if problem is None else str(problem)
        show([{"schema": found.schema, "state": found.state, "problem": reason}], output, "")
    elif problem is None:
        print(f"The schema {found.schema} is up to date.")
    else:
        print(problem, file=sys.stderr)
    return 0 if problem is None else 1


@app.command
def retain(
    *,
    keep: Annotated[Length, Parameter(help="How long to remember: 90d, 12w.")],
    yes: Yes = False,
    note: Note = None,
    by: By = None,
    connection: Connection = DEFAULT_CONNECTION,
    output: Output = "table",
) -> None:
    """Forget the runs, journals and start keys of whole weeks that are older than that.

    A week in which a run is still alive is kept. A key that is forgotten starts a new run when it is used again.

    Example: troth db retain --keep 90d --yes
    """
    from troth.command.act import retain as forget
    from troth.store.connect import place

    async def do(tx: Tx) -> list[str]:
        return await forget(tx, connection.schema, keep)

    def say(dropped: list[str]) -> None:
        weeks = [{"week": _week(name), "result": "forgotten"} for name in dropped]
        show(weeks, output, f"No whole week in {where} is older than {words(keep)}.")

    with connection.find() as database:
        where = f"the schema {connection.schema} ({place(database.url)})"
        if not yes and not agreed(f"Forget for good what is older than {words(keep)} in {where}?"):
            raise UsageError("nothing was forgotten; --yes does not ask")
        act(
            connection, author(by, note), "db.retain", connection.schema, {"keep_s": keep}, do, say,
            told=lambda dropped: {"weeks": [_week(name) for name in dropped]},
        )  # fmt: skip


def _week(journal: str) -> str:
    return journal.removeprefix("journal_")


def _records(found: Status) -> list[dict[str, object]]:
    done = [
        _record(row, found.state_of(row), row.applied_at, row.by_version) for row in found.applied
    ]
    return done + [_record(each, "pending", None, None) for each in found.pending]


def _record(
    migration: Migration | Applied, state: str, applied_at: datetime | None, by: str | None
) -> dict[str, object]:
    return {
        "number": migration.number,
        "name": migration.name,
        "state": state,
        "applied_at": applied_at,
        "by_version": by,
    }
