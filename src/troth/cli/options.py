"""Options that many commands share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias
from uuid import UUID

from cyclopts import Parameter

from troth.base import settings
from troth.cli import durations

if TYPE_CHECKING:
    from troth.store.connect import Database

Output: TypeAlias = Annotated[
    Literal["table", "json", "jsonl"],
    Parameter(name=["--output", "-o"], help="For people (table) or for programs (json, jsonl)."),
]

RunId: TypeAlias = Annotated[UUID, Parameter(help="The id of the run.")]
StatementTimeout: TypeAlias = Annotated[
    durations.Length,
    Parameter(name="--statement-timeout", help="A statement that takes longer is ended."),
]
Note: TypeAlias = Annotated[str | None, Parameter(help="Why, for the record.")]
By: TypeAlias = Annotated[
    str | None,
    Parameter(help="Who acts, for the record. Without it: the user and host of this shell."),
]
Payloads: TypeAlias = Annotated[
    bool,
    Parameter(
        negative="", help="Show what steps were given and returned, too; it may be confidential."
    ),
]
Yes: TypeAlias = Annotated[bool, Parameter(negative="", help="Do not ask.")]


@Parameter(name="*", group="Connection")
@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Which database and which schema in it; annotate a command's parameter with this class."""

    database_url: Annotated[
        str | None,
        Parameter(
            help="postgresql:// URL of the database. Without it: TROTH_DATABASE_URL, then libpq's "
            "PGHOST, PGDATABASE or PGSERVICE, then the embedded server in ./.troth/."
        ),
    ] = None
    schema: Annotated[
        str,
        Parameter(
            help="The schema that holds everything of troth. Without it: TROTH_SCHEMA, then troth."
        ),
    ] = field(default_factory=lambda: settings.read().schema)

    def find(self) -> Database:
        """The database, an embedded one running; to be closed (`with`)."""
        from troth.store.connect import Database

        return Database.find(self.database_url)


DEFAULT_CONNECTION = Connection()
