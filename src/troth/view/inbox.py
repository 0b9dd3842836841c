"""Events that came in: how each source stands, which events are open and why, and one event with all that happened to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from troth.base.errors import UsageError
from troth.inbox.model import State
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.blobs import blob_of, require_one_of
from troth.view.filters import Criteria, Since
from troth.view.paging import (
    COUNT_CAP,
    PAGE_ROWS,
    PAYLOAD_LIMIT,
    SCAN_LIMIT,
    Blob,
    Count,
    Page,
    blob,
    capped,
    cursor,
    line,
    position,
    rows_of,
    scanned_page,
)

OPEN = frozenset({State.RECEIVED, State.PARKED, State.QUARANTINED})
EVENT_PAYLOADS = ("headers", "body", "conflict")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_SETTLED = (State.APPLIED, State.SUPERSEDED, State.IGNORED)
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class InboxFilter(Criteria):
    """Which events to list. *object*: the events about one object of the source."""

    states: frozenset[State] = field(default=frozenset(), metadata={"word": "state"})
    source: str | None = None
    type: str | None = None
    object: str | None = None
    since: Since = Since()  # noqa: RUF009  (frozen)


@dataclass(frozen=True, slots=True)
class SourceLine:
    """One source. *open*: by state; *settled*: by state, of what came within a day.

    *oldest_s*: how long the oldest event has waited that is not quarantined, in seconds. *conflicts*: contents that came under an id that had another. *only_by_sweep*: events that no webhook
    brought. *sweep_failures*: in a row.
    """

    source: str
    open: Mapping[str, Count]
    settled: Mapping[str, Count]
    oldest_s: float | None
    conflicts: Count
    only_by_sweep: Count
    swept_at: datetime | None
    sweep_failures: int
    sweep_error: str | None


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event. *age_s*: since it came. *parked_s*: since it was found to be early. *delivered*: how often it came by
    webhook. *reason*: of its state, the beginning.
    """

    seq: int
    source: str
    event: str
    type: str
    object: str
    state: str
    received_at: datetime
    age_s: float
    parked_s: float | None
    parked_since: datetime | None
    due_at: datetime
    failures: int
    parks: int
    delivered: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class ConflictLine:
    """Another content that came under the id of an event, and is not applied. *digest*: of it, in hexadecimal."""

    digest: str
    type: str
    found_by: str
    first_seen: datetime
    last_seen: datetime
    seen: int
    body: Blob


@dataclass(frozen=True, slots=True)
class ReplayLine:
    """Somebody put an event back that *was* in a state for a *reason*."""

    at: datetime
    by: str
    note: str | None
    was: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class EventStory:
    """All that is known of one event. *created_at*: by the provider's clock. *body*: None if it is forgotten."""

    line: EventLine
    created_at: datetime
    version: int | None
    blocks: bool
    last_seen: datetime
    found_by: str
    verified_by: str | None
    settled_at: datetime | None
    headers: Blob
    body: Blob | None
    conflicts: tuple[ConflictLine, ...]
    replays: tuple[ReplayLine, ...]


class EventNotFoundError(UsageError):
    """No event of this source has this id."""


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "inbox.sql")


async def sources(tx: Tx, schema: str) -> tuple[SourceLine, ...]:
    """How each source stands; at most 200 of them."""
    q = queries(schema)
    cap = COUNT_CAP + 1
    stands = await (await tx.execute(q.open, {"cap": cap})).fetchall()
    cut = bool(stands) and stands[0][4] > COUNT_CAP
    found = []
    for source, swept_at, failures, error, conflicts, swept in await (
        await tx.execute(q.sources, {"cap": cap})
    ).fetchall():
        mine = [row[1:4] for row in stands if row[0] == source]
        settled = {}
        for state in _SETTLED:
            params = {"source": source, "state": state, "cap": cap}
            row = await (await tx.execute(q.settled, params)).fetchone()
            settled[state.value] = capped(row[0] if row else 0)
        waiting = [oldest_s for state, _, oldest_s in mine if state != State.QUARANTINED]
        found.append(
            SourceLine(
                source,
                {state: Count(n, cut) for state, n, _ in mine},
                settled,
                max(waiting, default=None),
                capped(conflicts),
                capped(swept),
                swept_at,
                failures or 0,
                error,
            )
        )
    return tuple(found)


async def events(
    tx: Tx,
    schema: str,
    which: InboxFilter = InboxFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[EventLine]:
    """A page of events, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    (seq,) = position(after, int)
    q = queries(schema)
    params: dict[str, Any] = {
        "seq": _LAST if seq is None else seq,
        "states": sorted(which.states) or None,
        "source": which.source,
        "type": which.type,
        "object": which.object,
        "since": which.since.at(),
        "limit": rows_of(limit),
        "scan": SCAN_LIMIT,
    }
    statement = q.open_lines if which.states and which.states <= OPEN else q.lines
    rows = await (await tx.execute(statement, params)).fetchall()
    if not rows:
        return Page(())
    looked_at, last = rows[0][:2]
    found = [EventLine(*row[2:]) for row in rows if row[2] is not None]
    at_row = cursor(found[-1].seq) if found else None
    return scanned_page(found, limit, looked_at, SCAN_LIMIT, at_row, cursor(last))


async def event(
    tx: Tx, schema: str, source: str, event_id: str, *, payloads: bool = False
) -> EventStory:
    """One event. Raises `EventNotFoundError`."""
    q = queries(schema)
    params = {"source": source, "event": event_id, "payloads": payloads, "most": PAYLOAD_LIMIT}
    row = await (await tx.execute(q.one, params)).fetchone()
    if row is None:
        msg = f"the source {source} has no event {event_id!r} in the schema {schema}"
        raise EventNotFoundError(msg)
    conflicts = await (await tx.execute(q.conflicts, params)).fetchall()
    replays = await (await tx.execute(q.replays, params)).fetchall()
    *told, headers_size, headers, body_size, body = row
    return line(
        EventStory,
        EventLine(*told[:15]),
        *told[15:],
        blob(headers_size, headers) or Blob(0),
        blob(body_size, body),
        tuple(line(ConflictLine, *each[:6], blob(*each[6:]) or Blob(0)) for each in conflicts),
        tuple(ReplayLine(*each) for each in replays),
    )


async def payload(
    tx: Tx,
    schema: str,
    source: str,
    event_id: str,
    what: str,
    *,
    digest: str = "",
    limit: int = PAYLOAD_LIMIT,
) -> Blob:
    """The first *limit* bytes of an event's *what*: headers, body, or conflict (the one with this *digest*).

    Raises `UsageError` if there are none.
    """
    require_one_of(what, EVENT_PAYLOADS, "an event")
    if not _HEX.fullmatch(digest):
        raise UsageError(f"{digest!r} is not a digest")
    q = queries(schema)
    params = {"source": source, "event": event_id, "what": what, "digest": digest, "limit": limit}
    statement = q.conflict_payload if what == "conflict" else q.payload
    found = await blob_of(tx, statement, params)
    if found is None:
        msg = f"the event {event_id!r} of {source} has no {what}, or it is forgotten"
        raise EventNotFoundError(msg)
    return found
