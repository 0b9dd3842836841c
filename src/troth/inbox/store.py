"""The only place that runs the statements of inboxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from troth.base import codec
from troth.inbox.model import Claimed, Event, EventNotFoundError, State, Verdict, Which
from troth.inbox.rules import Trail
from troth.store.plan import Statement
from troth.store.queries import Queries, load
from troth.store.tx import Row, Tx


def queries(schema: str) -> Queries:
    """The statements of inboxes for one schema."""
    return load("troth.inbox", schema)


@dataclass(frozen=True, slots=True)
class Incoming:
    """What is to be taken in. *created*: None if the event does not say when it was made."""

    event: Event
    object_key: str
    created: datetime | None
    version: int | None
    verified_by: str | None
    digest: bytes

    @property
    def created_s(self) -> float | None:
        """When it was made, in seconds since 1970."""
        return self.created.timestamp() if self.created else None


# Taking in ------------------------------------------------------------------------------------------------------------


def accept(schema: str, incoming: Incoming) -> Statement:
    """The statement that takes a delivery in."""
    event = incoming.event
    return Statement(
        queries(schema).accept,
        {
            "source": event.source,
            "event": event.id,
            "type": event.type,
            "object": incoming.object_key,
            "created": incoming.created_s,
            "version": incoming.version,
            "found_by": event.found_by,
            "verified_by": incoming.verified_by,
            "digest": incoming.digest,
            "headers": codec.encode(event.headers).decode(),
            "body": event.body,
        },
    )


async def accept_swept(tx: Tx, schema: str, source: str, page: Sequence[Incoming]) -> int:
    """Take in a page of the provider's list; how many events were new."""
    params = {
        "source": source,
        "events": [each.event.id for each in page],
        "types": [each.event.type for each in page],
        "objects": [each.object_key for each in page],
        "created": [each.created_s for each in page],
        "versions": [each.version for each in page],
        "digests": [each.digest for each in page],
        "bodies": [each.event.body for each in page],
    }
    rows = await (await tx.execute(queries(schema).accept_swept, params)).fetchall()
    return sum(outcome == "new" for (outcome,) in rows)


# Applying -------------------------------------------------------------------------------------------------------------


async def claim(
    tx: Tx, schema: str, source: str, idle_s: float, object_key: str | None = None
) -> Claimed | float | None:
    """Hold the event whose turn it is until the end of *tx*. Without one: in how many seconds there may be one, or None."""
    params = {"source": source, "object": object_key, "idle_s": idle_s}
    row = await (await tx.execute(queries(schema).claim, params)).fetchone()
    assert row is not None
    found, wait_s, event_id, kind, created, version, body, headers, received, found_by = row[:10]
    failures, parks, parked_s, overtaken = row[10:]
    if event_id is None:
        return None if wait_s is None else float(wait_s)
    event = Event(
        source, event_id, kind, found, created, version, bytes(body or b"null"), codec.decode(headers.encode()),
        received, found_by, failures + parks + 1,
    )  # fmt: skip
    return Claimed(event, failures, parks, parked_s, bool(overtaken))


async def mark_fetching(tx: Tx, schema: str, event: Event, for_s: float) -> None:
    """Let nobody else fetch the object of an event, for a while."""
    params = {"source": event.source, "object": event.object_key, "for_s": for_s}
    await tx.execute(queries(schema).fetching, params)


async def before_handler(tx: Tx, schema: str) -> None:
    """Mark the place that `undo_handler` comes back to."""
    await tx.execute(queries(schema).before_handler)


async def undo_handler(tx: Tx, schema: str) -> None:
    """Undo what the handler did; the claim stays."""
    await tx.execute(queries(schema).undo_handler)


async def settle(tx: Tx, schema: str, claimed: Claimed, verdict: Verdict) -> bool:
    """Record what became of an event; False if it is not as it was claimed any more."""
    event = claimed.event
    params = {
        "source": event.source,
        "object": event.object_key,
        "event": event.id,
        "failures": claimed.failures,
        "parks": claimed.parks,
        "state": verdict.state,
        "reason": verdict.reason,
        "wait_s": verdict.wait_s,
        "new_failures": verdict.failures,
        "new_parks": verdict.parks,
        "blocks": verdict.blocks,
    }
    row = await (await tx.execute(queries(schema).settle, params)).fetchone()
    return bool(row and row[0])


# Sweeping and forgetting ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SweepTurn:
    """A turn of reading the provider's list. *now_s*: the database's time in seconds since 1970."""

    turn: int
    trail: Trail
    failures: int
    now_s: float


async def begin_sweep(tx: Tx, schema: str, source: str, lease_s: float) -> SweepTurn | None:
    """Take the turn, for *lease_s* seconds; None if it is too early, or somebody else's."""
    params = {"source": source, "lease_s": lease_s}
    row = await (await tx.execute(queries(schema).begin_sweep, params)).fetchone()
    if row is None:
        return None
    trail = tuple((float(at), str(cursor)) for at, cursor in codec.decode(row[1].encode()))
    return SweepTurn(row[0], trail, row[2], row[3])


async def sweep_due_in(tx: Tx, schema: str, source: str) -> float:
    """In how many seconds a sweep is due."""
    row = await (await tx.execute(queries(schema).sweep_due, {"source": source})).fetchone()
    return float(row[0]) if row else 0.0


async def save_sweep(
    tx: Tx, schema: str, source: str, turn: int, trail: Trail, due_in_s: float, *, complete: bool
) -> bool:
    """Record how far a turn has come; False if it is another one's turn."""
    params = {
        "source": source,
        "turn": turn,
        "trail": codec.encode(trail).decode(),
        "due_in_s": due_in_s,
        "complete": complete,
    }
    return await (await tx.execute(queries(schema).save_sweep, params)).fetchone() is not None


async def fail_sweep(
    tx: Tx, schema: str, source: str, turn: int, due_in_s: float, error: str
) -> None:
    """Record that the provider's list could not be read."""
    params = {"source": source, "turn": turn, "due_in_s": due_in_s, "error": error}
    await tx.execute(queries(schema).fail_sweep, params)


async def forget(tx: Tx, schema: str, source: str, state: State, keep_s: float, limit: int) -> int:
    """Delete up to *limit* events in a settled state that were last heard of *keep_s* seconds ago; how many."""
    params = {"source": source, "state": state, "keep_s": keep_s, "limit": limit}
    return (await tx.execute(queries(schema).forget, params)).rowcount


async def forget_bodies(tx: Tx, schema: str, source: str, keep_s: float, limit: int) -> int:
    """Drop up to *limit* bodies of events that came more than *keep_s* seconds ago; how many."""
    params = {"source": source, "keep_s": keep_s, "limit": limit}
    return (await tx.execute(queries(schema).forget_bodies, params)).rowcount


# For people -----------------------------------------------------------------------------------------------------------


async def in_state(
    tx: Tx, schema: str, state: State, which: Which, limit: int
) -> list[dict[str, Any]]:
    """Events in a state, those that came last first."""
    names = (
        "source", "event", "type", "object", "state", "received_at", "parked_since", "failures", "delivered", "reason",
    )  # fmt: skip
    params = {
        "state": state, "source": which.source, "type": which.type, "object": which.object, "limit": limit
    }  # fmt: skip
    rows = await (await tx.execute(queries(schema).in_state, params)).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


@dataclass(frozen=True, slots=True)
class Told:
    """All that is known of an event: its facts by name, what else came under its id, who put it back."""

    facts: Mapping[str, Any]
    body: bytes | None
    conflicts: Sequence[Row]
    replays: Sequence[Row]


async def show(tx: Tx, schema: str, event_id: str, source: str | None) -> Told:
    """An event by its id. Raises `EventNotFoundError`."""
    q = queries(schema)
    names = (
        "source", "event", "type", "object", "created_at", "version", "state", "due_at", "failures", "parks", "parked_since",
        "blocks", "reason", "received_at", "last_seen", "delivered", "found_by", "verified_by", "settled_at", "headers",
    )  # fmt: skip
    known = [row[0] for row in await (await tx.execute(q.sources)).fetchall()]
    sources = [source] if source else known
    params = {"event": event_id, "sources": sources}
    rows = await (await tx.execute(q.show, params)).fetchall()
    if not rows:
        msg = f"there is no event {event_id} from {source or ', '.join(known) or 'anywhere'}"
        raise EventNotFoundError(msg)
    if len(rows) > 1:
        having = ", ".join(row[0] for row in rows)
        raise EventNotFoundError(f"several sources have an event {event_id}: --source {having}")
    facts = dict(zip(names, rows[0][:-1], strict=True))
    which = {"source": facts["source"], "event": event_id}
    conflicts = await (await tx.execute(q.conflicts, which)).fetchall()
    replays = await (await tx.execute(q.replays, which)).fetchall()
    body = rows[0][-1]
    return Told(facts, None if body is None else bytes(body), conflicts, replays)


async def enqueue(tx: Tx, schema: str, source: str, object_key: str) -> None:
    """Let an object be looked at, when *tx* has committed."""
    await tx.execute(queries(schema).enqueue, {"source": source, "object": object_key})


async def hold(tx: Tx, schema: str, source: str, event_id: str) -> tuple[State, str | None]:
    """Lock an event: its state and the reason for it. Raises `EventNotFoundError`."""
    params = {"source": source, "event": event_id}
    row = await (await tx.execute(queries(schema).hold, params)).fetchone()
    if row is None:
        raise EventNotFoundError(f"there is no event {event_id} from {source}")
    return State(row[0]), row[1]


async def put_back(
    tx: Tx, schema: str, which: tuple[str, str], by: str, note: str | None, was: tuple[State, str | None]
) -> None:  # fmt: skip
    """Let the event (source, id) be tried anew; it *was* in a state for a reason."""
    params = {
        "source": which[0], "event": which[1], "by": by, "note": note, "was": was[0], "reason": was[1],
    }  # fmt: skip
    await tx.execute(queries(schema).put_back, params)
