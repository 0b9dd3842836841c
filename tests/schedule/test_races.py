"""Fired once, however many there are to do it, and whichever of them dies."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.harness.cell import until
from tests.schedule.conftest import Desk
from tests.schedule.program import COUNT, build
from troth.store.connect import connect_async


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
