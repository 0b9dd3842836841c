"""Cells into Markdown."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Mapping
from importlib.metadata import version

from bench.outcomes.situations import Cell, Row

SYSTEMS = ("troth", "dbos", "idemkit", "justonce", "stamina", "httpx")


def render(cells: Mapping[Row, Mapping[str, Cell]]) -> str:
    """Two tables: without a key, and with one."""
    parts = []
    for title, keyed in (("The provider sees no key", False), ("The provider sees a key", True)):
        rows = {row: found for row, found in cells.items() if row.keyed is keyed}
        if rows:
            parts.append(f"### {title}\n\n{_table(rows)}")
    return "\n".join(parts)


def versions() -> str:
    named = ", ".join(f"{name} {version(name)}" for name in SYSTEMS)
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    return f"\nMade by `python -m bench.outcomes --write` on {today}: {named}, Python {platform.python_version()}.\n"


def _table(rows: Mapping[Row, Mapping[str, Cell]]) -> str:
    situations = list(next(iter(rows.values())))
    head = ["system", "used so", *situations, "charged twice", "told a lie"]
    lines = [_line(head), _line(["---"] * len(head))]
    for row, cells in rows.items():
        doubled = sum(cell.charges > 1 for cell in cells.values())
        lies = sum(cell.lie for cell in cells.values())
        shown = [_cell(cell) for cell in cells.values()]
        lines.append(_line([row.system, row.way, *shown, str(doubled), str(lies)]))
    return "\n".join(lines) + "\n"


def _line(fields: list[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _cell(cell: Cell) -> str:
    text = f"{cell.charges}, {cell.said.says}"
    if cell.said.flagged:
        text += ", flagged"
    return f"**{text}**" if cell.lie else text
