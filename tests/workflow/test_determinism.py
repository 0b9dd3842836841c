"""Random programs, executed undisturbed and with a worker that is dropped in the middle: replay is exact.

The worker is dropped at a flush: either the flush is lost, or it is committed and nobody is told. Another
worker id takes over in the same process, and the runs go on from the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.workflow.place import PATIENCE_S, QUICK, Journal, Place
from tests.workflow.programs import (
    Interpreter,
    Program,
    interpreter,
    is_sequential,
    programs,
    received,
    topic_of,
)
from troth.base import codec
from troth.base.errors import FencedError
from troth.journal.model import Batch, ClaimedRun, Entry, Kind, Reply
from troth.worker.node import Node
from troth.workflow.run import ActiveRun


def examples(count: int) -> settings:
    """Each example is two runs on a real database, on one worker."""
    return settings(
        max_examples=count,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )


class Executed(NamedTuple):
    """One run that has ended: what the workflow returned, and its journal."""

    trace: list[Any]
    journal: Journal
    entries: list[Entry]
    input: bytes
    claims: int
    flushes: int


class Stage:
    """One worker, on which many programs are executed one after the other."""

    def __init__(self, place: Place, program: Interpreter) -> None:
        self.place = place
        self.program = program

    @property
    def node(self) -> Node:
        return self.program.troth.node

    async def execute(self, program: Program, *, drop: Drop | None = None) -> Executed:
        """Start it, and wait for its end."""
        writer = self.node.writer
        flushes = writer.flushes
        troth, key = self.program.troth, str(uuid4())
        for label in received(program):
            await troth.send(key, topic_of(label), [label, 0])
        run = await troth.start(self.program.work, program, key=key)
        if drop is not None:
            drop.arm(self.node)
            await drop.happen(self, run.result(PATIENCE_S))
        trace = await run.result(PATIENCE_S)
        rows = self.place.rows(
            "SELECT run_id, path, kind, attempt, seq, ok, digest, payload, extract(epoch FROM at)::float8"
            " FROM {s}.journal WHERE run_id = %s ORDER BY seq NULLS LAST, at, kind",
            run.id,
        )
        ((data, claims),) = self.place.rows(
            "SELECT input, claim FROM {s}.run_history WHERE id = %s", run.id
        )
        return Executed(
            trace,
            self.place.journal(run.id),
            [Entry(*row) for row in rows],
            bytes(data),
            claims,
            writer.flushes - flushes,
        )


class Drop:
    """Drops the worker at its flush number *at* from now on; *committed*: the database has got that flush."""

    def __init__(self, at: int, *, committed: bool) -> None:
        self._at = at
        self._committed = committed
        self._begun = False  # that flush is under way
        self._reached = asyncio.Event()

    def arm(self, node: Node) -> None:
        flush, left = node.writer._flush, self._at

        async def counted(batch: Batch) -> Reply:
            nonlocal left
            left -= 1
            if left == 0:
                self._begun = True
                if self._committed:
                    await flush(batch)
                self._reached.set()
                await asyncio.Event().wait()  # nobody hears anything of it any more
            return await flush(batch)

        node.writer._flush = counted  # type: ignore[method-assign]
        self._flush = flush

    async def happen(self, stage: Stage, result: Any) -> None:
        """Wait until it is reached, unless the run ends before; declare the worker dead, begin anew."""
        reached = asyncio.create_task(self._reached.wait())
        ended = asyncio.create_task(result)
        await asyncio.wait({reached, ended}, return_when=asyncio.FIRST_COMPLETED)
        if self._begun:  # it may be the one that tells of the end
            await reached
        node = stage.node
        node.writer._flush = self._flush  # type: ignore[method-assign]
        if self._reached.is_set():
            worker = node.writer.worker
            await asyncio.to_thread(take_over, stage.place, worker)
            node.fenced(FencedError("dropped by the test"))
        reached.cancel()
        await ended


def take_over(place: Place, worker: int) -> None:
    held = place.value("SELECT {s}.takeover(%s, NULL)", worker)
    while held:
        held = place.value("SELECT {s}.release_gone(%s)", worker)


@pytest.fixture
async def stage(place: Place) -> AsyncIterator[Stage]:
    program = interpreter(place.troth())
    async with program.troth.worker(QUICK):
        yield Stage(place, program)


# ── what must hold ──────────────────────────────────────────────────────────────────────────────


def told_by_journal(executed: Executed) -> list[Any]:
    """What a workflow is told, if it is told the recorded answers in their order."""
    told: list[Any] = []
    for entry in sorted(
        (e for e in executed.entries if e.kind == Kind.RESULT), key=lambda e: e.seq or 0
    ):
        payload = codec.decode(entry.payload or b"null")
        if isinstance(payload, dict) and "own" in payload:
            continue  # a run was started
        if isinstance(payload, dict) and "outcome" in payload:
            payload = payload["outcome"]
            if payload is None:
                continue  # it was cancelled, and so was who waited for it
        if entry.ok is False and payload is None:
            continue  # nothing came in time
        if entry.ok is False:
            told.append(["refused", *payload["args"], entry.at])
        elif payload is not None:
            told.append(["told", *payload, entry.at])
    return told


async def check(executed: Executed, stage: Stage) -> None:
    """The trace is what the journal of its own run implies, and replaying that journal gives it again."""
    told = [item for item in executed.trace if item[0] in {"told", "refused"}]
    recorded = iter(told_by_journal(executed))
    for item in told:  # in the order of the journal; what was told to cancelled calls is left out
        *said, at = item
        assert any(
            said == before
            and datetime.fromisoformat(at).timestamp() == pytest.approx(when, abs=1e-6)
            for *before, when in recorded
        ), (item, executed.journal)
    seqs = [entry[3] for entry in executed.journal if entry[1] == Kind.RESULT]
    assert len(set(seqs)) == len(seqs)
    assert await replayed(executed, stage) == executed.trace


async def replayed(executed: Executed, stage: Stage) -> Any:
    """Execute the workflow from its complete journal alone."""
    run_id = executed.entries[0].run_id if executed.entries else None
    if run_id is None:
        return executed.trace
    ((starts_at,),) = stage.place.rows(
        "SELECT extract(epoch FROM starts_at)::float8 FROM {s}.run_history WHERE id = %s", run_id
    )
    claimed = ClaimedRun(run_id, "work", None, executed.input, 9, starts_at, executed.entries, [])

    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def enter() -> None:
        # Called by the loop itself, as the engine does, not from a task.
        active = ActiveRun(claimed, stage.program.work, lambda _: None)
        active.begin()
        try:
            active.advance()  # what a forgotten task still asks for is not awaited by anybody
            assert active.main is not None
            done.set_result(active.main.result())
        except BaseException as error:  # noqa: BLE001
            done.set_exception(error)

    asyncio.get_running_loop().call_soon(enter)
    result = stage.program.work.result
    return result.decode(result.encode(await done))


def comparable(executed: Executed) -> tuple[list[Any], list[Any]]:
    """Trace and journal without what differs between two runs: times, chance, ids."""
    said = {"told": 3, "refused": 2, "chance": 2}  # how much of an item is not time or chance
    trace = [item[: said.get(item[0], len(item))] for item in executed.trace]
    journal = [
        (path, kind, attempt, seq, ok, _without_ids(payload) if kind == Kind.RESULT else None)
        for path, kind, attempt, seq, ok, payload in executed.journal
    ]
    return trace, journal


def _without_ids(payload: bytes | None) -> Any:
    said = codec.decode(payload or b"null")
    return {**said, "run": None} if isinstance(said, dict) else said


async def undisturbed_and_dropped(
    stage: Stage, program: Program, place: int, *, committed: bool
) -> None:
    calm = await stage.execute(program)
    await check(calm, stage)
    at = 1 + place % max(calm.flushes, 1)
    dropped = await stage.execute(program, drop=Drop(at, committed=committed))
    await check(dropped, stage)
    if is_sequential(program):
        assert comparable(dropped) == comparable(calm)


dropped_at = st.integers(0, 11)  # modulo the number of flushes


@examples(40)
@given(programs(), dropped_at, st.booleans())
async def test_random_programs_replay_exactly(
    stage: Stage, program: Program, place: int, committed: bool
) -> None:
    await undisturbed_and_dropped(stage, program, place, committed=committed)


@examples(20)
@given(programs(concurrent=False), dropped_at, st.booleans())
async def test_where_the_order_is_forced_a_dropped_worker_changes_nothing_at_all(
    stage: Stage, program: Program, place: int, committed: bool
) -> None:
    await undisturbed_and_dropped(stage, program, place, committed=committed)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@examples(1000)
@given(programs(), dropped_at, st.booleans())
async def test_a_thousand_random_programs_replay_exactly(
    stage: Stage, program: Program, place: int, committed: bool
) -> None:
    await undisturbed_and_dropped(stage, program, place, committed=committed)


@pytest.mark.parametrize("committed", [False, True])
async def test_a_worker_that_is_dropped_at_each_flush_in_turn(
    stage: Stage, *, committed: bool
) -> None:
    program = [
        ["step", 0],
        [
            "gather",
            1,
            [[["transaction", 2], ["sum", 3]], [["sleep", 4], ["sum", 5], ["refuse", 6]]],
        ],
        ["group, caught", 7, [[["step", 8]], [["refuse", 9]]]],
        ["blocking transaction", 10],
        ["child", 11],
        ["gather", 12, [[["handle", 13]], [["child refuses, caught", 14], ["handle", 15]]]],
        ["first", 16, [[["receive", 17], ["receive nothing", 18]], [["child", 19], ["sleep", 20]]]],
        ["limit", 21, [[["receive", 22], ["child", 23]]]],
    ]
    calm = await stage.execute(program)
    await check(calm, stage)
    takeovers = 0
    for at in range(1, calm.flushes + 1):
        dropped = await stage.execute(program, drop=Drop(at, committed=committed))
        await check(dropped, stage)
        takeovers += dropped.claims - 1
    assert takeovers >= 3, "the drops really hit"
