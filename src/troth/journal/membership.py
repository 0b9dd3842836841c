"""A process's place among the workers: its heartbeat, and what the heartbeat brings home.

The heart is a thread with a connection of its own, so that it goes on while the event loop is busy, and can tell when
the loop is stuck: it then names the frame that blocks it, and after *block_limit* it stops beating, so that peers take
the runs over. An idle system sends nothing but these heartbeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID

from troth.base import events
from troth.base.clock import Clock
from troth.base.telemetry import SILENT, Telemetry
from troth.journal import store
from troth.journal.rules import PeerWatch
from troth.store.connect import BlockingConnection, connect_blocking
from troth.store.errors import StoreError
from troth.store.failure import DatabaseError, Failure, failure_of

log = logging.getLogger("troth.journal")

BLOCK_WARNING_S = 1.0
_LATE_INTERVALS = 2.0  # a beat that comes after so many intervals is late


class Beat(NamedTuple):
    """What one heartbeat brought home."""

    dead: list[tuple[int, int]]  # peers to take over: (id, the beat they stopped at)
    gone: list[int]  # dead workers whose runs are not all released yet
    due: float | None  # when the next run may be claimed, database time
    mail: list[UUID]  # own runs that have unread messages
    queues: list[str]  # in which somebody stands in line


class Heart(threading.Thread):
    """Beats until it is stopped, or this worker is declared dead, or history is lost. Callbacks run in the event loop.

    *acknowledged()* is the number of the last flush that was; it is called in this thread.
    """

    def __init__(
        self,
        url: str,
        schema: str,
        *,
        worker: int,
        interval_s: float,
        block_limit_s: float,
        acknowledged: Callable[[], int],
        clock: Clock,
        on_beat: Callable[[Beat], None],
        on_fenced: Callable[[BaseException], None],
        telemetry: Telemetry = SILENT,
    ) -> None:
        super().__init__(name=f"troth heart of worker {worker}", daemon=True)
        self._url = url
        self._q = store.queries(schema)
        self._worker = worker
        self._interval_s = interval_s
        self._block_limit_s = block_limit_s
        self._acknowledged = acknowledged
        self._clock = clock
        self._on_beat = on_beat
        self._on_fenced = on_fenced
        self._telemetry = telemetry
        self._beaten_at = time.monotonic()  # the last beat that was answered
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._peers = PeerWatch(interval_s)
        self._stopped = threading.Event()
        self._asked_at: float | None = None  # when we last posted one that it has not taken yet
        self._blocked_named = False
        self.beats = 0

    def stop(self) -> None:
        """Beat no more. Returns at once; the thread ends with the beat under way."""
        self._stopped.set()

    def run(self) -> None:
        """The thread's body."""
        connection: BlockingConnection | None = None
        while not self._stopped.wait(self._interval_s):
            if self._loop_is_stuck():
                continue
            try:
                if connection is None or connection.closed:
                    connection = connect_blocking(self._url)
                beat = self._beat(connection)
            except (DatabaseError, StoreError, OSError) as error:
                if failure_of(error) in (Failure.FENCED, Failure.HISTORY_LOST):
                    self._post(self._took_end, error)
                    break
                log.warning("worker %d: no heartbeat: %s", self._worker, error)
                self._tell_late(time.monotonic(), error)
                if connection is not None:
                    with contextlib.suppress(DatabaseError, OSError):
                        connection.close()
                connection = None
            else:
                self._post(self._took_beat, beat)
        if connection is not None:
            with contextlib.suppress(DatabaseError, OSError):
                connection.close()

    def _beat(self, connection: BlockingConnection) -> Beat:
        asked_at = time.monotonic()
        answer: dict[str, Any] = store.beat(connection, self._q, self._worker, self._acknowledged())
        answered_at = time.monotonic()
        self.beats += 1
        if answered_at - self._beaten_at > _LATE_INTERVALS * self._interval_s:
            self._tell_late(answered_at, None)
        self._beaten_at = answered_at
        self._clock.observe(answer["now"], asked_at=asked_at, answered_at=answered_at)
        peers = [(int(i), int(b), float(lease)) for i, b, lease in answer.get("peers", ())]
        return Beat(
            dead=self._peers.observe(answered_at, peers),
            gone=list(answer.get("gone", ())),
            due=answer.get("due"),
            mail=[UUID(run) for run in answer.get("mail", ())],
            queues=list(answer.get("queues", ())),
        )

    def _tell_late(self, now: float, error: Exception | None) -> None:
        if self._telemetry.on:
            why = None if error is None else f"{type(error).__name__}: {error}"
            late = events.WorkerBeatLate(self._worker, now - self._beaten_at, why)
            self._telemetry.emit(late)

    def _post(self, callback: Callable[[Any], None], argument: object) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(callback, argument)

    def _took_end(self, error: BaseException) -> None:
        # The writer may have learnt it first: this worker may have begun anew, under another heart.
        if not self._stopped.is_set():
            self._on_fenced(error)

    def _took_beat(self, beat: Beat) -> None:
        self._asked_at = None
        if not self._stopped.is_set():
            self._on_beat(beat)

    def _loop_is_stuck(self) -> bool:
        """Name what blocks the event loop; True once it has done so for too long to be believed alive."""
        asked_at = self._asked_at
        blocked_s = 0.0 if asked_at is None else time.monotonic() - asked_at
        if blocked_s < BLOCK_WARNING_S:
            self._blocked_named = False
            return False
        if not self._blocked_named:
            self._blocked_named = True
            frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001  (documented for this use)
            where = "".join(traceback.format_stack(frame, limit=6)) if frame else "(unknown)"
            log.warning(
                "the event loop has been blocked for %.1f s: nothing of this worker proceeds. It is in\n%s",
                blocked_s,
                where,
            )
            if self._telemetry.on:
                self._telemetry.emit(events.WorkerBlocked(self._worker, blocked_s, where))
        if blocked_s > self._block_limit_s:
            log.error(
                "the event loop has been blocked for %.1f s: worker %d stops its heartbeat and peers will take over",
                blocked_s,
                self._worker,
            )
            return True
        return False
