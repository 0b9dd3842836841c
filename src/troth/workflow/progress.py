"""Progress on its way out: what a run says of itself travels with a flush, at most once a second for each run.

It is no part of the journal. A word carries its place in the order of deliveries, and the table keeps the highest: so a
replay, which says everything again, moves nothing back.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from troth.journal.writer import Writer
    from troth.workflow.run import ActiveRun

EVERY_S = 1.0
_MOST_SAID = 2**20  # words between two deliveries that are told apart


class Said:
    """What one run says of how far it is."""

    __slots__ = ("_after", "_count", "latest", "told_at", "waiting")

    def __init__(self) -> None:
        self.latest: tuple[int, bytes] | None = None  # not told yet
        self.told_at = -math.inf  # on this process's own clock
        self.waiting: asyncio.TimerHandle | None = None
        self._after, self._count = 0, 0

    def say(self, delivered: int, payload: bytes) -> None:
        """One more word, after this many deliveries: that tells a later word from a replayed one."""
        if delivered != self._after:
            self._after, self._count = delivered, 0
        self._count = min(self._count + 1, _MOST_SAID - 1)
        self.latest = (delivered * _MOST_SAID + self._count, payload)

    def drop(self) -> None:
        """The run leaves memory."""
        if self.waiting is not None:
            self.waiting.cancel()


class Progress:
    """Tells the words of one engine's runs."""

    def __init__(self, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        self._writer = writer
        self._loop = loop
        self._push: asyncio.TimerHandle | None = None

    def tell(self, run: ActiveRun, *, at_once: bool = False) -> None:
        """Put a run's latest word into the open batch, or do so when its last one is a second old."""
        said = run.said
        if said.latest is None or (said.waiting is not None and not at_once):
            return
        wait_s = 0.0 if at_once else said.told_at + EVERY_S - self._loop.time()
        if wait_s > 0:
            said.waiting = self._loop.call_later(wait_s, self._late, run)
        else:
            self._put(run)

    def _late(self, run: ActiveRun) -> None:
        run.said.waiting = None
        if run.said.latest is not None and not run.releasing:
            self._put(run)
            self._writer.touch()

    def _put(self, run: ActiveRun) -> None:
        said = run.said
        assert said.latest is not None
        self._writer.batch.progress[run.id] = said.latest
        said.latest, said.told_at = None, self._loop.time()
        if self._push is None:  # nothing else may be flushed for hours
            self._push = self._loop.call_later(EVERY_S, self._flush)

    def _flush(self) -> None:
        self._push = None
        if self._writer.batch.progress:
            self._writer.touch()
