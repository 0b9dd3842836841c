"""Events on their way out: how far each destination is behind, what did not arrive, and one message with its attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.base.errors import UsageError
from troth.outbox.model import State
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.blobs import blob_of, require_one_of
from troth.view.filters import Criteria
from troth.view.model import LAST_ID
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

FAILED = frozenset({State.DEAD, State.IN_DOUBT})
MESSAGE_PAYLOADS = ("headers", "payload", "answer")
_LAST = 2**63 - 1
_MOST_DELIVERIES = 200
_MOST_ATTEMPTS = 500


@dataclass(frozen=True, slots=True)
class OutboxFilter(Criteria):
    """Which deliveries to list. *message*: those of one message; the other fields are left alone then."""

    states: frozenset[State] = field(default=frozenset(), metadata={"word": "state"})
    outbox: str | None = None
    destination: str | None = None
    endpoint: UUID | None = None
    message: UUID | None = None


@dataclass(frozen=True, slots=True)
class EndpointFilter(Criteria):
    """Which endpoints of webhooks to list. *failing*: those that fail or are disabled."""

    outbox: str | None = None
    failing: bool = False


@dataclass(frozen=True, slots=True)
class LagLine:
    """One target: an endpoint, or a destination that has none. Those that owe nothing and failed nothing are left out.

    *pending*: what is still to go out; of it *leased* (a relay has it), *behind* (waits for another one of its key) and
    *due* (may go out now). *oldest_s*: since the oldest of it was published; at least so long if *pending* is capped.
    *failing_s*: since its first failure after its last success.
    """

    target: str
    outbox: str
    destination: str
    endpoint: UUID | None
    url: str | None
    pending: Count
    leased: int
    behind: int
    due: int
    oldest_s: float | None
    dead: Count
    in_doubt: Count
    failing_s: float | None
    failing_since: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One message on its way to one target. *attempts*: ever; *tries*: since somebody last said that it be sent.

    *age_s*: since it was published. *next_at*: when it is tried; None if it is not pending. *last*: what came of the last
    attempt, the beginning.
    """

    delivery: int
    message: UUID
    outbox: str
    type: str
    key: str | None
    published_at: datetime
    age_s: float
    destination: str
    endpoint: UUID | None
    url: str | None
    state: str
    held: str | None
    attempts: int
    tries: int
    next_at: datetime | None
    last: str | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndpointLine:
    """One endpoint of webhooks. *types*: what it gets; exact, or a beginning and *. *old_secret_until*: of a rotation."""

    id: UUID
    outbox: str
    destination: str
    url: str
    types: tuple[str, ...]
    per_key: bool
    allow_private: bool
    created_at: datetime
    failing_s: float | None
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_because: str | None
    old_secret_until: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptLine:
    """What came of one attempt. *outcome*: a status, or the class of an exception and its words."""

    delivery: int
    claim: int
    at: datetime
    duration_s: float | None
    outcome: str
    answer: Blob


@dataclass(frozen=True, slots=True)
class MessageStory:
    """One message, to whom it goes and what came of that; the latest attempts first, at most 500."""

    message: UUID
    outbox: str
    type: str
    key: str | None
    published_at: datetime
    age_s: float
    headers: Blob
    payload: Blob
    deliveries: tuple[DeliveryLine, ...]
    attempts: tuple[AttemptLine, ...]


class MessageNotFoundError(UsageError):
    """No message has this id, or it is forgotten."""


class NoEndpointError(UsageError):
    """No endpoint has this id, or it was removed."""


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "outbox.sql")


async def lag(tx: Tx, schema: str) -> tuple[LagLine, ...]:
    """How far each target is behind and what it failed to get, by name; at most 500 that wait and 500 that failed."""
    q = queries(schema)
    params = {"cap": COUNT_CAP + 1}
    waiting = {row[0]: row for row in await _rows(tx, q.targets, params)}
    failed = {row[0]: row for row in await _rows(tx, q.failures, params)}
    cut = any(row[6] > COUNT_CAP for row in failed.values())
    ids = {row[3] for row in [*waiting.values(), *failed.values()] if row[3] is not None}
    known = {row[0]: row[1:] for row in await _rows(tx, q.urls, _some(ids))} if ids else {}
    lines = []
    for target in sorted({*waiting, *failed}):
        outbox, destination, endpoint = (waiting.get(target) or failed[target])[1:4]
        n, leased, behind, due, oldest_s = waiting[target][4:] if target in waiting else _NOTHING
        dead, in_doubt = failed[target][4:6] if target in failed else (0, 0)
        url, failing_s, failing_since, disabled_at = known.get(endpoint, (None,) * 4)
        lines.append(
            LagLine(
                target,
                outbox,
                destination,
                endpoint,
                url,
                capped(n),
                leased,
                behind,
                due,
                oldest_s,
                Count(dead, cut),
                Count(in_doubt, cut),
                failing_s,
                failing_since,
                disabled_at,
            )
        )
    return tuple(lines)


_NOTHING = (0, 0, 0, 0, None)


async def deliveries(
    tx: Tx,
    schema: str,
    which: OutboxFilter = OutboxFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[DeliveryLine]:
    """A page of deliveries, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    q = queries(schema)
    (before,) = position(after, int)
    params: dict[str, Any] = {
        "before": _LAST if before is None else before,
        "states": sorted(which.states) or None,
        "outbox": which.outbox,
        "destination": which.destination,
        "endpoint": which.endpoint,
        "limit": rows_of(limit),
        "scan": SCAN_LIMIT,
    }
    if which.message is not None:
        return Page(tuple(await _of_message(tx, q, which.message)))
    statement = q.failed_lines if which.states and which.states <= FAILED else q.lines
    rows = await _rows(tx, statement, params)
    if not rows:
        return Page(())
    looked_at, last = rows[0][:2]
    found = [DeliveryLine(*row[2:]) for row in rows if row[2] is not None]
    at_row = cursor(found[-1].delivery) if found else None
    return scanned_page(found, limit, looked_at, SCAN_LIMIT, at_row, cursor(last))


async def endpoints(
    tx: Tx,
    schema: str,
    which: EndpointFilter = EndpointFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[EndpointLine]:
    """A page of endpoints, the latest first. Raises `UsageError` for a wrong *after* or *limit*."""
    (before,) = position(after, UUID)
    params = {
        "before": before or LAST_ID,
        "outbox": which.outbox,
        "failing": which.failing,
        "limit": rows_of(limit),
    }
    rows = await _rows(tx, queries(schema).endpoints, params)
    found = tuple(line(EndpointLine, *row) for row in rows)
    return Page(found, cursor(found[-1].id) if len(found) == limit else None)


async def endpoint(tx: Tx, schema: str, endpoint_id: UUID) -> EndpointLine:
    """One endpoint. Raises `NoEndpointError`."""
    rows = await _rows(tx, queries(schema).endpoint, {"id": endpoint_id})
    if not rows:
        msg = f"there is no endpoint {endpoint_id} in the schema {schema}, or it was removed"
        raise NoEndpointError(msg)
    return line(EndpointLine, *rows[0])


async def dead(tx: Tx, schema: str, endpoint_id: UUID | None = None) -> Count:
    """How many dead letters there are, of one endpoint or of all."""
    params = {"endpoint": endpoint_id, "scan": SCAN_LIMIT}
    (found, looked_at) = (await _rows(tx, queries(schema).dead, params))[0]
    return Count(found, capped=looked_at >= SCAN_LIMIT)


async def message(tx: Tx, schema: str, message_id: UUID, *, payloads: bool = False) -> MessageStory:
    """One message. Raises `MessageNotFoundError`."""
    q = queries(schema)
    params = {"message": message_id, "payloads": payloads, "most": PAYLOAD_LIMIT}
    row = await (await tx.execute(q.message, params)).fetchone()
    if row is None:
        msg = f"there is no message {message_id} in the outboxes of the schema {schema}, or it is forgotten"
        raise MessageNotFoundError(msg)
    lines = await _of_message(tx, q, message_id)
    asked = {
        "deliveries": [line.delivery for line in lines],
        "payloads": payloads,
        "limit": _MOST_ATTEMPTS,
    }
    tried = await _rows(tx, q.attempts, asked)
    *told, headers_size, headers, size, data = row
    return line(
        MessageStory,
        *told,
        blob(headers_size, headers) or Blob(0),
        blob(size, data) or Blob(0),
        tuple(lines),
        tuple(line(AttemptLine, *each[:5], blob(*each[5:]) or Blob(0)) for each in tried),
    )


async def payload(
    tx: Tx,
    schema: str,
    message_id: UUID,
    what: str,
    *,
    delivery: int = 0,
    claim: int = 0,
    limit: int = PAYLOAD_LIMIT,
) -> Blob:
    """The first *limit* bytes of a message's *what*: headers, payload, or answer (of one attempt).

    Raises `UsageError` if there are none.
    """
    require_one_of(what, MESSAGE_PAYLOADS, "a message")
    q = queries(schema)
    params = {
        "message": message_id, "what": what, "delivery": delivery, "claim": claim, "limit": limit
    }  # fmt: skip
    found = await blob_of(tx, q.answer if what == "answer" else q.payload, params)
    if found is None:
        raise MessageNotFoundError(f"message {message_id} has no such {what}, or it is forgotten")
    return found


async def _of_message(tx: Tx, q: Queries, message_id: UUID) -> list[DeliveryLine]:
    params = {"message": message_id, "limit": _MOST_DELIVERIES}
    return [DeliveryLine(*row) for row in await _rows(tx, q.of_message, params)]


async def _rows(tx: Tx, statement: Any, params: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await tx.execute(statement, params)).fetchall()


def _some(ids: set[UUID]) -> dict[str, Sequence[UUID] | int]:
    return {"ids": sorted(ids), "limit": len(ids)}
