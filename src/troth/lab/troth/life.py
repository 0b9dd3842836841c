"""A worker's life as an attempt: join, take over, claim, move runs until there is nothing to do. It can end anywhere."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import msgspec

from troth.base.resources import OpenResources
from troth.journal import store
from troth.journal.model import Batch, EndedRun, Kind, Reply, Start
from troth.lab.edge.attempt import Attempt
from troth.lab.edge.tasks import _yield
from troth.lab.model import Answer, Op
from troth.lab.moments import EPOCH
from troth.lab.troth.boundary import (
    BlockingPool,
    Desk,
    Inline,
    LabWriter,
    Pool,
    beat,
    caught,
    quiet,
)
from troth.lab.troth.journal import ASLEEP, AWAKE, PASSES
from troth.lab.troth.server import SCHEMA
from troth.worker.claims import Claims
from troth.workflow.calls import PendingCall
from troth.workflow.engine import Engine
from troth.workflow.perform import StepPerformer
from troth.workflow.transact import Transactor

if TYPE_CHECKING:
    from troth.app import Troth
    from troth.workflow.definition import Workflow

BESIDE = "calls of one run beside each other (gather, TaskGroup) are not followed yet"
LIMITED = "a provider with a rate, a breaker or a limit of calls at once asks other workers: that is not followed yet"
MOST_WAITS = 12
"""Who waits more often in one life ends as if it had died: another goes on from there."""
NEEDED, IDLE = 0, 1
"""What a worker's life ends with: no status of HTTP, so no promise about answers speaks of it."""
STUCK = "the engine waits for something that the lab does not give"


class WorkerLife:
    """What one worker process does. Its answer, which nobody is told, says whether another is needed."""

    label = "a worker"

    def __init__(self, app: Troth, target: str) -> None:
        self._app = app
        self._target = target

    async def invoke(self, attempt: Attempt) -> None:
        attempt.ordered = False  # the engine's loop is first come, first served
        life = _Life(Desk(attempt, self._target), self._app)
        with quiet(), caught(life.desk, life.telling, life.fenced):
            try:
                status = await life.live()
            finally:
                await life.end()
        attempt.ask(Op("answer", params=(status, b"")))

    def asked(self) -> object:
        return None

    def roots(self) -> dict[str, object]:
        return {
            f"workflow {name}": workflow.function for name, workflow in self._app.workflows.items()
        }


def needed(answer: Answer | None) -> bool:
    """Whether another worker must come."""
    return answer is None or answer.status == NEEDED


class _Timers:
    """The loop as the engine sees it: what is to happen later happens when the lab's time has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop, desk: Desk) -> None:
        self._loop = loop
        self._desk = desk
        self._numbers = itertools.count()
        self._waiting: list[tuple[float, int, _Timer]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def time(self) -> float:
        return self._desk.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> _Timer:
        timer = _Timer(callback, args)
        heapq.heappush(
            self._waiting,
            (round(self._desk.now + max(0.0, delay), 6), next(self._numbers), timer),
        )
        return timer

    def next(self) -> float | None:
        """When the first of them is to happen."""
        while self._waiting and self._waiting[0][2].cancelled:
            heapq.heappop(self._waiting)
        return self._waiting[0][0] if self._waiting else None

    def fire(self) -> None:
        """The first of them happens."""
        _, _, timer = heapq.heappop(self._waiting)
        timer.callback(*timer.args)


class _Timer:
    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _Clock:
    """troth's clock, which is the lab's."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def now(self) -> float:
        return EPOCH + self._desk.now


class _Traffic:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def ask(self, *_: Any, **__: Any) -> None:
        self._desk.refuse(LIMITED)

    def back(self, *_: Any, **__: Any) -> None:
        self._desk.refuse(LIMITED)


class _Performer(StepPerformer):
    """troth's own, which does not let two bodies of a run be at work at once."""

    desk: Desk

    def spawn(self, call: PendingCall, body: Coroutine[Any, Any, None]) -> bool:
        runs = self._engine.runs.values()
        busy = [one for run in runs for one in run.calls.values() if one is not call and one.task is not None]  # fmt: skip
        if any(one.task is not None and not one.task.done() for one in busy):
            body.close()
            self.desk.refuse(BESIDE)
        return super().spawn(call, body)


class _Life:
    """One process: troth's engine, its writer, its claims and its performers, driven by the lab."""

    def __init__(self, desk: Desk, app: Troth) -> None:
        loop = asyncio.get_running_loop()
        self.desk = desk
        self._app = app
        self._loop = loop
        self._dead = False
        self._worked = False
        self._waits = 0
        self._sending: Batch | None = None
        self._timers = _Timers(loop, desk)
        clock = cast("Any", _Clock(desk))
        pool, blocking = Pool(desk), BlockingPool(desk)
        workflows = app.every_workflow
        q = store.queries(SCHEMA)
        self._writer = _Writer("", SCHEMA, self)
        self._engine = Engine(self._writer, clock, self)
        self._threads = Inline(1)
        self._transactor = Transactor(
            SCHEMA, cast("Any", pool), cast("Any", blocking), self._threads, clock
        )
        performer = _Performer(
            self._engine, self._transactor, cast("Any", _Traffic(desk)), self._threads,
            OpenResources(app.resources),
        )  # fmt: skip
        performer.desk = desk
        self._engine.performer = performer
        self._claims = Claims(
            self._writer, self._engine, clock, cast("Any", pool), q, workflows, 1, self._spawn
        )
        for one in (self._engine, self._engine.progress, self._engine.departures, self._claims):
            one._loop = cast("Any", self._timers)  # noqa: SLF001  (no other way to give it time)

    def telling(self) -> str:
        """What the flush that is being sent carries, in words."""
        batch = self._writer.sending
        assert batch is not None
        said = [f"{entry.path} {Kind(entry.kind).name.lower()}" for entry in batch.entries]
        said += [f"the run ends as {end.state}" for end in batch.ends]
        said += [f"the run is let go of: {release.state}" for release in batch.releases]
        said += ["it undoes"] * bool(batch.undoing)
        said += ["it looks for messages"] * bool(batch.looks) + ["claim"] * bool(batch.claim)
        return f"flush: {', '.join(said)}"

    async def live(self) -> int:
        """Until it holds no run any more; whether another must come."""
        desk = self.desk
        desk.tell("setting", 0, AWAKE)
        worker = int(desk.call("join", sorted(self._app.workflows)))
        self._transactor.worker = worker
        self._writer.open(worker)
        self._claims.open = True
        self._claims.ask()
        while True:
            await self._quiet()
            if self._dead:
                return NEEDED
            due = self._timers.next()
            if due is not None:
                self._waits += 1
                if self._waits > MOST_WAITS:
                    return NEEDED  # as if it had died here, which it may
                self._sleep(due)
                self._timers.fire()
            elif self._engine.runs or self._claims.loading:
                beat(
                    desk, worker, self.fenced
                )  # a worker's heart would tell it, if it was declared dead
                if not self._dead:
                    desk.refuse(f"{STUCK}: {self._where()}")
            elif self._worked:
                return NEEDED  # a worker that holds no run any more is like one that has just come
            else:
                at, open_runs, any_run = desk.call("look around")
                if at is None:
                    return NEEDED if open_runs or not any_run else IDLE
                self._sleep(at - EPOCH)
                self._claims.ask()

    def _where(self) -> str:
        """Where its runs stand."""
        said = [f"{self._claims.loading} runs are being loaded"] * bool(self._claims.loading)
        for run in self._engine.runs.values():
            calls = [f"{call.path} is {call.state.name.lower()}" for call in run.calls.values()]
            said.append(
                f"{run.workflow.name}: {', '.join(calls) or 'no call'}, releasing {run.releasing}, parked {run.parked}, finished {run.finished}, flushes {self._writer.acknowledged}"
            )
        return "; ".join(said)

    def _sleep(self, until: float) -> None:
        until = round(until, 6)
        if until > self.desk.now:
            self.desk.tell("setting", 0, ASLEEP, until)
            self.desk.call(PASSES, until)

    async def _quiet(self) -> None:
        """Let everything run that can."""
        ready = self._loop._ready  # type: ignore[attr-defined]  # noqa: SLF001  (what can run has no other name)
        for _ in range(10_000):
            await _yield(0)
            if not ready:
                return
        self.desk.refuse("the engine does not come to rest")

    async def end(self) -> None:
        """Leave nothing that goes on."""
        await self._writer.abandon()
        self._engine.forget_all()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = self._loop.create_task(coroutine)
        task.add_done_callback(_heard)

    # ── whom the writer and the engine tell ─────────────────────────────────────────────────────

    def moving(self) -> bool:
        return self._engine.moving

    def flushed(self, batch: Batch, reply: Reply) -> None:
        self._engine.flushed(batch, reply)
        if batch.claim:
            self._worked |= bool(reply.claimed)
            self._claims.flushed(reply)
        if reply.busy_undoing:
            self.desk.refuse(STUCK)

    def poisoned(self, run_id: UUID, error: BaseException) -> None:
        self._engine.poisoned(run_id, error)

    def fenced(self, error: BaseException) -> None:
        del error
        self._dead = True
        self._claims.forget()
        self._engine.forget_all()

    def ended(self, runs: list[EndedRun]) -> None:
        del runs

    def released(self, wake_at: float | None) -> None:
        if wake_at is not None and wake_at <= EPOCH + self.desk.now:
            self._claims.ask()

    def reserve(self, workflow: Workflow[Any, Any]) -> bool:
        del workflow
        return False

    def started(self, start: Start, workflow: Workflow[Any, Any], *, fresh: bool) -> None:
        del start, workflow, fresh

    async def require_same(self, start: Start, run_id: UUID) -> None:
        del start, run_id


class _Writer(LabWriter):
    """Knows which batch it is sending."""

    sending: Batch | None = None

    async def _flush(self, batch: Batch) -> Reply:
        self.sending = batch
        return await super()._flush(batch)


def _heard(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


class StartCall:
    """Somebody starts a run under a key, and asks how it stands: 200 and its outcome when it has ended, 202 before, 409 in attention."""

    def __init__(self, target: str, key: str, ask: tuple[Any, ...]) -> None:
        self.label = f"start {key}"
        self._target = target
        self._key = key
        self._ask = ask

    async def invoke(self, attempt: Attempt) -> None:
        desk = Desk(attempt, self._target)
        desk.call("start", *self._ask)
        found = desk.call("result", self._key)
        state, reason, outcome = found
        status = _STATUS.get(state, 202)
        body = {"state": state, "reason": reason, "outcome": None if outcome is None else msgspec.json.decode(outcome)}  # fmt: skip
        attempt.ask(Op("answer", params=(status, msgspec.json.encode(body))))

    def asked(self) -> object:
        return None

    def roots(self) -> dict[str, object]:
        return {}


_STATUS = {"succeeded": 200, "failed": 422, "cancelled": 410, "attention": 409}


class CancelCall:
    """Somebody asks the run of a key to stop: 200 when that is durable, 404 when it has ended or is not there."""

    def __init__(self, target: str, key: str, message: UUID) -> None:
        self.label = f"cancel {key}"
        self._target = target
        self._key = key
        self._message = message

    async def invoke(self, attempt: Attempt) -> None:
        said = Desk(attempt, self._target).call("cancel", self._message, self._key)
        status = 200 if said == "sent" else 404
        attempt.ask(Op("answer", params=(status, msgspec.json.encode(said))))

    def asked(self) -> object:
        return None

    def roots(self) -> dict[str, object]:
        return {}
