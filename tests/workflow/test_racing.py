"""Limits and races: what won stays the winner in every replay, and what lost is followed as in a cancelled run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Refused, RunCancelledError, TimedOut, Troth, UsageError
from troth.base import codec
from troth.workflow.runloop import current_branch


async def test_a_limit_ends_its_block_and_a_replay_ends_it_there_again(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> list[Any]:
        told: list[Any] = []
        try:
            async with troth.timeout(0.2) as limit:
                await troth.receive("never", int)
        except TimeoutError:
            told.append(limit.expired)
        async with troth.timeout(3600) as limit:
            told.append(await troth.receive("now", str))
        told.append(limit.expired)
        await troth.sleep(1.5)  # leaves memory, though the second limit has an hour to go
        return told

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await troth.send(run, "now", "heard")
        assert await soon(run.result()) == [True, "heard", False]
    assert place.results(run.id) == ["timeout", "receive.now", "sleep"]
    assert place.value("SELECT claim FROM {s}.run_history WHERE id = %s", run.id) == 2


async def test_a_limit_of_a_month_is_a_row(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> str:
        try:
            async with troth.timeout(30 * 86400):
                return await troth.receive("t", str)
        except TimeoutError:
            return "a month has passed"

    async with troth.worker(QUICK):
        run = await troth.start(work)
        runs = troth.node.engine.runs
        await place.until_state(run, "waiting")
        await place.until(lambda: not runs, "its memory is free")
    place.rows(
        "UPDATE {s}.journal SET payload = %s WHERE run_id = %s AND path = 'timeout'",
        codec.encode(1.0),
        run.id,
    )
    place.rows("UPDATE {s}.run SET wake_at = now() WHERE id = %s", run.id)
    async with troth.worker(QUICK):
        assert await soon(run.result()) == "a month has passed"


async def test_a_limit_that_is_not_caught_is_a_bug_and_not_an_answer(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> None:
        async with troth.timeout(0):
            await troth.receive("never", int)

    async with troth.worker(QUICK):
        reason, detail = await place.attention(await troth.start(work))
    assert reason == "bug"
    assert "not ended within 0 s" in detail["message"]


async def test_a_cancellation_inside_a_limit_stays_a_cancellation(
    place: Place, troth: Troth
) -> None:
    @troth.workflow
    async def work() -> None:
        async with troth.timeout(3600):
            await troth.receive("never", int)

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await place.until_state(run, "waiting")
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await soon(run.result())


async def test_cancelled_while_a_limit_passes_ends_in_one_of_two_ways(
    place: Place, troth: Troth
) -> None:
    """Whichever comes first, the run ends, and as the journal says: cancelled, since it was accepted before the end."""

    @troth.workflow
    async def work() -> str:
        try:
            async with troth.timeout(0.05):
                await troth.receive("never", int)
        except TimeoutError:
            await troth.receive("hold", int, timeout=0.05)
        return "expired"

    async def once() -> None:
        run = await troth.start(work)
        await run.cancel()
        with pytest.raises(RunCancelledError):
            await soon(run.result())
        assert place.value("SELECT state::text FROM {s}.run_history WHERE id = %s", run.id) == (
            "cancelled"
        )

    async with troth.worker(QUICK):
        await asyncio.gather(*(once() for _ in range(30)))


async def test_a_message_against_a_limit_is_heard_or_stays(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> str:
        try:
            async with troth.timeout(0.02):
                return await troth.receive("t", str)
        except TimeoutError:
            return "late " + await troth.receive("t", str)

    async def once(n: int) -> str:
        run = await troth.start(work)
        await troth.send(run, "t", str(n))
        result: str = await soon(run.result())
        return result

    async with troth.worker(QUICK):
        told = await asyncio.gather(*map(once, range(50)))
    assert [text.removeprefix("late ") for text in told] == [str(n) for n in range(50)]
    assert place.rows("SELECT * FROM {s}.message") == []


async def test_the_first_wins_and_the_losers_are_cancelled_and_waited_for(
    place: Place, troth: Troth
) -> None:
    ended: list[str] = []

    async def slow() -> str:
        try:
            return await troth.receive("never", str)
        finally:
            ended.append("slow")

    @troth.workflow
    async def work() -> list[Any]:
        number, value = await troth.first(slow(), troth.receive("t", str), troth.sleep(3600))
        told = [number, value, ended[-1]]
        await troth.sleep(1.5)
        return told

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await troth.send(run, "t", "heard")
        assert await soon(run.result()) == [1, "heard", "slow"]
    assert place.results(run.id) == ["receive.t", "sleep#2"]


async def test_the_failure_of_the_first_is_raised_and_a_loser_s_answer_is_dropped(
    troth: Troth,
) -> None:
    async def refuses() -> None:
        raise Refused("no")

    async def loses() -> None:
        try:
            await troth.receive("never", str)
        finally:
            raise Refused("too late")

    @troth.workflow
    async def work() -> str:
        number, _ = await troth.first(loses(), troth.sleep(0))
        try:
            await troth.first(refuses(), troth.sleep(3600))
        except Refused as no:
            return f"{number} {no}"
        return "?"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == "1 no"


async def test_as_completed_is_in_the_recorded_order(place: Place, troth: Troth) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    @troth.step
    async def wait(n: int) -> int:
        await gates[n].wait()
        return n

    @troth.workflow
    async def work() -> list[list[int]]:
        order = []
        async for number, value in troth.as_completed(*(wait(n) for n in range(3))):
            order.append([number, value])
        await troth.sleep(1.5)
        return order

    async with troth.worker(QUICK):
        run = await troth.start(work)
        for count, n in enumerate((2, 0, 1), 1):
            gates[n].set()
            while len(place.results(run.id)) < count:  # noqa: ASYNC110  (each look is a query)
                await asyncio.sleep(0)
        assert await soon(run.result()) == [[2, 2], [0, 0], [1, 1]]


async def test_a_racing_receive_that_lost_leaves_its_message(place: Place, troth: Troth) -> None:
    @troth.workflow
    async def work() -> str:
        await troth.first(troth.receive("a", str), troth.receive("b", str))
        nothing = await troth.receive("b", str, timeout=30)
        assert not isinstance(nothing, TimedOut)
        return nothing

    async with troth.worker(QUICK):
        await troth.send("k", "a", "1")
        await troth.send("k", "b", "2")
        run = await troth.start(work, key="k")
        assert await soon(run.result()) == "2"


async def test_a_loop_of_limits_holds_no_memory(place: Place, troth: Troth) -> None:
    @troth.step
    async def quick() -> None: ...

    held: list[int] = []

    @troth.workflow
    async def work() -> None:
        for _ in range(50):
            async with troth.timeout(3600):
                await quick()
            branch = current_branch.get()
            assert branch is not None
            held.append(len(branch.run.calls))

    async with troth.worker(QUICK):
        run = await troth.start(work)
        await soon(run.result())
    assert max(held) <= 2
    assert "timeout" not in place.results(run.id)


async def test_limits_are_entered_once_and_races_have_racers(troth: Troth) -> None:
    @troth.workflow
    async def work() -> str:
        with pytest.raises(UsageError, match="something to wait for"):
            await troth.first()
        limit = troth.timeout(60)
        async with limit:
            pass
        with pytest.raises(UsageError, match="entered once"):
            async with limit:
                pass
        return "refused"

    async with troth.worker(QUICK):
        assert await soon((await troth.start(work)).result()) == "refused"
