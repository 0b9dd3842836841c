"""A cancellation that comes while the point of no return is under way: its outcome decides."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from tests.workflow.place import QUICK, Place
from tests.workflow.test_sagas import KEYS, World, world
from troth import Call, Refused, Retry, Troth, UsageError

__all__ = ["world"]

ENDED = ("succeeded", "failed", "cancelled", "attention")


@pytest.mark.parametrize("said", ["refused", "not now"])
async def test_a_cancellation_while_the_pivot_is_under_way_counts_if_it_does_not_land(
    place: Place, troth: Troth, world: World, said: str
) -> None:
    goes, heard = asyncio.Event(), asyncio.Event()

    # Without the cancellation the next attempt would be in a month.
    @troth.effect(provider=KEYS, timeout=60, pivot=True, retry=Retry(9, timedelta(days=30)))
    async def pay_out(call: Call) -> None:
        goes.set()
        if said == "refused":
            await heard.wait()
            raise Refused(said)
        raise ConnectionRefusedError

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        try:
            await pay_out()
        except Refused:
            await world.make("instead")

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await goes.wait()
        if said == "not now":
            await place.until_state(run, "waiting")
        await run.cancel()
        await place.until(lambda: "!cancel" in place.results(run.id), "the cancellation is heard")
        heard.set()
        await place.until(lambda: place.state(run.id) in ENDED, "it has ended, or asks")
    assert (place.state(run.id), world.log) == ("cancelled", ["make a", "unmake a"])


@pytest.mark.parametrize("stands", [True, False])
async def test_a_cancellation_while_the_pivot_is_under_way_is_too_late_if_it_lands(
    place: Place, troth: Troth, world: World, *, stands: bool
) -> None:
    goes, heard = asyncio.Event(), asyncio.Event()

    @troth.effect(provider=KEYS, timeout=60, pivot=True, stands=stands)
    async def pay_out(call: Call) -> None:
        goes.set()
        await heard.wait()
        world.log.append("paid")

    @troth.workflow
    async def work() -> str:
        await world.make("a")
        await pay_out()
        await world.make("b")
        return "done"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await goes.wait()
        await run.cancel()
        await place.until(lambda: "!cancel" in place.results(run.id), "the cancellation is heard")
        heard.set()
        await place.until(lambda: place.state(run.id) in ENDED, "it has ended, or asks")
        assert (place.state(run.id), world.log) == ("succeeded", ["make a", "paid", "make b"])


async def test_what_may_stand_is_found_out_all_the_same_if_it_is_the_pivot(
    place: Place, troth: Troth, world: World
) -> None:
    """Its first answer is lost, and the run is cancelled: what was done before is not undone behind it."""
    lost, heard = asyncio.Event(), asyncio.Event()

    @troth.effect(provider=KEYS, timeout=60, pivot=True, stands=True, retry=Retry(9, timedelta(0)))
    async def pay_out(call: Call) -> None:
        if call.attempt == 1:
            world.log.append("paid")
            lost.set()
            await heard.wait()
            raise ConnectionResetError

    @troth.workflow
    async def work() -> None:
        await world.make("a")
        await pay_out()

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await lost.wait()
        await run.cancel()
        await place.until(lambda: "!cancel" in place.results(run.id), "the cancellation is heard")
        heard.set()
        await place.until(lambda: place.state(run.id) in ENDED, "it has ended, or asks")
    assert (place.state(run.id), world.log) == ("succeeded", ["make a", "paid"])


def test_what_may_stand_has_no_undo(troth: Troth) -> None:
    @troth.effect(provider=KEYS, timeout=60, stands=True)
    async def send(call: Call) -> None: ...

    with pytest.raises(UsageError, match="send has stands=True"):

        @send.undo
        async def take_back(call: Call, done: None) -> None: ...
