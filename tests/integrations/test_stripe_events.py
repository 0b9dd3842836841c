"""Stripe's list of events as a sweep reads it, from a real provider process, by the official SDK."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from tests.examples.provider.process import Process
from tests.inbox.site import Site
from troth.inbox import Page
from troth.integrations.stripe_events import events_since

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)

SIZE = 3


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    process = Process(
        "examples.signup.provider", tmp_path_factory.mktemp("provider") / "data.sqlite"
    )
    yield process
    assert process.stop() == 0
    process.close()


@pytest.fixture
async def client(provider: Process) -> AsyncIterator[stripe.StripeClient]:
    behind = stripe.HTTPXClient(timeout=10)
    transport = stripe.RequestsClient(timeout=10, async_fallback_client=behind)
    yield stripe.StripeClient(
        "sk_test_x",
        base_addresses={"api": provider.url},
        max_network_retries=0,
        http_client=transport,
    )
    transport.close()
    await behind.close_async()


def happen(client: stripe.StripeClient, times: int) -> list[str]:
    """So many events; the ids of their objects."""
    return [client.v1.customers.create({"email": "a@b.c"}).id for _ in range(times)]


def all_of(client: stripe.StripeClient) -> list[str]:
    """The ids of all events, the oldest first, as the SDK itself walks through them."""
    return [event.id for event in client.v1.events.list({"limit": 100}).auto_paging_iter()][::-1]


class Listing:
    """The SDK's list, which tells how it was asked; something may happen before it answers."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client
        self.asked: list[dict[str, Any]] = []
        self.happens_then: list[int] = []

    async def __call__(self, params: dict[str, Any]) -> Any:
        self.asked.append(params)
        if self.happens_then:
            happen(self._client, self.happens_then.pop(0))
        return await self._client.v1.events.list_async(params)


async def read_all(listing: Listing, cursor: str | None) -> tuple[list[str], Page]:
    """As a sweep reads on: the ids in order, and the last page."""
    found: list[str] = []
    while True:
        page = await events_since(listing, cursor, size=SIZE)
        assert len(page.events) <= SIZE
        found += [event.id for event in page.events]
        if not page.more:
            return found, page
        cursor = page.cursor


@pytest.mark.parametrize("more", [2, 3, 4])
async def test_the_first_reading_begins_with_the_oldest_and_leaves_no_gap(client, more):
    happen(client, SIZE * 2 + more)
    found, last = await read_all(Listing(client), None)
    assert found == all_of(client)
    assert last.cursor == found[-1]


async def test_it_reads_on_behind_the_cursor_without_a_gap(client):
    happen(client, 1)
    cursor = all_of(client)[-1]
    made = happen(client, SIZE * 2 + 1)
    found, _ = await read_all(Listing(client), cursor)
    everything = all_of(client)
    assert found == everything[everything.index(cursor) + 1 :]
    assert len(found) == len(made)


async def test_what_happens_between_two_pages_is_read_too(client):
    happen(client, SIZE + 1)
    cursor = all_of(client)[0]
    listing = Listing(client)
    listing.happens_then = [1, 2]
    found, _ = await read_all(listing, cursor)
    assert found == all_of(client)[1:]
    listing.happens_then = [1, 1, 1]  # while it walks to the oldest
    found, _ = await read_all(listing, None)
    assert found == all_of(client)


async def test_nothing_new_keeps_the_cursor(client):
    happen(client, 1)
    cursor = all_of(client)[-1]
    listing = Listing(client)
    assert await events_since(listing, cursor, size=SIZE) == Page([], cursor, more=False)
    assert listing.asked == [{"limit": SIZE, "ending_before": cursor}]


async def test_an_event_is_listed_as_a_webhook_would_bring_it(client):
    _, customer = happen(client, 2)
    cursor = all_of(client)[-2]
    page = await events_since(Listing(client), cursor)
    (event,) = page.events
    told = client.v1.events.retrieve(event.id)
    body = json.loads(event.body)
    assert body["data"]["object"]["id"] == customer
    assert (body["id"], body["type"], body["object"]) == (event.id, "customer.created", "event")
    assert (event.type, event.created) == (told.type, datetime.fromtimestamp(told.created, UTC))


async def test_a_cursor_that_is_not_listed_any_more_begins_anew(client):
    happen(client, 1)
    found, _ = await read_all(Listing(client), "evt_of_last_year")
    assert found == all_of(client)


async def test_other_errors_are_not_taken_for_that(client):
    with pytest.raises(stripe.InvalidRequestError):
        await events_since(Listing(client), None, size=1000)
    listing = Listing(client)
    with pytest.raises(stripe.InvalidRequestError):
        await events_since(listing, "evt_x", size=1000)
    assert len(listing.asked) == 1


async def test_an_inbox_finds_what_was_never_delivered(migrated, client):
    site = Site(*migrated)
    inbox = site.inbox()
    inbox.on("customer.*")(site.note)
    listing = Listing(client)
    inbox.sweep(
        every=timedelta(milliseconds=50),
        overlap=timedelta(0),  # to read on behind the cursor, young as the events are
        list_since=lambda cursor: events_since(listing, cursor, size=SIZE),
    )
    happen(client, SIZE * 2 + 1)
    before = all_of(client)
    async with site.working():
        await site.wait(lambda: set(site.did()) == set(before), "all are found, and applied")
        happen(client, SIZE + 1)
        everything = all_of(client)
        await site.wait(lambda: set(site.did()) == set(everything), "the new ones, too")
    assert len(site.did()) == len(everything)
    assert listing.asked[0] == {"limit": SIZE}
    assert "ending_before" in listing.asked[-1]
    assert site.value("SELECT count(*) FROM {s}.inbox_event WHERE delivered = 0") == len(everything)
    assert site.value("SELECT count(DISTINCT object_key) FROM {s}.inbox_event") == len(everything)
