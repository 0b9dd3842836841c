"""The events of an inbox as a source: what the other side has told, if its own list was swept up to the end of the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from troth.inbox import Inbox
from troth.inbox.model import Event
from troth.reconcile.model import Item, Page, Source, SourceError, Window
from troth.reconcile.sources.effects import queries
from troth.store.parts import Connections

_PAGE: Final = 500


class Events:
    """The events of an inbox: `Events(inbox, lambda event: …)`.

    *item* makes an item of an event; None: it moves nothing. The item's time is when the event was made, so *item* uses
    `event.created`. Webhooks are lost now and then, so the feed says that it is complete only up to when the inbox has last
    read the provider's own list (`inbox.sweep`); without a sweep it never is.
    """

    def __init__(self, inbox: Inbox, item: Callable[[Event], Item | None]) -> None:
        self.name = f"events of {inbox.name}"
        self.inbox = inbox.name
        self.item = item

    def within(self, schema: str, connections: Connections) -> Source:
        """The source, for one schema."""
        return _Within(self, schema, connections)


class _Within:
    """Events, with a database to read them in."""

    def __init__(self, events: Events, schema: str, connections: Connections) -> None:
        self._events = events
        self._q = queries(schema)
        self._connections = connections

    @property
    def name(self) -> str:
        """For people."""
        return self._events.name

    async def page(self, cursor: str | None, window: Window) -> Page:
        """Some events, in the order in which they came; the end of what was swept is the end of the feed."""
        source = self._events.inbox
        params = {"source": source, "first": window.first, "last": window.last}
        some = {**params, "after": int(cursor or 0), "limit": _PAGE}
        async with self._connections.connection() as tx:
            rows = await (await tx.execute(self._q.events, some)).fetchall()
            counted = await (await tx.execute(self._q.events_count, params)).fetchone()
        assert counted is not None
        items = []
        for _, id_, type_, object_key, created, version, body, headers, received, found_by in rows:
            if body is None:
                msg = f"{self.name}: what {id_} said is forgotten: keep bodies for longer than a window goes back"
                raise SourceError(msg)
            event = Event(
                source, id_, type_, object_key, created, version, bytes(body), headers, received, found_by
            )  # fmt: skip
            made = self._events.item(event)
            if made is not None:
                items.append(made)
        until = counted[1] or window.first
        more = len(rows) == _PAGE
        return Page(items, str(rows[-1][0]) if more else None, until=until)
