"""The only place that runs the outbox's statements: plans for users' transactions, functions for relays and operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from troth.base import codec
from troth.outbox.model import (
    ANSWER_BYTES,
    Claimed,
    Destination,
    Endpoint,
    EndpointNotFoundError,
    Next,
    Outcome,
    Outgoing,
    Receiver,
    Standing,
    State,
)
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries, load
from troth.store.tx import Tx


def queries(schema: str) -> Queries:
    """The statements of the outbox for one schema."""
    return load("troth.outbox", schema)


# For users' transactions ----------------------------------------------------------------------------------------------


def publish(
    q: Queries,
    message: UUID,
    outbox: str,
    kind: str,
    key: str | None,
    payload: bytes,
    headers: Mapping[str, str],
    destinations: Sequence[Destination],
) -> Plan[int]:
    """Write a message and its deliveries; how many there are."""
    params = (
        message,
        outbox,
        kind,
        key,
        payload,
        codec.encode(dict(headers)),
        [each.name for each in destinations],
        [each.terms.order == "per_key" for each in destinations],
        [each.terms.to_endpoints for each in destinations],
    )
    rows = yield Statement(q.publish, params)
    return int(rows[0][0])


def add_endpoint(
    q: Queries,
    endpoint: UUID,
    outbox: str,
    destination: str,
    url: str,
    types: Sequence[str],
    *,
    per_key: bool,
    allow_private: bool,
    secret: str,
) -> Plan[None]:
    """Register an endpoint."""
    params = (endpoint, outbox, destination, url, list(types), per_key, allow_private, secret)
    yield Statement(q.add_endpoint, params, returns=False)


def rotate_secret(q: Queries, endpoint: UUID, secret: str, keep: timedelta) -> Plan[None]:
    """A new secret. Raises `EndpointNotFoundError`."""
    rows = yield Statement(q.rotate_secret, (keep.total_seconds(), secret, endpoint))
    if not rows:
        raise _no(endpoint)


def switch_endpoint(q: Queries, endpoint: UUID, act: str, by: str) -> Plan[None]:
    """Enable, disable or remove an endpoint; that somebody did is recorded by the caller. Raises `EndpointNotFoundError`."""
    rows = yield Statement(q.switch_endpoint, (endpoint, act, by))
    if not rows[0][0]:
        raise _no(endpoint)


def record_switch(q: Queries, endpoint: UUID, act: str, by: str, note: str | None) -> Plan[None]:
    """Write down what a program did with an endpoint."""
    yield Statement(
        q.record_switch, (by, f"outbox.endpoint.{act}", str(endpoint), note), returns=False
    )


def endpoints(q: Queries, outbox: str | None) -> Plan[list[Endpoint]]:
    """All endpoints, or those of one outbox."""
    rows = yield Statement(q.endpoints, {"outbox": outbox})
    return [
        Endpoint(i, box, name, url, tuple(types), "per_key" if per_key else "none", *rest)
        for i, box, name, url, types, per_key, *rest in rows
    ]


def resend(
    q: Queries,
    *,
    message: UUID | None = None,
    endpoint: UUID | None = None,
    since: datetime | None = None,
) -> Plan[list[UUID]]:
    """Send again what is dead, and of one message also what is in doubt or delivered; the message of each delivery.

    That somebody said so is recorded by the caller.
    """
    rows = yield Statement(q.resend, (message, endpoint, since))
    return list(rows[0][0])


def _no(endpoint: UUID) -> EndpointNotFoundError:
    return EndpointNotFoundError(f"there is no endpoint {endpoint}: troth outbox endpoint list")


# For relays -----------------------------------------------------------------------------------------------------------


async def standings(tx: Tx, q: Queries, outbox: str, destination: Destination) -> list[Standing]:
    """The targets of a destination that have something to do, now or later."""
    if destination.terms.to_endpoints:
        rows = await tx.execute(q.next_at_endpoints, (outbox, destination.name))
    else:
        rows = await tx.execute(q.next_at_target, (f"{outbox}/{destination.name}",))
    return [Standing(*row) for row in await rows.fetchall()]


async def claim(
    tx: Tx, q: Queries, free: Mapping[str, int], lease_s: float, *, once: bool
) -> tuple[list[Claimed], bool]:
    """Lease what is due at some targets, and whether there may be more."""
    rows = await tx.execute(q.claim, (list(free), list(free.values()), lease_s, once))
    found = await rows.fetchall()
    claimed = [_claimed(*row) for row in found if row[0] is not None]
    return claimed, len(claimed) < len(found)


def _claimed(
    delivery: int,
    target: str,
    line: str | None,
    number: int,
    tries: int,
    message: UUID,
    kind: str,
    key: str | None,
    payload: bytes,
    headers: bytes,
    published_at: datetime,
    endpoint: UUID | None,
    url: str,
    secrets: list[str],
    allow_private: bool,
) -> Claimed:
    receiver = Receiver(endpoint, url, tuple(secrets), allow_private) if endpoint else None
    said = codec.decode(headers)
    outgoing = Outgoing(
        message, kind, key, bytes(payload), said, published_at, number, receiver
    )  # fmt: skip
    return Claimed(delivery, target, line, number, tries, outgoing)


async def record(
    tx: Tx,
    q: Queries,
    claimed: Claimed,
    outcome: Outcome,
    then: Next,
    duration_s: float,
    give_up_s: float,
) -> bool:
    """Write down what came of an attempt; false if somebody else has the delivery by now."""
    receiver = claimed.message.receiver
    params = (
        claimed.delivery,
        claimed.claim,
        then.state,
        then.wait_s,
        duration_s,
        outcome.status[:500].replace("\0", ""),
        outcome.answer[:ANSWER_BYTES],
        receiver.id if receiver else None,
        then.works,
        then.disable,
        give_up_s,
    )
    row = await (await tx.execute(q.record, params)).fetchone()
    if then.state is not State.PENDING and claimed.line is not None:
        await tx.execute(q.wake_line, (claimed.target, claimed.line))
    return bool(row and row[0])


async def forget(tx: Tx, q: Queries, outbox: str, keep_s: float, limit: int) -> tuple[int, int]:
    """Forget messages that ended long ago, of *limit* that may have; how many were looked at, and how many forgotten."""
    row = await (await tx.execute(q.forget, (outbox, keep_s, limit))).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


# For operators --------------------------------------------------------------------------------------------------------
