"""Progress: the latest word, soon and cheaply; no part of a replay, and never moved back by one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon, unknown_run
from troth import NotInRunError, Run, RunNotFoundError, Troth
from troth.app import Update


async def watched(run: Run[Any]) -> list[Update]:
    return [update async for update in run.watch()]


async def progressed(run: Run[Any], wanted: Any) -> None:
    async with asyncio.timeout(20), contextlib.aclosing(run.watch()) as updates:
        async for update in updates:
            if update.progress == wanted:
                return


async def test_the_latest_word_is_read_from_another_process(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> None:
        for n in range(100):
            troth.progress({"done": n})
        await troth.receive("go", int)

    other = place.troth()
    async with troth.worker(QUICK):
        run = await troth.start(work)
        with pytest.raises(NotInRunError):
            troth.progress(1)
        watcher = asyncio.create_task(_from_elsewhere(other, run))
        await soon(progressed(run, {"done": 99}))
        assert await run.progress() == {"done": 99}
        assert place.value("SELECT count(*) FROM {s}.journal WHERE run_id = %s", run.id) == 1
        await troth.send(run, "go", 1)
        await soon(run.result())
        updates = await soon(watcher)
        assert await run.progress() is None
    assert updates[-1] == Update("succeeded", None, None)
    assert Update("waiting", None, {"done": 99}) in updates
    assert place.rows("SELECT * FROM {s}.run_progress") == []


async def _from_elsewhere(other: Troth, run: Run[Any]) -> list[Update]:
    async def look() -> list[Update]:
        async with other.client():
            return await watched(other.run(run.id))

    return await asyncio.create_task(asyncio.to_thread(asyncio.run, look()))


async def test_a_replay_does_not_move_it_back(place: Place, troth: Troth) -> None:
    @troth.step
    async def part(n: int) -> int:
        return n

    said: list[int] = []

    @troth.workflow
    async def work() -> None:
        for n in range(5):
            troth.progress(n)
            said.append(n)
            await part(n)
        await troth.receive("more", int)
        troth.progress("more")
        await troth.receive("end", int)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(progressed(run, 4))
        await place.until_state(run, "waiting")
        before = place.rows("SELECT position, payload FROM {s}.run_progress")
        await place.die(troth)
    async with troth.worker(QUICK):
        await troth.send(run, "nothing", 1)  # claimed, replayed, and let go of
        await place.until(lambda: len(said) == 10, "it has said everything again")
        await place.until_state(run, "waiting")
        assert place.rows("SELECT position, payload FROM {s}.run_progress") == before
        await troth.send(run, "more", 1)
        await soon(progressed(run, "more"))
        await troth.send(run, "end", 1)
        await soon(run.result())


async def test_it_is_written_at_most_once_a_second_for_a_run(place: Place, troth: Troth) -> None:
    @troth.step
    async def part() -> None: ...

    @troth.workflow
    async def work() -> None:
        for n in range(50):
            await part()
            troth.progress(n)

    async with troth.worker(QUICK):
        batches: list[int] = []
        node = troth.node
        flushed = node.flushed

        def count(batch: Any, reply: Any) -> None:
            batches.append(len(batch.progress))
            flushed(batch, reply)

        node.writer._listener = node
        node.flushed = count  # type: ignore[method-assign]
        before = asyncio.get_running_loop().time()
        await soon((await troth.start(work)).result())
        seconds = asyncio.get_running_loop().time() - before
    assert len(batches) > 10
    assert 1 <= sum(batches) <= 2 + seconds


async def test_many_watchers_are_one_query(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> None:
        await troth.receive("go", int)

    async with troth.worker(QUICK):
        runs = [await troth.start(work) for _ in range(20)]
        watches = troth.node.results.watches
        watching = [asyncio.create_task(watched(run)) for run in runs for _ in range(10)]
        for run in runs:
            await place.until_state(run, "waiting")
        before, since = watches.looks, asyncio.get_running_loop().time()
        for run in runs:
            await troth.send(run, "go", 1)
        told = await soon(asyncio.gather(*watching))
        looks, seconds = watches.looks - before, asyncio.get_running_loop().time() - since
        assert not watches
    assert all(updates[-1].state == "succeeded" for updates in told)
    assert (
        looks <= 20 + 2 + seconds
    )  # an end each at worst, and once a second; not one for each of 200


async def test_a_run_that_does_not_exist_is_not_watched(troth: Troth) -> None:
    async with troth.client():
        with pytest.raises(RunNotFoundError):
            await soon(watched(troth.run(unknown_run())))
        with pytest.raises(RunNotFoundError):
            await troth.run(unknown_run()).progress()
