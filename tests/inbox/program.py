"""The program of the test with real processes: things whose state follows the events of their provider.

    python -m tests.inbox.program    works until it is killed; its settings are JSON in an environment variable

What it applies, it writes down twice: as the state of the thing, and as a row per application, which nothing in troth
keeps from being there twice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.inbox.site import QUICK, SECRET
from troth import Troth, Tx
from troth.inbox import Event, Inbox, Listed, Page, StripeSignatures

SETTINGS = "TROTH_TEST_INBOX"
TABLES = """
    CREATE TABLE {s}.thing (id text PRIMARY KEY, number integer NOT NULL);
    CREATE TABLE {s}.application (event text NOT NULL, thing text NOT NULL, number integer NOT NULL, pid integer NOT NULL);
"""


class EarlyError(Exception):
    """What the event follows on has not been applied yet."""


def build(settings: dict[str, Any]) -> tuple[Troth, Inbox]:
    troth = Troth(settings["url"], schema=settings["schema"])
    schema = settings["schema"]
    inbox = Inbox(
        "stripe",
        scheme=StripeSignatures([SECRET]),
        parking=QUICK,
        retry=QUICK,
        park_limit=timedelta(hours=1),
    )
    troth.include(inbox)

    @inbox.on("thing.changed", parks_on=(EarlyError,))
    async def changed(tx: Tx, event: Event) -> None:
        thing = event.payload["data"]["object"]
        await tx.execute(
            f"INSERT INTO {schema}.application VALUES (%s, %s, %s, %s)",
            (event.id, thing["id"], thing["number"], os.getpid()),
        )
        moved = (
            await tx.execute(
                f"INSERT INTO {schema}.thing AS t VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET number = excluded.number"
                " WHERE t.number = excluded.number - 1",
                (thing["id"], thing["number"]),
            )
            if thing["number"] == 1
            else await tx.execute(
                f"UPDATE {schema}.thing SET number = %s WHERE id = %s AND number = %s - 1",
                (thing["number"], thing["id"], thing["number"]),
            )
        )
        if moved.rowcount != 1:
            raise EarlyError

    provider = Path(settings["provider"])

    async def list_since(cursor: str | None) -> Page:
        events = listed_in(provider)
        begin = int(cursor or 0)
        page = [
            Listed(
                e["id"],
                e["type"],
                datetime.fromtimestamp(e["created"], UTC),
                json.dumps(e).encode(),
            )
            for e in events[begin : begin + 100]
        ]
        end = begin + len(page)
        return Page(page, str(end), more=end < len(events))

    # A sweeper that is killed in its turn keeps it for the time of a page and ten seconds.
    inbox.sweep(
        every=timedelta(milliseconds=300), list_since=list_since, page_timeout=timedelta(seconds=2)
    )
    return troth, inbox


def listed_in(file: Path) -> list[dict[str, Any]]:
    return json.loads(file.read_text()) if file.exists() else []


async def work(settings: dict[str, Any]) -> None:
    troth, _ = build(settings)
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with troth.worker():
        await stopping.wait()


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    asyncio.run(work(json.loads(os.environ[SETTINGS])))
