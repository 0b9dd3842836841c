"""Rows by COPY, the widest road into a table. Whoever copies has a transaction open, and it is all or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import LiteralString, TypeAlias

from troth.store.connect import AsyncConnection

Value: TypeAlias = str | int | datetime | None

_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


async def copy_rows(
    connection: AsyncConnection, statement: LiteralString, rows: Iterable[Sequence[Value]]
) -> None:
    """Write rows with *statement*, a `COPY … FROM STDIN`; its columns are those of the rows, in their order."""
    text = "".join(map(line, rows))
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(text.encode())


def line(row: Sequence[Value]) -> str:
    """A row in COPY's text format."""
    return "\t".join(map(_field, row)) + "\n"


def _field(value: Value) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return str(value)  # of an int, and of a time as ISO 8601 has it
