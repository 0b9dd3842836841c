"""Options that many commands share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import Parameter

if TYPE_CHECKING:
    from troth.store.connect import Database

Output: TypeAlias = Annotated[
    Literal["table", "json", "jsonl"],
    Parameter(name=["--output", "-o"], help="For people (table) or for programs (json, jsonl)."),
]


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
    schema: Annotated[str, Parameter(help="The schema that holds everything of troth.")] = "troth"

    def find(self) -> Database:
        """The database, an embedded one running; to be closed (`with`)."""
        from troth.store.connect import Database

        return Database.find(self.database_url)


DEFAULT_CONNECTION = Connection()
