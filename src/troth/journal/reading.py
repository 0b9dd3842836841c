"""What a journal says, for whoever reads one: the engine in a replay, people's acts, and the views. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from troth.base import codec
from troth.journal.model import REWIND_PATH, Kind


class Recorded(Protocol):
    """An entry of a journal, as it is read; times need only be comparable."""

    @property
    def path(self) -> str: ...
    @property
    def kind(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def seq(self) -> int | None: ...
    @property
    def ok(self) -> bool | None: ...
    @property
    def payload(self) -> bytes | None: ...
    @property
    def at(self) -> Any: ...


def said_by(entry: Recorded) -> dict[str, Any]:
    """What an entry holds, if that is an object; else nothing."""
    said = codec.decode(entry.payload or b"{}")
    return said if isinstance(said, dict) else {}


def superseded(entries: Iterable[Recorded]) -> frozenset[tuple[str, int]]:
    """The answers that do not count any more, because the run went back to before them, as (path, attempt)."""
    of_run = list(entries)
    spans = [
        (said["seq"], said["last"])
        for said in (said_by(e) for e in of_run if e.path == REWIND_PATH)
    ]
    if not spans:
        return frozenset()
    return frozenset(
        (each.path, each.attempt)
        for each in of_run
        if each.kind == Kind.RESULT
        and any(first <= (each.seq or 0) <= last for first, last in spans)
    )
