"""Rows of what comes in and goes out, for pages to show: written straight into the tables, so that they may say anything."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.console.conftest import rows
from troth.base import ids

Where = tuple[str, str]


def made(cell: Where, table: str, **values: Any) -> None:
    """One row."""
    names, holes = ", ".join(values), ", ".join(["%s"] * len(values))
    query = f"INSERT INTO {{}}.{table} ({names}) VALUES ({holes}) RETURNING 1"
    assert rows(cell, query, *values.values()) == [(1,)]


def request(cell: Where, number: int = 1, **values: Any) -> str:
    """A request; the id of its record."""
    record = bytes([number]) * 32
    row = {
        "id": record, "name": "api", "caller": "person:7", "method": "POST", "route": "/orders", "key": f"order-{number}",
        "salt": b"", "parts": b'{"body.plan":"x"}', "status": 201, "headers": b"[]", "body": b'{"id":12345678901234567890}',
        "expires_at": "2999-01-01",
    }  # fmt: skip
    made(cell, "request", **(row | values))
    return record.hex()


def event(cell: Where, event_id: str = "evt_1", **values: Any) -> str:
    """An event that came in; its id."""
    row = {
        "source": "stripe", "event_id": event_id, "type": "charge.failed", "object_key": "ch_1", "created_at": "2026-11-24",
        "state": "quarantined", "due_at": "2026-11-24", "reason": "Traceback\nValueError: no such plan", "failures": 5,
        "received_at": "2026-11-24T08:00Z", "last_seen": "2026-11-24T09:00Z", "delivered": 3, "found_by": "webhook",
        "digest": b"", "headers": '{"stripe-signature":"t=1,v1=secret"}', "body": b'{"card":"4111-1111"}',
    }  # fmt: skip
    made(cell, "inbox_event", **(row | values))
    return event_id


def endpoint(cell: Where, **values: Any) -> UUID:
    """An endpoint; its id."""
    row = {
        "id": ids.new_id(), "outbox": "events", "destination": "webhooks", "url": "https://shop.example/hook", "types": ["*"],
        "per_key": True, "allow_private": False, "secret": "whsec_do-not-show",
    }  # fmt: skip
    made(cell, "outbox_endpoint", **(row | values))
    found: UUID = (row | values)["id"]
    return found


def message(cell: Where, to: UUID | None, state: str = "dead", **values: Any) -> UUID:
    """A message with one delivery, which was tried once; its id."""
    row = {
        "id": ids.new_id(), "outbox": "events", "type": "order.paid", "key": "order-1", "payload": b'{"card":"4111-1111"}',
        "headers": b'{"traceparent":"00"}',
    }  # fmt: skip
    row |= values
    made(cell, "outbox_message", **row)
    made(
        cell, "outbox_delivery", message=row["id"], outbox=row["outbox"], destination="webhooks", endpoint=to,
        target=str(to or "events/webhooks"), state=state, claim=1, tries=1,
    )  # fmt: skip
    ((delivery,),) = rows(cell, "SELECT id FROM {}.outbox_delivery WHERE message = %s", row["id"])
    made(
        cell, "outbox_attempt", delivery=delivery, claim=1, duration_s=0.25, outcome="HTTP 500",
        answer=b"<h1>out of order</h1>",
    )  # fmt: skip
    found: UUID = row["id"]
    return found
