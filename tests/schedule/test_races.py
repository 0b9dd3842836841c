"""Fired once, however many there are to do it, and whichever of them dies."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from tests.harness.cell import until
from tests.schedule.conftest import Desk
from tests.schedule.program import COUNT, build
from troth import Troth, Tx
from troth.base.errors import FencedError
from troth.schedule import Schedules, store
from troth.store.connect import connect_async
from troth.worker import relays
from troth.worker.node import Node


@asynccontextmanager
async def process(desk: Desk, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "tests.schedule.program", desk.url, desk.schema, *arguments]
    made = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield made
    finally:
        if made.returncode is None:
            made.kill()
        await made.wait()


async def says(made: asyncio.subprocess.Process, word: str) -> None:
    assert made.stdout is not None
    async with asyncio.timeout(30):
        while (line := await made.stdout.readline()) != f"{word}\n".encode():
            assert line, "it has ended"


async def declare_all(desk: Desk) -> None:
    _, schedules = build(desk.url, desk.schema)
    await desk.look(schedules)


async def all_due(desk: Desk) -> None:
    await desk.rows("UPDATE {}.schedule SET next_at = now(), look_at = now()")
    await desk.rows("SELECT pg_notify(%s, '')", f"{desk.schema}.schedule")


async def once_each(desk: Desk) -> None:
    fired = await desk.rows("SELECT schedule, count(*) FROM {}.schedule_firing GROUP BY 1")
    assert sorted(fired) == sorted((f"s{n}", 1) for n in range(COUNT))
    runs = await desk.rows("SELECT count(*), count(DISTINCT input) FROM {}.run")
    assert runs == [(COUNT, COUNT)]


async def fired(desk: Desk) -> bool:
    return await desk.rows("SELECT count(*) FROM {}.schedule_firing") == [(COUNT,)]


async def test_two_hundred_at_once_in_two_processes_each_fire_once(desk):
    await declare_all(desk)
    async with process(desk) as a, process(desk) as b:
        await asyncio.gather(says(a, "open"), says(b, "open"))
        await all_due(desk)
        await until(lambda: fired(desk), "all are fired")
        assert (a.returncode, b.returncode) == (None, None)
    await once_each(desk)


async def test_kill_9_between_firing_and_commit(desk):
    await declare_all(desk)
    await all_due(desk)
    async with process(desk, "hold") as dying:
        await says(dying, "held")
        _, other = build(desk.url, desk.schema)
        await desk.look(other)  # all are locked: it passes by, and does not wait
        assert not await desk.results("s0")
        dying.kill()
        await dying.wait()

        async def taken() -> bool:
            await desk.look(other)
            return await fired(desk)

        await until(taken, "another one has fired them")
    await once_each(desk)


async def test_two_that_look_at_the_same_moment(desk, ticking):
    """The second one meets the row that the first has moved: it sees that it is not due any more."""
    first, second = ticking(overlap="allow"), ticking(overlap="allow")
    await desk.look(first)
    async with await connect_async(desk.url) as one, await connect_async(desk.url) as two:
        for _ in range(20):
            await desk.due("tick")
            await asyncio.gather(desk.look(first, one), desk.look(second, two))
    results = await desk.results("tick")
    assert results == ["started"] * 20
    assert len(await desk.inputs()) == 20


async def test_a_thousand_at_once_are_a_few_statements(desk):
    troth, schedules = desk.program()

    @troth.workflow
    async def report(customer: int) -> None: ...

    for n in range(1000):
        await schedules.create(desk.tx, f"r{n}", report, "0 0 1 1 *", args={"customer": n})
    await all_due(desk)
    asked = 0
    execute = desk.tx.execute

    async def counted(*args, **kwargs):
        nonlocal asked
        asked += 1
        return await execute(*args, **kwargs)

    desk.tx.execute = counted  # type: ignore[method-assign]
    await desk.look(schedules)
    desk.tx.execute = execute  # type: ignore[method-assign]
    assert asked <= 5 * 6 + 1  # five batches
    assert await desk.rows("SELECT count(DISTINCT input) FROM {}.run") == [(1000,)]


async def test_an_idle_program_asks_twice_in_fifteen_seconds(desk, ticking):
    schedules = ticking()
    await desk.look(schedules)
    asked = []
    execute = desk.tx.execute

    async def counted(query, *args, **kwargs):
        asked.append(query)
        return await execute(query, *args, **kwargs)

    desk.tx.execute = counted  # type: ignore[method-assign]
    assert await desk.look(schedules) == 15.0
    assert len(asked) == 2


# ── a firing ∥ the takeover of who fires ─────────────────────────────────────────────────────────


def reporting(desk: Desk, count: int) -> tuple[Troth, Schedules]:
    """A program with so many schedules, whose runs write down once which time they are for."""
    troth, schedules = desk.program()

    @troth.transaction
    async def write(tx: Tx, n: int, at: datetime) -> None:
        await tx.execute(f"INSERT INTO {desk.schema}.report VALUES (%s, %s)", (n, at))

    @troth.workflow
    async def report(n: int, at: datetime) -> None:
        await write(n, at)

    for n in range(count):
        schedules.declare(f"s{n}", report, "0 0 1 1 *", args=timed(n), overlap="allow")
    return troth, schedules


def timed(n: int) -> Callable[[datetime], tuple[int, datetime]]:
    return lambda at: (n, at)


class Firing:
    """Whoever fires is met at each point of its transaction in turn: another one looks, too; and it is declared gone and
    goes on, or it dies as well."""

    POINTS = ("locked", "written", "moved", "committed")
    FATES = ("declared gone", "dies")

    def __init__(
        self, desk: Desk, nodes: list[Node], other: Schedules, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._desk, self._nodes, self._other = desk, nodes, other
        self._turns = itertools.cycle(itertools.product(self.POINTS, self.FATES))
        self._turn = next(self._turns)
        self._moved: set[asyncio.Task[Any] | None] = set()
        self.met: Counter[tuple[str, str]] = Counter()
        for name, point in (("claim_due", "locked"), ("write", "written"), ("move", "moved")):
            monkeypatch.setattr(store, name, self._halting(getattr(store, name), point))
        monkeypatch.setattr(store, "due_in", self._halting(store.due_in, "committed"))
        monkeypatch.setattr(relays, "_AGAIN_S", (0.01,))

    def _halting(self, act: Callable[..., Any], point: str) -> Callable[..., Any]:
        async def halting(tx: Any, *args: Any) -> Any:
            answer = await act(tx, *args)
            task = asyncio.current_task()
            node = next((node for node in self._nodes if task in node._relays._tasks), None)
            if point == "moved":
                self._moved.add(task)
            reached = point != "committed" or task in self._moved
            if point == "committed":
                self._moved.discard(task)
            if (
                node is not None
                and reached
                and self._turn[0] == point
                and (answer or point != "locked")
            ):
                await self._meet(node, tx)
            return answer

        return halting

    async def _meet(self, node: Node, tx: Any) -> None:
        turn, self._turn = self._turn, next(self._turns)
        self.met[turn] += 1
        worker = node.writer.worker
        async with await connect_async(self._desk.url) as peer, asyncio.timeout(10):
            # In a task of its own, which is nobody's who is met. It does not wait for what is locked.
            await asyncio.create_task(self._desk.look(self._other, peer))
            if turn[1] == "dies":
                await peer.execute("SELECT pg_terminate_backend(%s, 10000)", (tx.info.backend_pid,))
            held = await call(peer, f"SELECT {self._desk.schema}.takeover(%s, NULL)", worker)
            while held:
                held = await call(peer, f"SELECT {self._desk.schema}.release_gone(%s)", worker)
        node.fenced(FencedError("declared gone by the test"))


async def call(session: Any, query: str, worker: int) -> Any:
    row = await (await session.execute(query, (worker,))).fetchone()
    return row[0]


@pytest.mark.parametrize(
    ("schedules", "rounds"),
    [
        (50, 10),
        pytest.param(200, 50, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
    ],
)
async def test_whoever_fires_is_declared_gone_at_each_point(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, schedules: int, rounds: int
) -> None:
    await desk.rows("CREATE TABLE {}.report (n integer, at timestamptz)")
    programs = [reporting(desk, schedules)[0] for _ in range(2)]
    _, other = reporting(desk, schedules)
    async with AsyncExitStack() as stack:
        for program in programs:
            await stack.enter_async_context(program.worker())

        async def declared() -> bool:
            return await desk.rows("SELECT count(*) FROM {}.schedule") == [(schedules,)]

        await until(declared, "all are declared")
        firing = Firing(desk, [program.node for program in programs], other, monkeypatch)
        for number in range(1, rounds + 1):
            await all_due(desk)

            async def done(number: int = number) -> bool:
                fired = await desk.rows("SELECT count(*) FROM {}.schedule_firing")
                alive = await desk.rows("SELECT count(*) FROM {}.run")
                return fired[0][0] >= number * schedules and alive == [(0,)]

            await until(done, f"all have fired, and all runs have ended, in round {number}")
    total = schedules * rounds
    assert await desk.rows(
        "SELECT count(*), count(DISTINCT (schedule, at)), min(result), max(result) FROM {}.schedule_firing"
    ) == [(total, total, "started", "started")]
    assert await desk.rows("SELECT count(*), count(DISTINCT (n, at)) FROM {}.report") == [
        (total, total)
    ]
    assert await desk.rows("SELECT count(*), min(state::text) FROM {}.run_history") == [
        (total, "succeeded")
    ]
    assert len(firing.met) == len(Firing.POINTS) * len(Firing.FATES), firing.met
    assert min(firing.met.values()) >= rounds // 10, firing.met
