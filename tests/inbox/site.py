"""A program with an inbox, and a provider that signs what it sends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from tests.harness.cell import until
from troth import Troth
from troth.base.backoff import Retry
from troth.inbox import Accepted, Inbox, StripeSignatures
from troth.inbox.accept import Headers

SECRET = "whsec_test"
QUICK = Retry(attempts=3, first=timedelta(milliseconds=20), longest=timedelta(milliseconds=20))


def stripe_event(
    number: int | str, kind: str = "thing.changed", about: str = "one", **more: Any
) -> dict[str, Any]:
    """An event as Stripe words it; *created* goes up with its number."""
    made = 1_700_000_000 + (number if isinstance(number, int) else 0)
    data = {"object": {"id": about, "number": number}}
    return {
        "id": f"evt_{number}",
        "object": "event",
        "type": kind,
        "created": made,
        "data": data,
    } | more


def signed(event: dict[str, Any], secret: str = SECRET) -> tuple[dict[str, str], bytes]:
    """Headers and body, signed by Stripe's own library."""
    from stripe import WebhookSignature

    body = json.dumps(event)
    return {
        "Stripe-Signature": WebhookSignature.generate_signature_header(body, secret)
    }, body.encode()


class Site:
    """A Troth on a schema of its own, whose inbox is made by the test."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schema
        self.troth = Troth(url, schema=schema)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(
                f"CREATE TABLE {schema}.did (n bigint GENERATED ALWAYS AS IDENTITY, event text, said text)"
            )

    def inbox(self, **options: Any) -> Inbox:
        defaults = {"scheme": StripeSignatures([SECRET]), "retry": QUICK, "parking": QUICK}
        return self.troth.include(Inbox("stripe", **defaults | options))

    async def accept(self, inbox: Inbox, headers: Headers, body: bytes) -> Accepted:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            return await inbox.accept(connection, headers, body)

    async def deliver(self, inbox: Inbox, *events: dict[str, Any]) -> list[Accepted]:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            return [await inbox.accept(connection, *signed(event)) for event in events]

    def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Ask the database; `{s}` is the schema."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(
                sql.SQL(query).format(s=sql.Identifier(self.schema)), params
            )
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, *params: Any) -> Any:
        return self.rows(query, *params)[0][0]

    def states(self) -> dict[str, str]:
        return dict(self.rows("SELECT event_id, state FROM {s}.inbox_event"))

    def did(self) -> list[str]:
        """The events that were applied, in order."""
        return [event for (event,) in self.rows("SELECT event FROM {s}.did ORDER BY n")]

    async def note(self, tx: Any, event: Any, said: str = "") -> None:
        """What handlers of these tests do."""
        query = sql.SQL("INSERT INTO {s}.did (event, said) VALUES (%s, %s)").format(
            s=sql.Identifier(self.schema)
        )
        await tx.execute(query, (event.id, said))

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with self.troth.worker():
            yield

    async def wait(self, condition: Callable[[], Any], what: str) -> None:
        async def holds() -> bool:
            return bool(condition())

        await until(holds, what)

    async def wait_states(self, **wanted: str) -> None:
        await self.wait(lambda: wanted.items() <= self.states().items(), f"{wanted}")
