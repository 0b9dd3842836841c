"""How runs leave this process: an end or a release is written, and what the journal answers decides whether it was one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from troth.base import codec
from troth.base.errors import PayloadError
from troth.journal.model import (
    CANCEL_TOPIC,
    Batch,
    End,
    EndedRun,
    Reason,
    Release,
    Reply,
    RunState,
)
from troth.workflow.calls import CallState
from troth.workflow.failures import describe, encode_answer, is_answer
from troth.workflow.run import ActiveRun, Parked

if TYPE_CHECKING:
    from troth.workflow.engine import Engine

log = logging.getLogger("troth.workflow")

BUSY_AGAIN_S = 0.05  # somebody's transaction holds the run: ask again


class Departures:
    """The ends and releases of one engine's runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()

    def heard(self, batch: Batch, reply: Reply) -> None:
        """A batch is durable."""
        if batch.ends:
            self._after_ends(batch, reply)
        if batch.releases:
            self._after_releases(batch, reply)

    def end(self, run: ActiveRun) -> None:
        """The workflow has come to its end: write what came of it, or that a person is needed."""
        assert run.main is not None
        if run.undo is not None and (trouble := run.undo.exception()) is not None:
            self._engine.park(run, Reason.UNDO_FAILED, {"at": "the undoing", **describe(trouble)})
            self.park(run)
            return
        state, outcome = RunState.SUCCEEDED, None
        error = asyncio.CancelledError() if run.main.cancelled() else run.main.exception()
        try:
            if run.cancelled:
                state = RunState.CANCELLED
            elif error is None:
                outcome = run.workflow.result.encode(run.main.result())
            elif is_answer(error, run.workflow.fails_on):
                state, outcome = RunState.FAILED, encode_answer(error, run.workflow.fails_on)
            else:
                run.parked = Parked(Reason.BUG, {"at": "the workflow", **describe(error)})
        except PayloadError as unstorable:
            run.parked = Parked(Reason.POISON, {"at": "the result", "message": str(unstorable)})
        if run.parked is not None:
            self.park(run)
            return
        run.releasing = True
        self._engine.writer.touch().ends.append(End(run.id, state, outcome, final=run.heard_cancel))

    def park(self, run: ActiveRun) -> None:
        """Let go of a run that needs a person, once nothing of it is under way."""
        if run.parked is None or run.releasing:
            return
        if any(call.state is CallState.BUSY for call in run.calls.values()):
            return  # let it finish, and record what it finds
        log.warning(
            "run %s (%s) needs attention: %s: %s",
            run.id, run.workflow.name, run.parked.reason, run.parked.detail.get("message"),
        )  # fmt: skip
        self.release(run, RunState.ATTENTION, None)

    def release(self, run: ActiveRun, state: RunState, wake_at: float | None) -> None:
        """Let go of a run, which waits then in this state until *wake_at* (database time) or a message."""
        run.releasing = True
        parked = run.parked
        self._engine.writer.touch().releases.append(
            Release(
                run.id,
                state,
                wake_at,
                parked.reason.value if parked else None,
                codec.encode(parked.detail) if parked else None,
                self._topics(run, state),
            )
        )

    @staticmethod
    def _topics(run: ActiveRun, state: RunState) -> str | None:
        """Which mail would make letting go wrong."""
        if state in {RunState.WAITING, RunState.UNDOING}:
            return run.listens_to()
        return CANCEL_TOPIC if state is RunState.ATTENTION else None

    def _after_ends(self, batch: Batch, reply: Reply) -> None:
        ended: list[EndedRun] = []
        for end in batch.ends:
            run = self._engine.runs.get(end.run_id)
            if run is None:
                continue
            if end.run_id in reply.cancelled:
                # It was asked to stop before it could say that it was done: it hears that first.
                run.releasing = False
                self._engine.look([run.id])
            elif end.run_id in reply.busy_runs:
                self._loop.call_later(BUSY_AGAIN_S, self._again, self._engine.writer.worker, end)
            else:
                run.dispose()
                del self._engine.runs[end.run_id]
                ended.append(EndedRun(run.id, run.workflow.name, RunState(end.state), end.outcome))
        if ended:
            self._engine.host.ended(ended)

    def _after_releases(self, batch: Batch, reply: Reply) -> None:
        for release in batch.releases:
            run = self._engine.runs.get(release.run_id)
            if run is None:
                continue
            if release.run_id in reply.kept:
                run.releasing = False
                if run.parked is None:
                    self._engine.schedule(run)
                else:  # a cancellation came before the trouble was told: it is heard by who claims the run next
                    run.parked = None
                    self.release(run, RunState.READY, self._engine.clock.now())
            elif release.run_id in reply.busy_runs:
                self._loop.call_later(
                    BUSY_AGAIN_S, self._again, self._engine.writer.worker, release
                )
            else:
                del self._engine.runs[release.run_id]
                run.dispose()
                self._engine.host.released(release.wake_at)

    def _again(self, worker: int, item: End | Release) -> None:
        if self._engine.writer.worker != worker or item.run_id not in self._engine.runs:
            return
        batch = self._engine.writer.touch()
        if isinstance(item, End):
            batch.ends.append(item)
        else:
            batch.releases.append(item)
