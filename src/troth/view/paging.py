"""Pages and counts that have an end, however much there is. Pure.

A list goes on where the page before ended (keyset), never at the so-manieth row. What no index answers looks at
`SCAN_LIMIT` rows at most and says so; counting ends at a cap.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec

from troth.base.errors import UsageError

T = TypeVar("T")

MOST_ROWS = 1000  # on one page
PAGE_ROWS = 50
SCAN_LIMIT = 10_000  # rows that one page looks at
COUNT_CAP = 10_000  # of one state at one destination, source or machine
RUN_COUNT_CAP = 100_000  # of runs that are alive
PAYLOAD_LIMIT = 65_536  # bytes of a payload that are read


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are. *capped*: at least so many; nobody has counted further."""

    n: int
    capped: bool = False

    def __str__(self) -> str:
        return f"{self.n:,}" + ("+" if self.capped else "")


def capped(counted: int, cap: int | None = None) -> Count:
    """What a count that stops at *cap* + 1 says; without one, at `COUNT_CAP` + 1."""
    most = COUNT_CAP if cap is None else cap
    return Count(min(counted, most), counted > most)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows, and where the next ones begin: an opaque text for `after`, None at the end.

    *cut*: the page looked at as many rows as one page may, and found fewer than a page full; *next* looks further.
    """

    rows: tuple[T, ...]
    next: str | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """A stored payload, or its beginning. *size*: of all of it, in bytes; *data* is None if nobody asked for it."""

    size: int
    data: bytes | None = None

    @property
    def cut(self) -> bool:
        """Is there more than *data*?"""
        return self.data is not None and len(self.data) < self.size


def blob(size: int | None, data: bytes | None) -> Blob | None:
    """A payload as statements give it: its size, and as much of it as was asked for; None if there is none."""
    return None if size is None else Blob(size, None if data is None else bytes(data))


def cursor(*values: object) -> str:
    """Where a page ends, as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(values)).decode().rstrip("=")


def position(after: str | None, *kinds: type) -> tuple[Any, ...]:
    """The values of a `cursor`, a None for each if there is none. Raises `UsageError` for what is no cursor of this list."""
    if after is None:
        return (None,) * len(kinds)
    try:
        raw = base64.urlsafe_b64decode(after + "=" * (-len(after) % 4))
        found: tuple[Any, ...] = msgspec.json.decode(raw, type=tuple[kinds])  # type: ignore[valid-type]
    except (ValueError, msgspec.DecodeError):
        msg = f"{after!r} is not where a page of this list ended: begin with the first page"
        raise UsageError(msg) from None
    return found


def line(kind: Callable[..., T], *values: object) -> T:
    """One line of a list from a row of the database; arrays become tuples."""
    return kind(*(tuple(each) if isinstance(each, list) else each for each in values))


def rows_of(limit: int) -> int:
    """A page's length, if it may be one. Raises `UsageError`."""
    if not 1 <= limit <= MOST_ROWS:
        msg = f"a page has 1 to {MOST_ROWS} rows, not {limit}"
        raise UsageError(msg)
    return limit


def scanned_page(
    found: Sequence[T], limit: int, looked_at: int, scan: int, at_row: str | None, at_scan: str
) -> Page[T]:
    """A page of a list that was filtered while it was read.

    *looked_at* of at most *scan* rows were read; *at_row* is the cursor of the last one that matches, *at_scan* of the
    last one that was read.
    """
    if len(found) >= limit:
        return Page(tuple(found), at_row)
    if looked_at >= scan:
        return Page(tuple(found), at_scan, cut=True)
    return Page(tuple(found))


def later(moment: datetime | None) -> str | None:
    """A time in a cursor, with all its digits."""
    return None if moment is None else moment.isoformat()
