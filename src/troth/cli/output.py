"""How commands print records: a table for people, JSON for programs, the same values in both."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

Record = Mapping[str, Any]

_WIDE = 1000  # columns where nobody's terminal sets a limit: a line stays a line for grep
_LABEL = 10  # characters


def show(records: Sequence[Record], output: Literal["table", "json", "jsonl"], empty: str) -> None:
    """Print records that have the same keys; `empty` is what people read if there are none."""
    if output == "json":
        print(as_text(records, indent=2))
    elif output == "jsonl":
        for record in records:
            print(as_text(record))
    elif not records:
        print(empty)
    else:
        console().print(table(records))


def as_text(value: Any, *, indent: int = 0) -> str:
    """A value as JSON."""
    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()


def console() -> Console:
    """Where people read: as wide as their terminal, or as wide as it needs to be."""
    return Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)


def table(records: Sequence[Record]) -> Table:
    """Records as a table; ids are never broken, other columns are folded where the terminal ends."""
    made = Table(box=SIMPLE_HEAD)
    for column in records[0]:
        made.add_column(column.replace("_", " "), overflow="fold", no_wrap=column in {"id", "run"})
    for record in records:
        made.add_row(*(Text(cell(value)) for value in record.values()))
    return made


def facts(out: Console, told: Mapping[str, object]) -> None:
    """Print what is known, a line each; None is left out."""
    for name, value in told.items():
        if value is not None:
            out.print(Text(f"{name:{_LABEL}} {cell(value)}"))


def title(out: Console, text: str) -> None:
    """Begin another part of a page."""
    out.print()
    out.print(Text(text, style="bold"))


def cell(value: Any) -> str:
    """A value on one line of a terminal: what a stranger wrote cannot move the cursor."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
    return "".join(each if each.isprintable() else " " for each in str(value))


def block(text: str) -> str:
    """A text of several lines, made harmless likewise."""
    return "\n".join(cell(line) for line in text.splitlines())
