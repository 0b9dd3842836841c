"""Deadlines: a run that is late fails, is undone, and a replay agrees about when."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.workflow.place import QUICK, Place, soon
from tests.workflow.test_children import children, nothing_is_left, shop
from troth import Call, Run, RunFailedError, RunTimedOutError, Troth, UsageError

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


async def failed_late(run: Run[None]) -> None:
    with pytest.raises(RunFailedError) as failed:
        await soon(run.result())
    assert isinstance(failed.value.__cause__, RunTimedOutError)


@pytest.mark.parametrize("how", ["timeout", "within", "time"])
async def test_a_run_that_waits_too_long_fails_and_is_undone(
    place: Place, troth: Troth, how: str
) -> None:
    did: list[str] = []
    reserve = shop(troth, did)

    @troth.workflow(timeout=1.5 if how == "timeout" else None)
    async def work() -> None:
        await reserve(1)
        await troth.receive("never")

    deadline = {
        "timeout": None,
        "within": timedelta(seconds=1.5),
        "time": datetime.now(UTC) + timedelta(seconds=1.5),
    }[how]
    async with troth.worker(QUICK):
        run = await troth.start(work, deadline=deadline)
        await place.until_state(run, "waiting")  # it costs no memory until then
        await failed_late(run)
    assert did == ["reserve 1", "free 1"]
    assert place.results(run.id)[:2] == ["reserve", "!deadline"]


async def test_a_run_whose_time_has_passed_before_it_was_claimed(
    place: Place, troth: Troth
) -> None:
    begun: list[int] = []

    @troth.step
    async def step() -> None:
        begun.append(1)

    @troth.workflow
    async def work() -> None:
        await troth.receive("never")

    async with troth.client():
        run = await troth.start(work, deadline=LONG_AGO)
    async with troth.worker(QUICK):
        await failed_late(run)


async def test_a_deadline_is_delivered_in_the_recorded_order(place: Place, troth: Troth) -> None:
    reached = asyncio.Event()

    @troth.step
    async def note(what: str) -> str:
        reached.set()
        return what

    @troth.workflow
    async def work() -> None:
        try:
            await troth.receive("never")
        finally:
            await note("late")
            await troth.receive("go")

    async with troth.worker(QUICK):
        run = await troth.start(work, deadline=timedelta(seconds=0.3))
        await soon(reached.wait())
        await place.until(lambda: "note" in place.results(run.id), "it is recorded")
        await place.die(troth)
    async with troth.worker(QUICK):
        await troth.send(run, "go")
        await failed_late(run)
    assert place.results(run.id) == ["!deadline", "note", "receive.go"]


async def test_past_the_point_of_no_return_it_is_too_late(place: Place, troth: Troth) -> None:
    @troth.effect(delivery="at_least_once", timeout=5, pivot=True)
    async def ship(call: Call) -> None: ...

    @troth.workflow(timeout=0.3)
    async def work() -> str:
        await ship()
        await troth.sleep(0.6)
        return "shipped"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == "shipped"


async def test_children_of_a_late_run_are_cancelled(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def inner() -> None:
        await troth.receive("never")

    @troth.workflow(timeout=0.5)
    async def outer() -> None:
        await inner()

    @troth.workflow
    async def above() -> str:
        handle = await troth.start(inner, deadline=timedelta(seconds=0.2))
        try:
            await handle.result()
        except RunFailedError as error:
            return error.error_type
        return "?"

    async with troth.worker(QUICK):
        run = await troth.start(outer)
        await failed_late(run)
        assert (await soon((await troth.start(above)).result())).endswith("RunTimedOutError")
    assert [state for _, state in children(place, run.id)] == ["cancelled"]
    assert nothing_is_left(place)


async def test_what_cannot_be_is_refused(troth: Troth) -> None:
    with pytest.raises(UsageError, match="greater than 0"):

        @troth.workflow(timeout=0)
        async def work() -> None: ...

    @troth.workflow
    async def other() -> None: ...

    with pytest.raises(UsageError, match="time zone"):
        await troth.start(other, deadline=datetime(2030, 1, 1))  # noqa: DTZ001
