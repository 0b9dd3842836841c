"""Progress on its way out: what a run says of itself travels with a flush, at most once a second for each run.

It is no part of the journal. A word carries its place in the order of deliveries, and the table keeps the highest: so a
replay, which says everything again, moves nothing back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from troth.journal.writer import Writer
    from troth.workflow.run import ActiveRun

EVERY_S = 1.0


class Progress:
    """Tells the words of one engine's runs."""

    def __init__(self, writer: Writer, loop: asyncio.AbstractEventLoop) -> None:
        self._writer = writer
        self._loop = loop
        self._push: asyncio.TimerHandle | None = None

    def tell(self, run: ActiveRun, *, at_once: bool = False) -> None:
        """Put a run's latest word into the open batch, or do so when its last one is a second old."""
        if run.said is None or (run.telling is not None and not at_once):
            return
        wait_s = 0.0 if at_once else run.told_at + EVERY_S - self._loop.time()
        if wait_s > 0:
            run.telling = self._loop.call_later(wait_s, self._late, run)
        else:
            self._put(run)

    def _late(self, run: ActiveRun) -> None:
        run.telling = None
        if run.said is not None and not run.releasing:
            self._put(run)
            self._writer.touch()

    def _put(self, run: ActiveRun) -> None:
        assert run.said is not None
        self._writer.batch.progress[run.id] = run.said
        run.said, run.told_at = None, self._loop.time()
        if self._push is None:  # nothing else may be flushed for hours
            self._push = self._loop.call_later(EVERY_S, self._flush)

    def _flush(self) -> None:
        self._push = None
        if self._writer.batch.progress:
            self._writer.touch()
