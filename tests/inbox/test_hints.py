"""Events that only say that something happened, with a real worker."""

from __future__ import annotations

import asyncio

from tests.inbox.site import Site, stripe_event


async def test_a_hint_is_fetched_outside_of_any_transaction(site: Site) -> None:
    inbox = site.inbox()
    free_then: list[int] = []

    async def fetch(event) -> str:
        query = "SELECT count(*) FROM (SELECT FROM {s}.inbox_object WHERE object_key = %s FOR UPDATE SKIP LOCKED) o"
        free_then.append(await asyncio.to_thread(site.value, query, event.object_key))
        return f"now {event.id}"

    @inbox.hint("thing.*", fetch=fetch)
    async def handle(tx, event, current) -> None:
        await site.note(tx, event, current)

    await site.deliver(inbox, stripe_event(1), stripe_event(2))
    async with site.working():
        await site.wait_states(evt_1="applied", evt_2="applied")
    assert site.rows("SELECT event, said FROM {s}.did ORDER BY n") == [
        ("evt_1", "now evt_1"),
        ("evt_2", "now evt_2"),
    ]
    assert free_then == [1, 1]  # nobody holds the object meanwhile


async def test_a_hint_that_others_applied_meanwhile_is_dropped(site: Site) -> None:
    inbox = site.inbox()
    go, begun = asyncio.Event(), asyncio.Event()

    async def fetch(event) -> str:
        if event.id == "evt_1":
            begun.set()
            await go.wait()
        return f"for {event.id}"

    @inbox.hint("thing.*", fetch=fetch)
    async def handle(tx, event, current) -> None:
        await site.note(tx, event, current)

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await begun.wait()
        # As a process would that finds the fetch to have taken too long.
        site.rows("UPDATE {s}.inbox_event SET state = 'applied'")
        await site.deliver(inbox, stripe_event(2))
        go.set()
        await site.wait_states(evt_2="applied")
    # What was fetched for the one is not taken for the other.
    assert site.rows("SELECT event, said FROM {s}.did") == [("evt_2", "for evt_2")]


async def test_a_fetch_that_fails_is_tried_again(site: Site) -> None:
    inbox = site.inbox()
    tries: list[int] = []

    async def fetch(event) -> str:
        tries.append(event.attempt)
        if len(tries) < 3:
            raise ConnectionError("away")
        return "there"

    @inbox.hint("thing.*", fetch=fetch)
    async def handle(tx, event, current) -> None:
        await site.note(tx, event, current)

    await site.deliver(inbox, stripe_event(1))
    async with site.working():
        await site.wait_states(evt_1="applied")
    assert tries == [1, 2, 3]
