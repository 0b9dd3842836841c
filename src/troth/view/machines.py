"""Machines: how many objects are in which state, and how one object came where it is.

The picture of a machine is drawn from its declaration, which is in the program: `troth.machine.draw.svg`, with `counts`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from troth.base.errors import UsageError
from troth.machine.model import UnknownObjectError
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.blobs import blob_of
from troth.view.filters import Criteria
from troth.view.paging import (
    COUNT_CAP,
    PAGE_ROWS,
    PAYLOAD_LIMIT,
    Blob,
    Count,
    Page,
    blob,
    capped,
    cursor,
    line,
    position,
    rows_of,
)

_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ObjectFilter(Criteria):
    """Which objects of a machine to list."""

    state: str | None = None


@dataclass(frozen=True, slots=True)
class MachineLine:
    """One machine that has objects, and how many are in each state that any is in."""

    machine: str
    counts: Mapping[str, Count]


@dataclass(frozen=True, slots=True)
class ObjectLine:
    """Where one object stands. *version*: the greatest that was brought. *in_state_s*: since it came into its state."""

    id: str
    state: str
    version: int | None
    seq: int
    since: datetime
    in_state_s: float


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One entry of an object's history. *after_s*: since the entry before it on this page.

    *event*: what was fired; *observed*: the state that another system said; neither: it was created. *path*: the events
    that an observation stands for. *superseded*: a later version was known already, and nothing changed.
    """

    seq: int
    at: datetime
    after_s: float | None
    event: str | None
    observed: str | None
    from_state: str | None
    to_state: str
    path: tuple[str, ...]
    superseded: bool
    version: int | None
    cause: str
    by: str | None
    why: str | None
    data: Blob | None


@dataclass(frozen=True, slots=True)
class ObjectStory:
    """One object, and a page of its history, the latest entry first.

    *events*: the causes on this page that are ids of events that came in, with the source of each.
    """

    machine: str
    line: ObjectLine
    history: Page[HistoryLine]
    events: Mapping[str, str]


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "machines.sql")


async def machines(tx: Tx, schema: str, machine: str | None = None) -> tuple[MachineLine, ...]:
    """The machines that have objects, by name, with their counts; or one of them."""
    params = {"machine": machine, "cap": COUNT_CAP + 1}
    found: dict[str, dict[str, Count]] = {}
    for name, state, n in await (await tx.execute(queries(schema).counts, params)).fetchall():
        found.setdefault(name, {})[state] = capped(n)
    return tuple(MachineLine(name, counts) for name, counts in found.items())


async def objects(
    tx: Tx,
    schema: str,
    machine: str,
    which: ObjectFilter = ObjectFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[ObjectLine]:
    """A page of a machine's objects, by their ids. Raises `UsageError` for a wrong *after* or *limit*."""
    q = queries(schema)
    (last,) = position(after, str)
    params: dict[str, Any] = {
        "machine": machine,
        "state": which.state,
        "after": last or "",
        "limit": rows_of(limit),
    }
    statement = q.all_objects if which.state is None else q.objects
    rows = await (await tx.execute(statement, params)).fetchall()
    found = tuple(ObjectLine(*row) for row in rows)
    return Page(found, cursor(found[-1].id) if len(found) == limit else None)


async def machine_object(
    tx: Tx,
    schema: str,
    machine: str,
    object_id: str,
    *,
    payloads: bool = False,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> ObjectStory:
    """One object. Raises `UnknownObjectError`, and `UsageError` for a wrong *after* or *limit*."""
    q = queries(schema)
    (before,) = position(after, int)
    params: dict[str, Any] = {
        "machine": machine,
        "id": object_id,
        "before": _LAST if before is None else before,
        "payloads": payloads,
        "most": PAYLOAD_LIMIT,
        "limit": rows_of(limit),
    }
    row = await (await tx.execute(q.object, params)).fetchone()
    if row is None:
        msg = f"the machine {machine} has no object {object_id!r} in the schema {schema}: troth machine list"
        raise UnknownObjectError(msg)
    rows = await (await tx.execute(q.history, params)).fetchall()
    lines = tuple(
        line(HistoryLine, *each[:7], each[7] or (), *each[8:13], blob(*each[13:])) for each in rows
    )
    more = len(lines) == limit and lines[-1].seq > 1
    page = Page(lines, cursor(lines[-1].seq) if more else None)
    causes = {"causes": [each.cause for each in lines], "limit": rows_of(limit)}
    events = await (await tx.execute(q.events, causes)).fetchall()
    return ObjectStory(machine, ObjectLine(*row), page, dict(events))


async def payload(
    tx: Tx, schema: str, machine: str, object_id: str, seq: int, limit: int = PAYLOAD_LIMIT
) -> Blob:
    """The first *limit* bytes of the data of one entry. Raises `UsageError` if there are none."""
    params = {"machine": machine, "id": object_id, "seq": seq, "limit": limit}
    found = await blob_of(tx, queries(schema).payload, params)
    if found is None:
        raise UsageError(f"entry {seq} of {object_id!r} of the machine {machine} has no data")
    return found
