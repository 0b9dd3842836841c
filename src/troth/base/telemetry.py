"""Who listens to what troth does. The events are in `events`; `troth.listen` registers a listener.

A listener is a plain callable that is given one event at a time, in the thread and in the context in which it happened.
It must be quick: whatever it does, the event loop does. What it raises is logged, and harms nothing else. Where nobody
listens, an event costs the look at one attribute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

from troth.base import events
from troth.base.events import TABLE, Event, RunStarted

log = logging.getLogger("troth.telemetry")

EventT = TypeVar("EventT", bound=Event)
Listener: TypeAlias = Callable[[Any], object]

_TELL_EVERY_S = 10.0  # of a listener that fails: it may fail thousands of times a second


class Tracer(Protocol):
    """Whoever keeps traces: it is asked before runs are started, since what it says is stored with them."""

    def starting(self, run_id: UUID, workflow: str, parent: UUID | None) -> str | None:
        """A run is about to be started (*parent*: by this run): the W3C traceparent to store with it.

        `begun` follows.
        """

    def begun(self, asked: UUID, run_id: UUID | None) -> None:
        """The start that was asked for under this id has led to this run, which may be an older one; None: to none."""

    def sending(self, run_id: UUID | None, key: str | None, topic: str) -> str | None:
        """A message is about to be sent to a run, given by id or start key: the traceparent to store with it."""


class Telemetry:
    """The listeners of one program. `on` is whether there is any: look at it before an event is made."""

    __slots__ = ("_failures", "_listeners", "_of", "on", "tracer")

    def __init__(self) -> None:
        self.on = False
        self.tracer: Tracer | None = None
        self._listeners: list[tuple[Listener, frozenset[type[Event]]]] = []
        self._of: dict[type[Event], tuple[Listener, ...]] = {}
        self._failures: dict[Listener, tuple[float, int]] = {}  # told when, and how many since

    def listen(self, listener: Listener, *kinds: type[Event]) -> None:
        """Call *listener* with each event of these *kinds*; without any, with each event."""
        self._listeners.append((listener, frozenset(kinds or TABLE.values())))
        self._arrange()

    def forget(self, listener: Listener) -> None:
        """Do not call it any more."""
        self._listeners = [each for each in self._listeners if each[0] != listener]
        self._failures.pop(listener, None)
        self._arrange()

    def _arrange(self) -> None:
        self._of = {
            kind: tuple(listener for listener, kinds in self._listeners if kind in kinds)
            for kind in TABLE.values()
        }
        self.on = bool(self._listeners)

    def emit(self, event: Event) -> None:
        """Tell everybody who wants to know."""
        for listener in self._of.get(type(event), ()):
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001  (somebody else's code)
                self._failed(listener, event, error)

    # What is stored with runs and messages ----------------------------------------------------------------------------

    def starting(self, run_id: UUID, workflow: str, parent: UUID | None = None) -> str | None:
        """The trace to start a run with; None: nobody traces."""
        if self.tracer is None:
            return None
        try:
            return self.tracer.starting(run_id, workflow, parent)
        except Exception as error:  # noqa: BLE001  (somebody else's code)
            self._trouble(error)
            return None

    def started(
        self,
        asked: UUID,
        run_id: UUID,
        workflow: str,
        key: str | None,
        via: str,
        trace: str | None,
        parent: UUID | None = None,
    ) -> None:
        """The start under the id *asked* has led to this run."""
        self._begun(asked, run_id)
        if self.on:
            fresh = asked == run_id
            self.emit(RunStarted(run_id, workflow, key, parent, via, fresh, trace))

    def not_started(self, asked: UUID) -> None:
        """It has led to none."""
        self._begun(asked, None)

    def _begun(self, asked: UUID, run_id: UUID | None) -> None:
        if self.tracer is not None:
            try:
                self.tracer.begun(asked, run_id)
            except Exception as error:  # noqa: BLE001  (somebody else's code)
                self._trouble(error)

    def sending(self, run_id: UUID | None, key: str | None, topic: str) -> str | None:
        """The trace to send a message with; None: nobody traces."""
        if self.tracer is None:
            return None
        try:
            return self.tracer.sending(run_id, key, topic)
        except Exception as error:  # noqa: BLE001  (somebody else's code)
            self._trouble(error)
            return None

    def _trouble(self, error: Exception) -> None:
        self._failed(self._trouble, None, error)

    def _failed(self, listener: Listener, event: Event | None, error: Exception) -> None:
        told_at, since = self._failures.get(listener, (-_TELL_EVERY_S, 0))
        now = time.monotonic()
        if now - told_at < _TELL_EVERY_S:
            self._failures[listener] = (told_at, since + 1)
            return
        self._failures[listener] = (now, 0)
        log.error(
            "the listener %r failed on %s (%d times more since it was last told)",
            self.tracer if event is None else listener,
            "a trace" if event is None else event.name,
            since,
            exc_info=error,
        )


SILENT = Telemetry()  # of whoever belongs to no program: nobody can listen to it by `troth.listen`

__all__ = ["SILENT", "TABLE", "Event", "Listener", "Telemetry", "Tracer", "events"]
