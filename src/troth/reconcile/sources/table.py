"""A table in a file (CSV), as portals and back offices export it."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from troth.base import codec
from troth.base.errors import MoneyError, UsageError
from troth.base.money import Money
from troth.reconcile.model import Item, Page, SourceError, Window

PAGE_ROWS: Final = 2000
_LONGEST: Final = 1_000_000  # bytes of a line

MakeItem: TypeAlias = Callable[[Mapping[str, str]], Item | None]


class Table:
    """The rows of a CSV file, with a header: `Table(Path("export.csv"), item, count=…)`.

    *item* makes an item of a row, a mapping of the header's names; None: it is none. `columns` makes such a function. *count*:
    how many rows the file must have, from its control record or from whoever sends it. A file that says nothing of that is
    read twice, which shows that it holds still, and not that it is whole; so a row that is cut is an error, and so is one with
    fewer or more cells than the header. A row is one line.
    """

    def __init__(
        self,
        path: Path,
        item: MakeItem,
        *,
        count: int | None = None,
        delimiter: str = ",",
        encoding: str = "utf-8-sig",
    ) -> None:
        given: object = count
        if given is not None and (type(given) is not int or given < 0):
            raise UsageError(f"count= of a table is a number of rows, not {given!r}")
        if len(delimiter) != 1:
            raise UsageError(f"delimiter= of a table is one character, not {delimiter!r}")
        self._path = Path(path)
        self._item = item
        self._count = count
        self._delimiter = delimiter
        self._encoding = encoding

    @property
    def name(self) -> str:
        """For people."""
        return f"table {self._path.name}"

    async def page(self, cursor: str | None, window: Window) -> Page:
        """Some rows, from where the cursor says that the file was read to."""
        return await asyncio.to_thread(self._read, cursor, window)

    def _read(self, cursor: str | None, window: Window) -> Page:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            msg = f"{self.name}: there is no file {self._path}; that is not the same as one without rows"
            raise SourceError(msg) from None
        stamp = f"{state.st_size}.{state.st_mtime_ns}"
        known, offset, line = codec.decode(cursor.encode()) if cursor else (stamp, 0, 1)
        if known != stamp:
            raise SourceError(f"{self.name} has changed while it is read")
        with self._path.open("rb") as file:
            names = self._cells(file.readline(_LONGEST), 1)
            twice = sorted({each for each in names if names.count(each) > 1})
            if twice:
                raise SourceError(f"{self.name}: several columns are called {', '.join(twice)}")
            if offset:
                file.seek(offset)
            items, ended = self._some(file, names, line, window)
            offset = file.tell()
        if not ended:
            return Page(items, codec.encode([stamp, offset, line + PAGE_ROWS]).decode())
        return Page(items)

    def _some(
        self, file: BinaryIO, names: list[str], line: int, window: Window
    ) -> tuple[list[Item], bool]:
        items: list[Item] = []
        for row in range(1, PAGE_ROWS + 1):
            raw = file.readline(_LONGEST)
            if not raw:
                self._require_count(line + row - 2)
                return items, True
            cells = self._cells(raw, line + row)
            if len(cells) != len(names):
                msg = f"{self.name}, line {line + row}: {len(cells)} cells, where the header has {len(names)}"
                raise SourceError(msg)
            try:
                made = self._item(dict(zip(names, cells, strict=True)))
            except KeyError as error:
                has = ", ".join(names)
                msg = f"{self.name} has no column {error}, but {has}"
                raise SourceError(msg) from error
            except (ValueError, MoneyError) as error:
                msg = f"{self.name}, line {line + row}: {type(error).__name__}: {error}"
                raise SourceError(msg) from error
            if made is not None and window.reaches(made.at):
                items.append(made)
        return items, False

    def _cells(self, raw: bytes, line: int) -> list[str]:
        if not raw.endswith(b"\n"):
            problem = "it is cut, or empty: a line ends with a new line"
            if len(raw) == _LONGEST:
                problem = f"it is longer than {_LONGEST:,} bytes, which no row is"
            raise SourceError(f"{self.name}, line {line}: {problem}")
        try:
            text = raw.decode(self._encoding if line == 1 else self._encoding.removesuffix("-sig"))
            return next(csv.reader([text], delimiter=self._delimiter, strict=True), [])
        except (UnicodeDecodeError, csv.Error) as error:
            msg = f"{self.name}, line {line}: it is no row of {self._encoding} with {self._delimiter!r} between cells: {error}"
            raise SourceError(msg) from error

    def _require_count(self, rows: int) -> None:
        if self._count is not None and rows != self._count:
            raise SourceError(f"{self.name} has {rows} rows, and must have {self._count}")


def columns(
    *,
    id: str,  # noqa: A002  (the field of an item)
    amount: str,
    currency: str,
    at: str,
    key: str | None = None,
    fee: str | None = None,
    kind: str | None = None,
    reference: str | None = None,
    group: str | None = None,
    zone: tzinfo = UTC,
) -> MakeItem:
    """A function that makes an item of a row, for `Table`: each argument names a column.

    Amounts are written with a point before the decimals (`Money.parse`); *currency* may be a column, or a currency for all
    rows in capitals. *at* is a date or a time as in ISO 8601, in *zone* if it names none. An empty key is none.
    """
    if not id or not amount:
        raise UsageError("a table needs columns for id, amount, currency and at")

    def make(row: Mapping[str, str]) -> Item:
        code = row.get(currency, currency)
        when = datetime.fromisoformat(row[at])
        charged = Money.parse(row[fee], code).minor if fee is not None and row[fee] else 0
        return Item(
            row[id], Money.parse(row[amount], code).minor, code, when if when.tzinfo else when.replace(tzinfo=zone),
            (row[key] or None) if key is not None else None, kind=_of(row, kind), fee=charged,
            reference=_of(row, reference), group=_of(row, group), evidence=f"row {row[id]}",
        )  # fmt: skip

    return make


def _of(row: Mapping[str, str], column: str | None) -> str:
    return "" if column is None else row[column]
