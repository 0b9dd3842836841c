"""The provider's own list of events closes the gaps."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.inbox.site import Site, stripe_event
from troth import Troth
from troth.inbox import Listed, Page

EVERY = timedelta(milliseconds=30)
ONLY_BY_SWEEP = "SELECT count(*) FROM {s}.inbox_event WHERE delivered = 0"


def listed(event: dict[str, Any]) -> Listed:
    made = datetime.fromtimestamp(event["created"], UTC)
    return Listed(event["id"], event["type"], made, json.dumps(event).encode())


class Provider:
    """A list of events with pages of two; a cursor is a position. Tells what it was asked."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.asked: list[str | None] = []
        self.fails = 0

    async def list_since(self, cursor: str | None) -> Page:
        self.asked.append(cursor)
        if self.fails:
            self.fails -= 1
            raise ConnectionError("away")
        begin = int(cursor or 0)
        page = self.events[begin : begin + 2]
        end = begin + len(page)
        return Page([listed(event) for event in page], str(end), more=end < len(self.events))


async def test_what_was_not_delivered_is_found_and_counted_until_it_is_delivered(
    site: Site,
) -> None:
    provider = Provider()
    inbox = site.inbox()
    inbox.on("thing.*")(site.note)
    inbox.sweep(every=EVERY, list_since=provider.list_since)
    provider.events = [stripe_event(n) for n in range(1, 6)]
    await site.deliver(inbox, provider.events[0], provider.events[3])
    async with site.working():
        await site.wait_states(**{f"evt_{n}": "applied" for n in range(1, 6)})
        assert site.value(ONLY_BY_SWEEP) == 3
        await site.deliver(inbox, provider.events[1])
        assert site.value(ONLY_BY_SWEEP) == 2
        # The list words it otherwise than webhooks do: that is no conflict.
        told = await site.deliver(inbox, provider.events[2] | {"api_version": "2026"})
        assert (told[0].outcome, site.value(ONLY_BY_SWEEP)) == ("duplicate", 1)
        seen = len(provider.asked)
        await site.wait(lambda: len(provider.asked) > seen + 2, "it sweeps again")
    assert sorted(site.did()) == [f"evt_{n}" for n in range(1, 6)]
    assert site.value("SELECT swept_at IS NOT NULL FROM {s}.inbox_sweep")


async def test_it_reads_on_from_where_it_was_and_again_what_is_young(site: Site) -> None:
    provider = Provider()
    now = datetime.now(UTC).timestamp()
    inbox = site.inbox()
    inbox.sweep(every=EVERY, list_since=provider.list_since, overlap=timedelta(minutes=1))
    provider.events = [stripe_event(n, created=now - 1000 + n) for n in range(4)]
    async with site.working():
        await site.wait(lambda: len(provider.asked) >= 3, "it sweeps twice")
        assert provider.asked[:3] == [None, "2", "4"]  # old events are not listed again
        provider.events += [stripe_event(n, created=now) for n in range(4, 7)]
        await site.wait(lambda: "evt_6" in site.states(), "it finds what is new")
        # It was made before the cursor, and is put into the list behind it.
        provider.events.insert(4, stripe_event("late", created=now - 1))
        await site.wait(
            lambda: "evt_late" in site.states(), "it finds what came late into the list"
        )


async def test_a_list_that_cannot_be_read_is_said_and_tried_again(site: Site) -> None:
    provider = Provider()
    provider.fails = 2
    provider.events = [stripe_event(1)]
    inbox = site.inbox()
    inbox.sweep(every=EVERY, list_since=provider.list_since)
    async with site.working():
        await site.wait(lambda: "evt_1" in site.states(), "it is found in the end")
        await site.wait(
            lambda: site.rows("SELECT failures, error FROM {s}.inbox_sweep") == [(0, None)],
            "it is well again",
        )
    assert len(provider.asked) >= 3


async def test_one_process_sweeps_at_a_time(site: Site) -> None:
    busy = most = turns = 0
    ended = asyncio.Event()

    async def list_since(cursor: str | None) -> Page:
        nonlocal busy, most, turns
        busy += 1
        most = max(most, busy)
        turns += 1
        if turns == 10:
            ended.set()
        await asyncio.to_thread(site.value, "SELECT pg_sleep(0.02)::text")
        busy -= 1
        return Page([], None)

    inbox = site.inbox()
    inbox.sweep(every=timedelta(milliseconds=5), list_since=list_since)
    other = Troth(site.url, schema=site.schema)
    other.include(inbox)

    async def second() -> None:
        from troth.worker.relays import Relays

        relays = Relays(site.url, inbox.relays)
        await relays.open()
        await asyncio.wait_for(ended.wait(), 20)
        await relays.close()

    async with site.working():
        await second()
    assert most == 1


async def test_a_process_that_lost_its_turn_changes_nothing(site: Site, caplog) -> None:
    async def list_since(cursor: str | None) -> Page:
        # Meanwhile another process has begun, as it would after this one stood still for too long.
        await asyncio.to_thread(
            site.rows, "UPDATE {s}.inbox_sweep SET turn = turn + 1, due_at = 'infinity'"
        )
        return Page([listed(stripe_event(1))], "9")

    inbox = site.inbox()
    inbox.sweep(every=timedelta(milliseconds=50), list_since=list_since)

    def has_ended() -> bool:
        return "another process does it" in caplog.text or bool(site.states())

    with caplog.at_level(logging.INFO, "troth.inbox"):
        async with site.working():
            await site.wait(has_ended, "it finds its turn lost, or takes the page in")
    assert site.states() == {}
    assert site.rows("SELECT turn, trail, failures FROM {s}.inbox_sweep") == [(2, "[]", 0)]


async def test_a_listed_event_that_cannot_be_read_stops_nothing(site: Site) -> None:
    async def list_since(cursor: str | None) -> Page:
        broken = Listed("evt_0", "thing.changed", datetime.now(UTC), b"{")
        return Page([broken, listed(stripe_event(1))], "2")

    inbox = site.inbox()
    inbox.sweep(every=EVERY, list_since=list_since)
    async with site.working():
        await site.wait(lambda: site.states().keys() == {"evt_1"}, "the other one is taken in")
