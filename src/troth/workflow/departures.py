"""How runs leave this process: an end or a release is written, and what the journal answers decides whether it was one."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from uuid import UUID

from troth.base import codec, ids
from troth.base.errors import PayloadError
from troth.journal.model import (
    CANCEL_TOPIC,
    ORIGIN_PATH,
    Batch,
    Continuation,
    End,
    EndedRun,
    Entry,
    Kind,
    Place,
    Reason,
    Release,
    Reply,
    RunState,
    Start,
)
from troth.workflow.calls import CallState
from troth.workflow.definition import Workflow
from troth.workflow.endings import ending_of, raised_by
from troth.workflow.failures import describe
from troth.workflow.family import ContinuedError
from troth.workflow.mail import listens_to
from troth.workflow.run import ActiveRun
from troth.workflow.stops import Parked

if TYPE_CHECKING:
    from troth.workflow.engine import Engine

log = logging.getLogger("troth.workflow")

BUSY_AGAIN_S = 0.05  # somebody's transaction holds the run: ask again


class Departures:
    """The ends and releases of one engine's runs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._successors: dict[
            UUID, tuple[Start, Workflow[Any, Any]]
        ] = {}  # of runs that end, and go on as others
        self._origins: dict[UUID, Entry] = {}  # of those others, until they are taken up

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
        try:
            ending = ending_of(run)
        except PayloadError as unstorable:
            run.parked = Parked(Reason.POISON, {"at": "the result", "message": str(unstorable)})
            self.park(run)
            return
        if ending is None:
            bug = raised_by(run)
            assert bug is not None
            run.parked = Parked(Reason.BUG, {"at": "the workflow", **describe(bug)})
            self.park(run)
            return
        if ending.continued is not None:
            self._continue(run, ending.continued)
        run.releasing = True
        self._engine.record_patches(run)
        self._end(End(run.id, ending.state, ending.outcome, CANCEL_TOPIC in run.heard, owes(run)))

    def _end(self, end: End) -> None:
        batch = self._engine.writer.touch()
        batch.ends.append(end)
        if end.run_id in self._successors:
            start, _ = self._successors[end.run_id]
            batch.continuations.append(
                Continuation(
                    end.run_id, start.id, start.input, start.starts_at, start.claim, start.deadline
                )
            )

    def _continue(self, run: ActiveRun, continued: ContinuedError) -> None:
        """It goes on as another run, in the commit of its end."""
        queue, workflow = run.workflow.queue, run.workflow
        start = Start(
            id=ids.new_id(ids.cell_of(run.id)),
            workflow=workflow.name,
            key=run.key,
            input=continued.encoded,
            digest=b"",  # that of the first one stays with the key
            starts_at=self._engine.now(),
            claim=self._engine.host.reserve(workflow),
            place=Place(queue.name, run.partition or "", run.priority or 0) if queue else None,
            parent=run.parent,
            deadline=run.deadline,
            trace=run.trace,
        )
        self._successors[run.id] = start, workflow
        if owes(run):  # it has succeeded; but if the chain has a parent, that may fail
            said = codec.encode({"run": run.id})
            origin = Entry(
                start.id, ORIGIN_PATH, Kind.ORIGIN, 0, None, None, None, said, self._engine.now()
            )
            self._origins[start.id] = origin
            self._engine.writer.touch().entries.append(origin)

    def origin_of(self, run_id: UUID) -> list[Entry]:
        """What is recorded already of a run that goes on from another one, as this process takes it up."""
        origin = self._origins.pop(run_id, None)
        return [] if origin is None else [origin]

    def _succeed(self, run_id: UUID, *, fresh: bool) -> UUID | None:
        """The run has ended, or (not *fresh*) has not: so its successor has begun, or has not."""
        if run_id not in self._successors:
            return None
        start, workflow = self._successors.pop(run_id)
        if fresh:
            self._engine.tell.telemetry.started(
                start.id, start.id, start.workflow, start.key, "continuation", start.trace, run_id
            )
        self._engine.host.started(start, workflow, fresh=fresh)
        self._origins.pop(start.id, None)
        return start.id

    def forget(self) -> None:
        """Nothing that is pending counts any more."""
        for run_id in list(self._successors):
            self._succeed(run_id, fresh=False)

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
        self._engine.progress.tell(run, at_once=True)
        self._engine.record_patches(run)
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
            return listens_to(run)
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
                self._succeed(run.id, fresh=False)
                self._engine.look([run.id])
            elif end.run_id in reply.busy_runs:
                self._loop.call_later(BUSY_AGAIN_S, self._again, self._engine.writer.worker, end)
            else:
                run.dispose()
                del self._engine.runs[end.run_id]
                successor = self._succeed(run.id, fresh=True)
                self._engine.children.left(run)
                ended.append(
                    EndedRun(run.id, run.workflow.name, RunState(end.state), end.outcome, successor)
                )
                self._engine.tell.ended(run, ended[-1], self._engine.clock.now())
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
                self._engine.children.left(run)
                self._engine.tell.released(run, release)
                self._engine.host.released(release.wake_at)

    def _again(self, worker: int, item: End | Release) -> None:
        if self._engine.writer.worker != worker or item.run_id not in self._engine.runs:
            return
        if isinstance(item, End):
            self._end(item)
        else:
            self._engine.writer.touch().releases.append(item)


def owes(run: ActiveRun) -> bool:
    """Has it done what a run that fails would have to undo, or has one that went on as it?"""
    done = any(scope.confirmed or scope.unknown for scope in run.root.family())
    return done or bool(run.past.entries(ORIGIN_PATH, Kind.ORIGIN))
