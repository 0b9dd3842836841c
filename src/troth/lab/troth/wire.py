"""Values on their way between the code and the tables: what psycopg takes and gives, as plain data and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from troth.lab.model import Observation, Refused
from troth.store import arrays

DatabaseFailed = psycopg.Error

_TAGS: dict[str, tuple[type, Any]] = {
    "uuid": (UUID, UUID),
    "datetime": (datetime, datetime.fromisoformat),
    "date": (date, date.fromisoformat),
    "decimal": (Decimal, Decimal),
}


def plain(value: Any) -> Any:
    """The value as data that can be encoded, compared, and made into the same value again.

    Raises:
        Refused: there is no such form of it.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, arrays.Array):
        return {"array": type(value).__name__, "of": bytes(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    for tag, (kind, _) in _TAGS.items():
        if isinstance(value, kind):
            return {tag: value.isoformat() if isinstance(value, date) else str(value)}
    if isinstance(value, Mapping):
        return {"mapping": {str(name): plain(one) for name, one in value.items()}}
    if isinstance(value, Sequence):
        return [plain(one) for one in value]
    raise Refused(
        f"{type(value).__name__} as a parameter, or in a row, of a transaction step is not followed"
    )


def real(value: Any) -> Any:
    """What `plain` was given."""
    if isinstance(value, list | tuple):
        return [real(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return getattr(arrays, value["array"])(value["of"])
    ((tag, one),) = value.items()
    if tag == "mapping":
        return {name: real(item) for name, item in one.items()}
    return _TAGS[tag][1](one)


def failure(error: psycopg.Error) -> Observation:
    """An error of the server as an observation."""
    return Observation((error.sqlstate or "", str(error).splitlines()[0]), "database")


def raised(seen: Observation) -> Exception:
    """The exception that psycopg would raise."""
    state, message = seen.value
    if not state:
        return psycopg.OperationalError(message)
    try:
        kind = psycopg.errors.lookup(state)
    except KeyError:
        kind = type("OwnError", (psycopg.DatabaseError,), {"sqlstate": state})
    return kind(message)
