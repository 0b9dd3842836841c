"""Reads Stripe's own list of events for an inbox, the oldest first, from where the last reading ended.

stripe_events.sweep(every=timedelta(minutes=5), list_since=lambda cursor: events_since(listing, cursor))

Webhooks are not the only truth: Stripe gives up delivering after three days, and lists events for thirty. Older ones
cannot be had by any means.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from troth.inbox import Listed, Page

PAGE = 100  # the most that Stripe gives at once


async def events_since(
    listing: Callable[[Any], Awaitable[Any]], cursor: str | None, *, size: int = PAGE
) -> Page:
    """The events behind *cursor*, which is the id of an event. None: from the oldest that is listed.

    An event is listed for 30 days only. If the one that the cursor names is not any more, because nothing has happened
    since or nobody has read for so long, this begins with the oldest again.

    *listing* is the SDK's, `client.v1.events.list_async`. *size*: events in a page, at most 100. Raises what *listing* raises.
    """
    found, more = await (
        _oldest(listing, size) if cursor is None else _behind(listing, cursor, size)
    )
    events = [_listed(event) for event in reversed(found)]
    return Page(events, events[-1].id if events else cursor, more)


async def _behind(
    listing: Callable[[Any], Awaitable[Any]], cursor: str, size: int
) -> tuple[list[Any], bool]:
    """The page next to the cursor, the newest first as in all lists of Stripe, and whether there are newer ones."""
    import stripe

    try:
        page = await listing({"limit": size, "ending_before": cursor})
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing" or error.param != "ending_before":
            raise
        return await _oldest(listing, size)
    return page.data, page.has_more


async def _oldest(listing: Callable[[Any], Awaitable[Any]], size: int) -> tuple[list[Any], bool]:
    """The last page of the list, and whether there are pages before it: the list is walked to its end, once."""
    page = await listing({"limit": size})
    newer = False
    while page.has_more:
        newer = True
        page = await listing({"limit": size, "starting_after": page.data[-1].id})
    return page.data, newer


def _listed(event: Any) -> Listed:
    body = msgspec.json.encode(event.to_dict())
    return Listed(event.id, event.type, datetime.fromtimestamp(event.created, UTC), body)
