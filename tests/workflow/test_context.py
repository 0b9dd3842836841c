"""Time, chance and identity in workflow code: equal when it is replayed, and only there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import NotInRunError, Troth
from troth.workflow.context import RunContextFilter


async def test_now_uuid_and_random_are_equal_after_replay(place: Place, troth: Troth) -> None:
    takes: list[list[Any]] = []

    @troth.step
    async def step() -> int:
        return 1

    @troth.workflow
    async def work() -> int:
        seen: list[Any] = [troth.now(), troth.uuid(), troth.uuid(), troth.random().random()]
        takes.append(seen)
        await step()
        generator = troth.random()
        seen += [troth.now(), generator.random(), generator.randint(1, 10**9), troth.uuid()]
        await troth.receive("go")
        seen.append(troth.now())
        return len(seen)

    async with troth.worker(QUICK):
        first, second = await troth.start(work), await troth.start(work)
        for run in (first, second):
            await place.until_state(run, "waiting")
            await troth.send(run, "go")
            assert await soon(run.result()) == 9
    assert len(takes) == 4
    by_uuid: dict[Any, list[list[Any]]] = {}
    for take in takes:
        by_uuid.setdefault(take[1], []).append(take)
    assert len(by_uuid) == 2, "two runs differ, and each is the same twice"
    for live, replayed in by_uuid.values():
        assert replayed[:8] == live
        assert len({take for take in live if not isinstance(take, datetime)}) == 6


async def test_now_stands_still_between_results_and_never_goes_back(
    place: Place, troth: Troth
) -> None:
    @troth.step
    async def step() -> int:
        return 1

    @troth.workflow
    async def work() -> list[datetime]:
        times = []
        for _ in range(3):
            times += [troth.now(), troth.now()]
            await step()
        return times

    async with troth.worker(QUICK):
        run = await troth.start(work)
        times = await soon(run.result())
    assert times[0::2] == times[1::2]
    assert times == sorted(times)
    assert len(set(times)) == 3
    assert all(time.tzinfo is not None for time in times)
    assert abs(times[0] - datetime.now(UTC)) < timedelta(minutes=1)
    recorded = [
        row[0]
        for row in place.rows("SELECT at FROM {s}.journal WHERE run_id = %s ORDER BY seq", run.id)
    ]
    assert times[2::2] == recorded[:2]


@pytest.mark.parametrize("name", ["now", "uuid", "random"])
async def test_outside_a_workflow_use_the_ordinary_thing(troth: Troth, name: str) -> None:
    function: Callable[[], object] = getattr(troth, name)

    @troth.step
    async def step() -> str:
        with pytest.raises(NotInRunError):
            function()
        return "refused"

    @troth.workflow
    async def work() -> str:
        return await step()

    with pytest.raises(NotInRunError, match=f"troth.{name} belongs into workflow code"):
        function()
    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == "refused"


async def test_sleep_and_receive_belong_into_workflow_code(troth: Troth) -> None:
    with pytest.raises(NotInRunError, match=r"troth\.sleep"):
        troth.sleep(1)
    with pytest.raises(NotInRunError, match=r"troth\.receive"):
        troth.receive("t")


async def test_log_records_name_their_run_and_step(place: Place, troth: Troth) -> None:
    log = logging.getLogger("tests.workflow.context")
    records: list[tuple[str, Any, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append((record.getMessage(), record.run_id, record.step))  # type: ignore[attr-defined]

    handler = Keep()
    handler.addFilter(RunContextFilter())
    log.addHandler(handler)

    @troth.step
    async def step() -> None:
        log.warning("in a step")

    @troth.step
    def blocking() -> None:
        log.warning("in a thread")

    @troth.workflow
    async def work() -> None:
        log.warning("in the workflow")
        await step()
        await blocking()

    try:
        async with troth.worker(QUICK):
            run = await troth.start(work)
            await soon(run.result())
        log.warning("outside")
    finally:
        log.removeHandler(handler)
    assert records == [
        ("in the workflow", str(run.id), "-"),
        ("in a step", str(run.id), "step"),
        ("in a thread", str(run.id), "blocking"),
        ("outside", "-", "-"),
    ]


async def test_arguments_are_what_was_recorded_at_the_call(troth: Troth) -> None:
    """What is changed afterwards, here or in the step, is not seen on the other side."""

    @troth.step
    async def append(items: list[int]) -> list[int]:
        items.append(99)
        return items

    @troth.workflow
    async def work() -> list[list[int]]:
        mine = [1]
        call = append(mine)
        mine.append(2)
        theirs = await call
        theirs.append(3)
        return [mine, theirs]

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == [[1, 2], [1, 99, 3]]
