"""`Inbox`: the events of one source, and what is to be done with each kind. A plain object that a program includes."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from troth.base.backoff import Retry
from troth.base.errors import UsageError
from troth.inbox import accept, rules
from troth.inbox.accept import Accepted, Headers, Intake
from troth.inbox.keep import Keeper
from troth.inbox.model import Event, Fetch, Handle, HandleHint, Handler, ListSince
from troth.inbox.process import Processing, Processor
from troth.inbox.schemes import Scheme, is_storable
from troth.inbox.sweep import Sweeper, Sweeping
from troth.store.parts import Relay
from troth.store.plan import carry_out, carry_out_blocking
from troth.store.tx import BlockingTx, Tx

HandleT = TypeVar("HandleT", bound=Handle)
HandleHintT = TypeVar("HandleHintT", bound=HandleHint)

_LEAST_MEMORY = timedelta(days=30)


class Inbox:
    """The events of one source.

    *name*: of the source, kept with its events. *scheme*: how deliveries are signed and worded. *object_key*: what an event
    is about (default: the scheme's); events with the same key are applied one after the other. *newest_wins*: an event
    whose *version* (default: when it was made, in microseconds) is less than one that was applied to the same object is
    superseded. *concurrency*: objects at once in each worker process. *retry*: how a handler that fails is tried again, before its
    event is quarantined. *parking*: how an event that came too early is tried again; after *park_limit* it is quarantined.
    *handler_timeout*: for one call of a handler or a fetch; a process that stands still for twice as long loses its
    transaction. *keep*: how long ids are remembered, at least 30 days. *keep_bodies*: how long the bodies of applied events
    are (default: as long). *max_body*: in bytes. Raises `UsageError` for what cannot be.
    """

    def __init__(
        self,
        name: str,
        *,
        scheme: Scheme,
        object_key: Callable[[Event], str] | None = None,
        newest_wins: bool = False,
        version: Callable[[Event], int] | None = None,
        concurrency: int = 4,
        retry: Retry = Retry(),  # noqa: B008  (frozen)
        parking: Retry = Retry(first=timedelta(seconds=10), longest=timedelta(hours=1)),  # noqa: B008
        park_limit: timedelta = timedelta(days=3),
        handler_timeout: timedelta = timedelta(seconds=30),
        keep: timedelta = timedelta(days=35),
        keep_bodies: timedelta | None = None,
        max_body: int = 1 << 20,
    ) -> None:
        if not is_storable(name):
            raise UsageError(f"an inbox is named by 1 to 255 characters, not {name!r}")
        if keep < _LEAST_MEMORY:
            msg = f"inbox {name}: keep is at least 30 days: providers send, and list, events for so long"
            raise UsageError(msg)
        if concurrency < 1 or max_body < 1 or handler_timeout <= timedelta(0):
            msg = f"inbox {name}: concurrency, max_body and handler_timeout are greater than 0"
            raise UsageError(msg)
        if version is not None and not newest_wins:
            raise UsageError(f"inbox {name}: version= goes with newest_wins=True")
        self._name = name
        self._schema: str | None = None
        self._handlers: dict[str, Handler] = {}
        self._retry = retry
        self._sweeping: Sweeping | None = None
        self._intake = Intake(
            name, scheme, object_key, (version or _made_at) if newest_wins else None, max_body
        )
        self._processing = Processing(
            name,
            self._handlers,
            concurrency,
            parking,
            park_limit.total_seconds(),
            handler_timeout.total_seconds(),
        )
        self._keep = keep
        self._keep_bodies = keep_bodies

    @property
    def name(self) -> str:
        """Of the source."""
        return self._name

    @property
    def max_body(self) -> int:
        """The largest body that is taken, in bytes."""
        return self._intake.max_body

    def bind(self, schema: str) -> None:
        """Work with the tables of this schema from now on."""
        self._schema = schema

    @property
    def schema(self) -> str:
        """Where its tables are. Raises `UsageError` before it is included."""
        if self._schema is None:
            msg = f"inbox {self._name} belongs to no program yet: troth.include(inbox)"
            raise UsageError(msg)
        return self._schema

    @property
    def relays(self) -> Sequence[Relay]:
        """What workers do: apply events, read the provider's list, forget what is old."""
        bodies = self._keep_bodies or self._keep
        found: list[Relay] = [
            Processor(self._processing, self.schema),
            Keeper(self._name, self.schema, self._keep.total_seconds(), bodies.total_seconds()),
        ]
        if self._sweeping is not None:
            found.append(Sweeper(self._sweeping, self._intake, self.schema))
        return found

    # Saying what is to be done --------------------------------------------------------------------------------------------

    def on(
        self,
        *types: str,
        parks_on: tuple[type[Exception], ...] = (),
        blocks: bool = True,
        retry: Retry | None = None,
    ) -> Callable[[HandleT], HandleT]:
        """Apply events of these types (`invoice.*` is a pattern) by an `async def` function of (tx, event).

        What it does in *tx* commits together with the mark that the event was applied. *parks_on*: exceptions that mean
        that the event came too early. *blocks*: later events of its object wait while it fails, and while it is quarantined.
        """

        def attach(function: HandleT) -> HandleT:
            self._add(types, Handler(function, parks_on, blocks, retry or self._retry))
            return function

        return attach

    def hint(
        self,
        *types: str,
        fetch: Fetch,
        parks_on: tuple[type[Exception], ...] = (),
        blocks: bool = True,
        retry: Retry | None = None,
    ) -> Callable[[HandleHintT], HandleHintT]:
        """As `on`, for events that only say that something happened: a function of (tx, event, current).

        *fetch* gets the event and asks the provider how its object is now, outside of any transaction. It may be called
        several times for an event; the function's work commits once.
        """

        def attach(function: HandleHintT) -> HandleHintT:
            handler = Handler(function, parks_on, blocks, retry or self._retry, fetch)
            self._add(types, handler)
            return function

        return attach

    def sweep(
        self,
        *,
        every: timedelta,
        list_since: ListSince,
        overlap: timedelta = timedelta(minutes=10),
        page_timeout: timedelta = timedelta(minutes=1),
    ) -> None:
        """Read the provider's own list of events, too, and take in what was not delivered.

        *list_since* gets a cursor (None: from the beginning) and returns the `Page` behind it, the oldest event first. The
        same events are read again for as long as *overlap*, since lists are filled late. *page_timeout*: how long a page may
        take; so long, and ten seconds, it also takes until another process follows one that was killed while it read.
        Raises `UsageError` the second time.
        """
        if self._sweeping is not None:
            raise UsageError(f"inbox {self._name} has a sweep already")
        if every <= timedelta(0) or page_timeout <= timedelta(0) or overlap < timedelta(0):
            msg = f"inbox {self._name}: every and page_timeout are greater than 0, overlap is not less"
            raise UsageError(msg)
        self._sweeping = Sweeping(
            list_since, every.total_seconds(), overlap.total_seconds(), page_timeout.total_seconds()
        )

    def _add(self, types: Sequence[str], handler: Handler) -> None:
        if not types:
            raise UsageError(f"inbox {self._name}: a handler needs the types of its events")
        for function in filter(None, (handler.function, handler.fetch)):
            if not inspect.iscoroutinefunction(function):
                msg = f"inbox {self._name}: {_name_of(function)} must be `async def`"
                raise UsageError(msg)
        for kind in types:
            if kind in self._handlers:
                raise UsageError(f"inbox {self._name}: {kind} has a handler already")
            self._handlers[kind] = handler

    def handles(self, kind: str) -> bool:
        """Whether there is a handler for events of this type."""
        return rules.handler_of(self._handlers, kind) is not None

    # Taking in ------------------------------------------------------------------------------------------------------------

    async def accept(self, tx: Tx, headers: Headers, body: bytes) -> Accepted:
        """Verify a delivery and take it in, in *tx* (a connection in autocommit mode will do).

        *headers*: all of the request. *body*: its raw bytes. When *tx* has committed, answer with `Accepted.status`. Raises a
        `RefusedDeliveryError`, whose `status` is the answer, for everything that is not a genuine event; nothing is stored.
        """
        return await carry_out(tx, accept.plan(self._intake, self.schema, headers, body))

    def accept_blocking(self, tx: BlockingTx, headers: Headers, body: bytes) -> Accepted:
        """As `accept`, from a thread."""
        return carry_out_blocking(tx, accept.plan(self._intake, self.schema, headers, body))


def _made_at(event: Event) -> int:
    return round(event.created.timestamp() * 1_000_000)


def _name_of(function: Callable[..., Awaitable[Any]]) -> str:
    return getattr(function, "__qualname__", repr(function))
