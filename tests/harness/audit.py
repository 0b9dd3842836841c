"""What the desk has recorded."""

from __future__ import annotations

from typing import Any

import psycopg


def audited(
    cell: tuple[str, str], columns: str = "act, about, by, outcome"
) -> list[tuple[Any, ...]]:
    """The lines of the audit in the cell (url, schema), in their order."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        return connection.execute(
            f"SELECT {columns} FROM {schema}.operator_act ORDER BY id"
        ).fetchall()
