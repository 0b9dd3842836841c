"""Run ids: UUIDv7 (RFC 9562) that carry the number of their cell.

The first 48 bits are milliseconds since 1970, so a range of ids is a range of time: history is partitioned by it.
The 14 bits after the variant hold the cell, the other 60 random bits stay random.
"""

from __future__ import annotations

import datetime as dt
import sys
from uuid import UUID

if sys.version_info >= (3, 14):
    from uuid import uuid7
else:
    from uuid_utils import uuid7  # not a `uuid.UUID`: only its number is used

MAX_CELL = (1 << 14) - 1
_CELL_SHIFT = 48
_CELL_MASK = MAX_CELL << _CELL_SHIFT


def new_id(cell: int = 0) -> UUID:
    """A fresh id in *cell* (0 to 16383); later ids are greater, to the millisecond."""
    return UUID(int=(uuid7().int & ~_CELL_MASK) | (cell << _CELL_SHIFT))


def cell_of(run_id: UUID) -> int:
    """The cell that a run id names."""
    return (run_id.int & _CELL_MASK) >> _CELL_SHIFT


def time_of(run_id: UUID) -> dt.datetime:
    """When the id was made, in UTC, to the millisecond."""
    return dt.datetime.fromtimestamp((run_id.int >> 80) / 1000, dt.UTC)
