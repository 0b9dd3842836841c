"""Brings a schema up to date: numbered SQL files, forward only, each one applied whole or not at all.

A migration, its line in the bookkeeping table `migration` and nothing else make one transaction,
under an advisory lock of the schema: of two processes that migrate at once, the second waits and
then finds nothing to do. `render_sql` prints the very text that `migrate` executes, for those who
apply it with other tools.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

import psycopg

from troth.store.connect import connect_blocking
from troth.store.errors import (
    MigrationFailed,
    SchemaAhead,
    SchemaBehind,
    SchemaChanged,
    SchemaError,
    SchemaMissing,
)
from troth.store.schema import checked, substitute
from troth.store.tx import BlockingTx, Tx

MIGRATIONS = Path(__file__).parent / "migrations"
State = Literal["ok", "missing", "behind", "ahead", "changed"]

_FILE = re.compile(r"(?P<number>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('troth.migrate.' || 'troth_schema', 0));"

# CREATE SCHEMA IF NOT EXISTS wants the right to create schemas even if there is nothing to create.
_BOOKKEEPING = """
DO $$ BEGIN
    IF to_regnamespace('troth_schema') IS NULL THEN
        CREATE SCHEMA troth_schema;
    END IF;
END $$;
CREATE TABLE IF NOT EXISTS troth_schema.migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by_version text NOT NULL
);
"""

_EXISTS = "SELECT to_regclass('troth_schema.migration') IS NOT NULL"
_APPLIED = """
SELECT number, name, sha256, applied_at, by_version FROM troth_schema.migration ORDER BY number
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, its name and its text with the `troth_schema` placeholder."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The digest of the text, by which a later change of the file is noticed."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Applied:
    """One line of the bookkeeping table."""

    number: int
    name: str
    sha256: str
    applied_at: datetime
    by_version: str

    def __str__(self) -> str:
        return f"{self.number:04}_{self.name}"


@dataclass(frozen=True, slots=True)
class Status:
    """A schema beside the migrations that this version of troth has."""

    schema: str
    applied: Sequence[Applied]
    known: Sequence[Migration]

    @property
    def pending(self) -> list[Migration]:
        """What is to be applied, in order."""
        done = {row.number for row in self.applied}
        return [migration for migration in self.known if migration.number not in done]

    @property
    def unknown(self) -> list[Applied]:
        """What a newer version of troth has applied."""
        numbers = {migration.number for migration in self.known}
        return [row for row in self.applied if row.number not in numbers]

    @property
    def changed(self) -> list[Applied]:
        """What was applied with another text than the file has now."""
        digests = {migration.number: migration.sha256 for migration in self.known}
        return [row for row in self.applied if digests.get(row.number, row.sha256) != row.sha256]

    def state_of(self, row: Applied) -> Literal["applied", "changed", "unknown"]:
        """What this version of troth thinks of one applied migration."""
        if row in self.unknown:
            return "unknown"
        return "changed" if row in self.changed else "applied"

    @property
    def state(self) -> State:
        """The verdict; a newer schema is reported before anything else."""
        if self.unknown:
            return "ahead"
        if self.changed:
            return "changed"
        if not self.applied and self.known:
            return "missing"
        return "behind" if self.pending else "ok"

    def problem(self) -> SchemaError | None:
        """Why this version of troth must not work with this schema, and what to do; None if it may."""
        name, command = self.schema, f"troth db migrate --schema {self.schema}"
        match self.state:
            case "ok":
                return None
            case "missing":
                return SchemaMissing(f"There is no schema {name} here yet: run `{command}`.")
            case "behind":
                return SchemaBehind(
                    f"The schema {name} lacks {_list(self.pending)}: run `{command}`, "
                    "before processes of this version start."
                )
            case "ahead":
                return SchemaAhead(
                    f"The schema {name} has {_list(self.unknown)}, which this version of troth "
                    f"({version()}) does not know; version {self.unknown[-1].by_version} does. "
                    "Upgrade troth here."
                )
            case "changed":
                return SchemaChanged(
                    f"In the schema {name}, {_list(self.changed)} was applied with another text than "
                    "this version of troth has. A released migration never changes: reinstall troth; "
                    "if it is an unreleased one that you edit, drop the schema."
                )


def migrate(
    url: str, schema: str, to: int | None = None, *, directory: Path = MIGRATIONS
) -> list[Migration]:
    """Apply what is pending, up to and including number `to`; returns what was applied here.

    Raises `MigrationFailed` (what preceded the failing one stays applied), `SchemaAhead`,
    `SchemaChanged`, `DatabaseUnavailable`.
    """
    known = load(directory)
    done: list[Migration] = []
    with connect_blocking(url) as connection:
        while (migration := _apply_next(connection, checked(schema), known, to)) is not None:
            done.append(migration)
    return done


def status(url: str, schema: str, *, directory: Path = MIGRATIONS) -> Status:
    """What is applied and what is pending. Writes nothing."""
    with connect_blocking(url) as connection:
        return _status(connection, checked(schema), load(directory))


def render_sql(
    schema: str, after: int = 0, to: int | None = None, *, directory: Path = MIGRATIONS
) -> str:
    """The SQL that takes a schema from migration `after` to migration `to`, for psql and the like."""
    chosen = _up_to([m for m in load(directory) if m.number > after], to)
    lock = substitute(_LOCK, schema)
    return "\n".join(f"BEGIN;\n{lock}\n{_script(m, schema)}\nCOMMIT;\n" for m in chosen)


async def require_schema(tx: Tx, schema: str) -> None:
    """Refuse to work with a schema that does not fit: `SchemaMissing`, `-Behind`, `-Ahead`, `-Changed`."""
    _raise_problem(await status_in(tx, schema))


async def status_in(tx: Tx, schema: str) -> Status:
    """What is applied and what is pending, as an open connection sees it."""
    rows: list[tuple[object, ...]] = []
    if await (await tx.execute(substitute(_EXISTS, checked(schema)))).fetchone() == (True,):
        rows = await (await tx.execute(substitute(_APPLIED, schema))).fetchall()
    return Status(schema, _applied(rows), load())


def require_schema_blocking(tx: BlockingTx, schema: str) -> None:
    """`require_schema` for a blocking connection."""
    _raise_problem(_status(tx, schema, load()))


@cache
def load(directory: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """The migrations of a directory in order; their numbers are 1, 2, 3 and so on."""
    found = [
        Migration(int(match["number"]), match["name"], path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.sql"))
        if (match := _FILE.fullmatch(path.name))
    ]
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise SchemaError(f"The migrations in {directory} are not numbered 1, 2, 3 and so on.")
    return tuple(found)


def version() -> str:
    """The version of troth that is running; "source" where it is not installed."""
    try:
        return importlib.metadata.version("troth")
    except importlib.metadata.PackageNotFoundError:
        return "source"


def _apply_next(
    connection: psycopg.Connection, schema: str, known: Sequence[Migration], to: int | None
) -> Migration | None:
    """Apply the first pending migration in a transaction of its own; None if there is none."""
    with connection.transaction():
        connection.execute(substitute(_LOCK, schema))
        found = _status(connection, schema, known)
        if found.state in {"ahead", "changed"}:
            _raise_problem(found)
        for migration in _up_to(found.pending, to)[:1]:
            try:
                connection.execute(_script(migration, schema))
            except psycopg.Error as error:
                raise MigrationFailed(
                    f"{migration} failed in the schema {schema} and left no trace: {error}"
                ) from error
            return migration
    return None


def _script(migration: Migration, schema: str) -> str:
    line = f"({migration.number}, '{migration.name}', '{migration.sha256}', '{version()}')"
    return substitute(
        f"-- {migration}\n{_BOOKKEEPING}\n{migration.sql}\n"
        f"INSERT INTO troth_schema.migration (number, name, sha256, by_version) VALUES {line};",
        schema,
    )


def _status(tx: BlockingTx, schema: str, known: Sequence[Migration]) -> Status:
    rows: list[tuple[object, ...]] = []
    if tx.execute(substitute(_EXISTS, schema)).fetchone() == (True,):
        rows = tx.execute(substitute(_APPLIED, schema)).fetchall()
    return Status(schema, _applied(rows), known)


def _applied(rows: Iterable[tuple[object, ...]]) -> list[Applied]:
    return [Applied(*row) for row in rows]  # type: ignore[arg-type]  # the columns of _APPLIED


def _up_to(migrations: Sequence[Migration], to: int | None) -> list[Migration]:
    return [migration for migration in migrations if to is None or migration.number <= to]


def _raise_problem(found: Status) -> None:
    problem = found.problem()
    if problem is not None:
        raise problem


def _list(items: Sequence[Migration] | Sequence[Applied]) -> str:
    return ", ".join(str(item) for item in items)
