"""Probes for Stripe and for APIs like it: did an effect happen whose answer was lost?

They are called in the body of a probe, with the list method of the SDK's client, and look at what was created since the
effect was first sent:

    return await find_by_metadata_async(
        call, client.v1.customers.list_async, "troth_key", value=lambda customer: customer.id
    )

What they suppose:

- A list is strongly consistent: what an answered request created is in it. Stripe's lists are; its Search is not (it
  may be an hour behind), so nothing here uses it.
- The window begins *skew* before `call.first_sent`: the provider's clock may be so much behind the database's.
- `Missing` says that there was no trace when it was asked. Whether something can still arrive is not the probe's
  affair, but that of `Provider(lands_within=)`.
- An object that somebody deleted is in no list. Its event still is: for thirty days.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from troth.base.errors import TrothError
from troth.effect.model import Call, Found, Missing

R = TypeVar("R")

SKEW = timedelta(minutes=5)
EVENTS_ARE_KEPT = timedelta(days=30)

_Filter = Callable[[Any], bool]


class ProbeError(TrothError):
    """The provider was asked and answered, but that does not tell whether the effect happened once."""


# ── by metadata ─────────────────────────────────────────────────────────────────────────────────


async def find_by_metadata_async(
    call: Call,
    listing: Callable[[Any], Awaitable[Any]],
    entry: str,
    *,
    value: Callable[[Any], R],
    equals: str | None = None,
    where: Mapping[str, Any] | None = None,
    skew: timedelta = SKEW,
) -> Found[R] | Missing:
    """Look for the object whose metadata has an *entry* that *equals* something: `call.key`, unless said otherwise.

    *listing* is the SDK's, `client.v1.customers.list_async`; *where* are more of its parameters (`{"customer": …}`).
    *value* makes the effect's result of the object. Raises `ProbeError` if there are several such objects.
    """
    page = await listing(_since(call, skew, where))
    objects = page.auto_paging_iter()
    return _only(await _matching(objects, _has(entry, equals or call.key)), value)


def find_by_metadata(
    call: Call,
    listing: Callable[[Any], Any],
    entry: str,
    *,
    value: Callable[[Any], R],
    equals: str | None = None,
    where: Mapping[str, Any] | None = None,
    skew: timedelta = SKEW,
) -> Found[R] | Missing:
    """`find_by_metadata_async` for a `def` probe: *listing* is `client.v1.customers.list`."""
    objects: Iterable[Any] = listing(_since(call, skew, where)).auto_paging_iter()
    has = _has(entry, equals or call.key)
    return _only([one for one in objects if has(one)], value)


# ── by events ───────────────────────────────────────────────────────────────────────────────────


async def find_by_event_async(
    call: Call,
    listing: Callable[[Any], Awaitable[Any]],
    *types: str,
    value: Callable[[Any], R],
    entry: str | None = None,
    equals: str | None = None,
    skew: timedelta = SKEW,
) -> Found[R] | Missing:
    """Look for the event of the effect: of one of *types* (`"customer.created"`), by a request with `call.key`.

    *listing* is the SDK's, `client.v1.events.list_async`. *value* makes the effect's result of the event's object, as it
    was then. With *entry*, the event is found by its object's metadata instead of the request's idempotency key. Raises
    `ProbeError` if there are several such events, and if the effect is so old that its event may be deleted.
    """
    page = await listing(_events_since(call, skew, types))
    events = await _matching(page.auto_paging_iter(), _tells_of(call, entry, equals))
    return _only([event.data.object for event in events], value)


def find_by_event(
    call: Call,
    listing: Callable[[Any], Any],
    *types: str,
    value: Callable[[Any], R],
    entry: str | None = None,
    equals: str | None = None,
    skew: timedelta = SKEW,
) -> Found[R] | Missing:
    """`find_by_event_async` for a `def` probe: *listing* is `client.v1.events.list`."""
    events: Iterable[Any] = listing(_events_since(call, skew, types)).auto_paging_iter()
    tells = _tells_of(call, entry, equals)
    return _only([event.data.object for event in events if tells(event)], value)


# ── the parts ───────────────────────────────────────────────────────────────────────────────────


def _since(call: Call, skew: timedelta, where: Mapping[str, Any] | None) -> dict[str, Any]:
    """The parameters of a list: what was created since the effect may have been sent."""
    since = math.floor(call.first_sent - skew.total_seconds())
    return {**(where or {}), "created": {"gte": since}, "limit": 100}


def _events_since(call: Call, skew: timedelta, types: tuple[str, ...]) -> dict[str, Any]:
    oldest = call.first_sent - skew.total_seconds()
    if oldest < time.time() - EVENTS_ARE_KEPT.total_seconds():
        raise ProbeError(
            f"events are kept for {EVENTS_ARE_KEPT.days} days, and {call.key} may be older: ask a person"
        )
    return _since(call, skew, {"types": list(types)} if types else None)


def _has(entry: str, wanted: str) -> _Filter:
    def has(one: Any) -> bool:
        metadata = one["metadata"] if "metadata" in one else None  # noqa: SIM401  (has no `get`)
        return metadata is not None and entry in metadata and metadata[entry] == wanted

    return has


def _tells_of(call: Call, entry: str | None, equals: str | None) -> _Filter:
    if entry is not None:
        has = _has(entry, equals or call.key)
        return lambda event: has(event.data.object)
    return lambda event: event.request is not None and event.request.idempotency_key == call.key


async def _matching(objects: AsyncIterator[Any], matches: _Filter) -> list[Any]:
    return [one async for one in objects if matches(one)]


def _only(found: list[Any], value: Callable[[Any], R]) -> Found[R] | Missing:
    """The one object that was found. Several are no answer: somebody has to look at them."""
    objects = {one.id: one for one in found}
    if len(objects) > 1:
        raise ProbeError(
            f"{len(objects)} objects match where one was expected: {', '.join(objects)}"
        )
    return next((Found(value(one)) for one in objects.values()), Missing())
