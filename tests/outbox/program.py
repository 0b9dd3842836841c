"""A process that relays to one receiver, and can be killed: `python -m tests.outbox.program URL SCHEMA`."""

from __future__ import annotations

import asyncio
import sys

from troth.integrations.webhooks_out import Webhooks
from troth.outbox import Outbox
from troth.worker.relays import Relays


async def work(url: str, schema: str) -> None:
    events = Outbox("events", destinations=[Webhooks(allow_http=True, schedule=(0.0, 0.05, 0.05))])
    events.bind(schema)
    relays = Relays(url, list(events.relays))
    await relays.open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
