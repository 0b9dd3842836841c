"""The engine: moves the runs of one process forward, and says what became of them.

It is driven from three sides: runs that have something new (`_turn`), the journal writer (`flushed`, `poisoned`), and
whoever claims runs for it (`activate`). It decides nothing about processes, leases or timers of claims: that is the
worker's. It runs no user code itself: bodies of steps are performed by `Performer`.

A result is delivered to the workflow at once, before it is durable. That is safe, since workflow code has no effects:
it only leads to the next calls, and those begin when the flush that carries the result has returned. So the intent of
the next effect, or the end of the run, travels in the same commit as the result before it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from uuid import UUID

from troth.base.clock import Clock
from troth.base.errors import PayloadError
from troth.base.settings import DEFAULTS
from troth.base.telemetry import SILENT, Telemetry
from troth.journal.model import (
    DEADLINE_PATH,
    Batch,
    ClaimedRun,
    EndedRun,
    Entry,
    Kind,
    Reason,
    Reply,
    RunState,
    Start,
)
from troth.journal.writer import Writer
from troth.workflow.calls import CallState, PendingCall, SettledCall
from troth.workflow.children import Children
from troth.workflow.definition import Workflow, commits_alone
from troth.workflow.departures import BUSY_AGAIN_S, Departures
from troth.workflow.failures import describe
from troth.workflow.mail import Mail, unread
from troth.workflow.minutes import STEP
from troth.workflow.progress import Progress
from troth.workflow.run import ActiveRun
from troth.workflow.saga import standing
from troth.workflow.stops import Parked, Stop
from troth.workflow.telling import Telling

log = logging.getLogger("troth.workflow")

_SHORTER = (
    "a replay reads all of it, so go on as a new run now and then (troth.continue_as), or give parts of the work to "
    "child runs"
)

HOLD_S = 1.0  # a run that waits for less than this stays in memory
JOURNAL_WARNING = DEFAULTS.journal_warning
JOURNAL_LIMIT = DEFAULTS.journal_limit


class Performer(Protocol):
    """Does what calls ask for."""

    def perform(self, run: ActiveRun, call: PendingCall) -> None:
        """Begin; the answer comes by `Engine.answer`, `Engine.wait` or `Engine.park`."""

    def hurry(self, run: ActiveRun) -> None:
        """A cancellation waits for the outcome of calls that are the point of no return: do not wait to know it."""

    def settled(self, run: ActiveRun, marker: SettledCall) -> None:
        """Everything that was sent in a scope has an outcome: its undoing may begin."""


class Host(Protocol):
    """Whom the engine tells about things that are not its business."""

    def ended(self, runs: list[EndedRun]) -> None:
        """These runs have ended, durably."""

    def released(self, wake_at: float | None) -> None:
        """A run was let go of; it may be claimed again at that time (None: when it is woken)."""

    def reserve(self, workflow: Workflow[Any, Any]) -> bool:
        """Keep room for a run that is about to be started; False if others must claim it."""

    def started(self, start: Start, workflow: Workflow[Any, Any], *, fresh: bool) -> None:
        """A run of ours was started, durably; or (not *fresh*) it was not, after all."""

    async def require_same(self, start: Start, run_id: UUID) -> None:
        """Raise `KeyConflictError` if the run that has the key of this start was another request."""


class Engine:
    """The runs that this process has in memory. Everything happens in one event loop."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        host: Host,
        *,
        journal_warning: int = JOURNAL_WARNING,
        journal_limit: int = JOURNAL_LIMIT,
        telemetry: Telemetry = SILENT,
    ) -> None:
        """*journal_warning*, *journal_limit*: after so many entries a run is warned of, and parked."""
        self._journal_warning, self._journal_limit = journal_warning, journal_limit
        self.writer = writer
        self.clock = clock
        self.host = host
        self._loop = asyncio.get_running_loop()
        self.performer: Performer | None = None
        self.tell = Telling(telemetry, writer)
        self.mail = Mail(self)
        self.children = Children(self)
        self.departures = Departures(self)
        self.progress = Progress(writer, self._loop)
        self.runs: dict[UUID, ActiveRun] = {}
        self.draining = False
        self._dirty: deque[ActiveRun] = deque()
        self._turning = False

    # Runs come --------------------------------------------------------------------------------------------------------

    def activate(self, claimed: ClaimedRun, workflow: Workflow[Any, Any]) -> None:
        """Take up a run that this process owns."""
        run = ActiveRun(claimed, workflow, self.schedule)
        self.runs[run.id] = run
        self.tell.claimed(run, claimed, self.clock.now())
        try:
            run.begin()
        except PayloadError as error:
            self.park(run, Reason.POISON, {"at": "the input", "message": str(error)})
        self.mail.hear(run, claimed.mail)
        if run.expires_at is not None and DEADLINE_PATH not in run.heard:
            wait_s = max(0.0, run.expires_at - self.clock.now())
            run.timer = self._loop.call_later(wait_s, self._expire, run)
        self.schedule(run)

    def activate_started(self, start: Start, workflow: Workflow[Any, Any]) -> None:
        """Take up a run that this process has just started for itself."""
        _, partition, priority = start.place or (None, None, None)
        claimed = ClaimedRun(
            start.id, start.workflow, start.key, start.input, 1, start.starts_at, [], [],
            start.parent, start.deadline, partition, priority, start.trace,
        )  # fmt: skip
        self.activate(claimed, workflow)

    def _expire(self, run: ActiveRun) -> None:
        """The time that a run may take has passed."""
        if run.disposed or DEADLINE_PATH in run.heard:
            return
        if run.releasing:  # it may turn out to be kept
            run.timer = self._loop.call_later(BUSY_AGAIN_S, self._expire, run)
            return
        at = self.now()
        seq = run.stop(Stop(at, DEADLINE_PATH))
        self.record(run, Entry(run.id, DEADLINE_PATH, Kind.RESULT, 0, seq, True, None, b"null", at))

    def forget_all(self) -> None:
        """This worker was declared dead: nothing in memory counts any more."""
        runs = list(self.runs.values())
        self.runs.clear()  # the same dict: others ask it whether a run is here
        self._dirty.clear()
        self.children.forget()
        self.departures.forget()
        for run in runs:
            run.dispose()

    def drain(self) -> None:
        """Begin nothing new; hand every run over as soon as its running steps have ended."""
        self.draining = True
        for run in self.runs.values():
            self.schedule(run)

    @property
    def moving(self) -> bool:
        """Is there a run that has something new, and that has not moved yet?"""
        return bool(self._dirty)

    # Runs move --------------------------------------------------------------------------------------------------------

    def schedule(self, run: ActiveRun) -> None:
        """Something about this run is new. Must be called in the event loop."""
        if not run.dirty:
            run.dirty = True
            self._dirty.append(run)
            if not self._turning:
                self._turning = True
                self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        # Called by the loop itself, not in a task, so that a run's loop may be entered.
        while self._dirty:
            run = self._dirty.popleft()
            run.dirty = False
            if run.releasing or run.id not in self.runs:
                continue
            try:
                self._advance(run)
            except Exception as error:
                log.exception("run %s: a defect of troth", run.id)
                self.park(run, Reason.BUG, describe(error))
                self.departures.park(run)
        self._turning = False

    def _advance(self, run: ActiveRun) -> None:
        calls: list[PendingCall] = []
        if run.parked is None:
            try:
                calls = run.advance()
            except Parked as parked:
                run.parked = parked
            if run.said.latest is not None:
                self.progress.tell(run)
        if run.parked is not None:
            self.departures.park(run)
        elif run.finished:
            self.departures.end(run)
        elif self.draining:
            run.new.extend(calls)
            if run.quiet:
                self.departures.release(run, RunState.READY, self.clock.now())
        else:
            if run.undo is not None and not run.shown_undoing:
                run.shown_undoing = True
                self.tell.undoing(run)
                self.writer.touch().undoing.append(run.id)
            self._perform(run, calls)

    def _perform(self, run: ActiveRun, calls: list[PendingCall]) -> None:
        assert self.performer is not None
        if run.recorded >= self._journal_warning and calls and self._is_full(run, calls):
            return
        if run.patches.unwritten and any(map(commits_alone, calls)):
            self.record_patches(run)
        for call in calls:
            call.state = CallState.BUSY
            self.performer.perform(run, call)
        if run.held:
            self.performer.hurry(run)
        for marker in list(run.settling):
            if not run.unsettled(marker):
                run.settling.remove(marker)
                self.performer.settled(run, marker)
        self.mail.pass_on(run)
        if run.stopping:
            self.children.stop(run)
        if run.resting and run.main is not None:
            self._rest(run)
        if not run.releasing and unread(run):
            self.look([run.id])

    def _is_full(self, run: ActiveRun, calls: list[PendingCall]) -> bool:
        """The journal of this run is long. Parks it when it is too long; but what was begun is brought to its end."""
        if not run.warned:
            run.warned = True
            log.warning(
                "run %s (%s) has recorded %d entries, and is parked at %d: %s",
                run.id, run.workflow.name, run.recorded, self._journal_limit, _SHORTER,
            )  # fmt: skip
        if run.recorded < self._journal_limit or run.undo is not None or run.stopped:
            return False
        run.new.extend(calls)
        said = f"its journal has {run.recorded} entries, and journal_limit is {self._journal_limit}: {_SHORTER}"
        self.park(run, Reason.JOURNAL_LIMIT, {"at": calls[0].path, "message": said})
        return True

    def _rest(self, run: ActiveRun) -> None:
        """Nothing but time or messages moves this run: keep it for a moment, or let go of its memory."""
        if any(call.pinned or self.children.keeps(call) for call in run.calls.values()):
            return
        if run.stuck:
            message = "workflow code waits for something that no step, sleep or message will bring"
            self.park(run, Reason.BUG, {"at": "the workflow", "message": message})
            return
        dues = [call.due for call in run.calls.values() if call.due is not None]
        if run.expires_at is not None and DEADLINE_PATH not in run.heard:
            dues.append(run.expires_at)
        due = min(dues, default=None)
        if due is not None and due - self.clock.now() < HOLD_S:
            return
        self.departures.release(
            run, RunState.WAITING if run.undo is None else RunState.UNDOING, due
        )

    def when_durable(self, run: ActiveRun, act: Callable[[], None]) -> None:
        """Do this when everything that the journal was told about this run is durable."""
        batch = run.last_batch
        if batch is None or batch.done:
            act()
        else:
            batch.after.append(act)

    # What performers report -------------------------------------------------------------------------------------------

    def note(
        self, run: ActiveRun, call: PendingCall, kind: Kind, attempt: int, payload: bytes | None
    ) -> None:
        """Record something about a call that is not its answer."""
        if run.disposed:
            return
        entry = Entry(
            run.id, call.path, kind, attempt, None, None, call.digest, payload, self.now()
        )
        self.record(run, entry)
        run.past.add(entry)

    def note_late(
        self, run: ActiveRun, call: PendingCall, kind: Kind, attempt: int, payload: bytes
    ) -> None:
        """Record something that is true whoever owns the run now."""
        if run.disposed:
            entry = Entry(
                run.id, call.path, kind, attempt, None, None, call.digest, payload, self.now()
            )
            self.writer.touch().entries.append(entry)
        else:
            self.note(run, call, kind, attempt, payload)

    def interrupt(self, run: ActiveRun, call: PendingCall) -> bool:
        """End a wait early; False if the call does not wait, or is about to wait elsewhere."""
        if call.state is not CallState.WAITING or run.releasing:
            return False
        if call.timer is not None:
            call.timer.cancel()
        call.state = CallState.BUSY
        call.pinned = False
        return True

    def answer(
        self,
        run: ActiveRun,
        call: PendingCall,
        payload: bytes,
        value: Any,
        error: BaseException | None = None,
        *,
        ok: bool | None = True,
    ) -> None:
        """Record the answer to a call, and deliver it. *ok*: False is a refusal or a time-out; None, see `Mail.pass_on`."""
        if run.disposed:  # it belongs to another worker, or to another life of this one
            return
        self.tell.minutes.add(run.workflow.name, STEP)
        seq, at = run.take_seq(), self.now()
        number = run.past.answered_before(call.path)
        self.record(
            run, Entry(run.id, call.path, Kind.RESULT, number, seq, ok, call.digest, payload, at)
        )
        run.settle(seq, call, value, error, at)

    def wait(
        self,
        run: ActiveRun,
        call: PendingCall,
        due: float | None,
        resume: Callable[[], None],
        *,
        pinned: bool = False,
    ) -> None:
        """The call waits until *due* (None: for a message only), then *resume* goes on with it."""
        call.state = CallState.WAITING
        call.due, call.resume, call.pinned = due, resume, pinned
        if due is not None:

            def wake() -> None:
                if run.releasing:  # it may turn out to be kept
                    call.timer = self._loop.call_later(BUSY_AGAIN_S, wake)
                    return
                call.state = CallState.BUSY
                call.pinned = False
                resume()

            call.timer = self._loop.call_later(max(0.0, due - self.clock.now()), wake)
        self.schedule(run)

    def park(self, run: ActiveRun, reason: Reason, detail: dict[str, Any]) -> None:
        """This run needs a person. What it has under way is let finish first."""
        if run.parked is None:
            run.parked = Parked(reason, detail | (standing(run) if run.undo is not None else {}))
        self.schedule(run)

    def record(self, run: ActiveRun, entry: Entry) -> None:
        batch = self.writer.touch()
        if run.patches.unwritten:
            batch.entries += run.patches.write(run.id, self.now())
        batch.entries.append(entry)
        run.last_batch = batch
        run.recorded += 1

    def record_patches(self, run: ActiveRun) -> None:
        """Record which branches the run has taken, before something that no entry of this process goes with."""
        if run.patches.unwritten:
            run.last_batch = self.writer.touch()
            run.last_batch.entries += run.patches.write(run.id, self.now())

    def now(self) -> float:
        """The time to record: as the database stores it, so that a replay reads the same."""
        return round(self.clock.now(), 6)

    # Messages ---------------------------------------------------------------------------------------------------------

    def look(self, ids: Iterable[UUID]) -> Batch:
        """Read the messages of these runs with the next flush, which is returned."""
        batch = self.writer.touch()
        batch.looks.extend(run_id for run_id in ids if run_id in self.runs)
        return batch

    # What the journal says --------------------------------------------------------------------------------------------

    def flushed(self, batch: Batch, reply: Reply) -> None:
        """A batch is durable."""
        self.departures.heard(batch, reply)
        self.children.flushed(batch, reply)
        for run_id in reply.kept:
            run = self.runs.get(run_id)
            # A run that a later flush lets go of is not to be answered any more: that flush looks again itself.
            if run is not None and not run.releasing:
                self.mail.hear(run, reply.mail.get(run_id, []))

    def poisoned(self, run_id: UUID, error: BaseException) -> None:
        """The database refuses what was to be recorded of this run."""
        run = self.runs.get(run_id)
        if run is None:
            return
        run.releasing = False
        self.children.forget(run)
        run.parked = Parked(
            Reason.POISON, {"message": f"the database refuses an entry of this run: {error}"}
        )
        for call in run.calls.values():
            call.drop()
            call.state = CallState.SETTLED
        self.departures.park(run)
