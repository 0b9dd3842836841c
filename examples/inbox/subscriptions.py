"""Subscriptions follow their provider's events, which come twice, out of order, or not at all."""

import asyncio
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta

from troth import Troth, Tx
from troth.inbox import Event, Inbox, Listed, Page, StripeSignatures
from troth.integrations.asgi_inbox import InboxEndpoint

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
secret = "whsec_example"
events = troth.include(Inbox("stripe", scheme=StripeSignatures([secret])))
endpoint = InboxEndpoint(
    events, troth
)  # an ASGI application: Route("/webhooks/stripe", endpoint); a Mount would redirect


class NoSuchSubscriptionError(Exception):
    pass


@events.on("subscription.created")
async def created(tx: Tx, event: Event) -> None:
    subscription = event.payload["data"]["object"]
    await tx.execute("INSERT INTO subscription VALUES (%(id)s, %(status)s)", subscription)


@events.on("subscription.updated", parks_on=(NoSuchSubscriptionError,))
async def updated(tx: Tx, event: Event) -> None:
    subscription = event.payload["data"]["object"]
    query = "UPDATE subscription SET status = %(status)s WHERE id = %(id)s"
    if not (await tx.execute(query, subscription)).rowcount:
        raise NoSuchSubscriptionError  # it came too early: parked, and tried after what comes


async def list_events(cursor: str | None) -> Page:
    """What the provider lists behind a cursor; here everything, always."""
    listed = [
        Listed(event["id"], event["type"], datetime.fromtimestamp(event["created"], UTC), body)
        for body in history
        for event in [json.loads(body)]
    ]
    return Page(listed, cursor=None)


events.sweep(every=timedelta(seconds=1), list_since=list_events)


# What a provider does -------------------------------------------------------------------------------------------------


def made(number: int, kind: str, status: str) -> bytes:
    about = {"id": "sub_1", "status": status}
    event = {
        "id": f"evt_{number}",
        "type": f"subscription.{kind}",
        "created": 1_700_000_000 + number,
    }
    return json.dumps(event | {"data": {"object": about}}).encode()


def signed(body: bytes) -> dict[str, str]:
    stamp = str(int(time.time()))
    signature = hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={stamp},v1={signature}"}


history = [
    made(1, "created", "trialing"),
    made(2, "updated", "active"),
    made(3, "updated", "past_due"),
]


async def main() -> None:
    async with troth.worker(), troth.node.pool.connection() as db:
        await db.execute("DROP TABLE IF EXISTS subscription")
        await db.execute("CREATE TABLE subscription (id text PRIMARY KEY, status text)")
        for number in (2, 2):  # early, and twice; the third is never delivered
            body = history[number - 1]
            accepted = await events.accept(db, signed(body), body)
            print(accepted.event_id, accepted.outcome, accepted.status, flush=True)
        while True:
            row = await (await db.execute("SELECT status FROM subscription")).fetchone()
            if row is not None and row[0] == "past_due":
                break
            await asyncio.sleep(0.05)
        print("the subscription is", row[0], flush=True)


if __name__ == "__main__":
    asyncio.run(main())
