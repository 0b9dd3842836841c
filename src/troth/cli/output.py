"""How commands print records: a table for people, JSON for programs, the same values in both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Record = Mapping[str, Any]


def show(records: Sequence[Record], output: Literal["table", "json", "jsonl"], empty: str) -> None:
    """Print records that have the same keys; `empty` is what people read if there are none."""
    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(records), indent=2).decode())
    elif output == "jsonl":
        for record in records:
            print(msgspec.json.encode(record).decode())
    elif not records:
        print(empty)
    else:
        Console().print(_table(records))


def _table(records: Sequence[Record]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for column in records[0]:
        table.add_column(column.replace("_", " "), overflow="fold")
    for record in records:
        table.add_row(*("" if value is None else str(value) for value in record.values()))
    return table
