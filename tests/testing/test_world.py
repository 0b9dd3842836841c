"""A worker with a virtual clock: one time for the process and the database, each thing at its moment."""

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from troth import Call, Provider, Rate, Retry, TimedOut, Troth, Tx, Workflow
from troth.testing import Worker
from troth.testing.world import NotSettledError

DAY = timedelta(days=1)


async def test_thirty_days_pass_in_a_moment_and_every_clock_agrees(troth: Troth) -> None:
    @troth.transaction
    async def what_time(tx: Tx) -> list[float]:
        row = await (
            await tx.execute(
                "SELECT extract(epoch FROM now()), extract(epoch FROM clock_timestamp())"
            )
        ).fetchone()
        assert row is not None
        return [float(row[0]), float(row[1])]

    @troth.workflow
    async def wait() -> list[float]:
        begun = troth.now().timestamp()
        await troth.sleep(30 * DAY)
        return [begun, troth.now().timestamp(), *await what_time()]

    real = time.monotonic()
    async with Worker(troth) as world:
        run = await world.start(wait)
        await world.advance(timedelta(days=29, hours=23))
        with pytest.raises(TimeoutError):
            await run.result(timeout=0.05)
        await world.advance(timedelta(hours=1))
        begun, told, in_transaction, now = await run.result(timeout=1)
        assert abs(world.now() - datetime.now(UTC) - 30 * DAY) < timedelta(minutes=1)
    for later in (told, in_transaction, now):
        assert 30 * 86400 <= later - begun < 30 * 86400 + 5
    assert time.monotonic() - real < 20


async def test_many_sleeps_end_each_at_its_time_in_one_advance(troth: Troth) -> None:
    @troth.workflow
    async def month() -> list[float]:
        times = []
        for _ in range(30):
            await troth.sleep(DAY)
            times.append(troth.now().timestamp())
        return times

    async with Worker(troth) as world:
        times = await world.run(month, within=timedelta(days=31))
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(86400 <= step < 86405 for step in steps)


async def test_two_runs_happen_in_the_order_of_their_times(troth: Troth) -> None:
    order: list[str] = []

    @troth.step
    async def say(what: str) -> None:
        order.append(what)

    @troth.workflow
    async def wait(days: int) -> None:
        await troth.sleep(days * DAY)
        await say(f"day {days}")

    async with Worker(troth) as world:
        for days in (20, 5, 10):
            await world.start(wait, days)
        await world.start(wait, 0, at=world.now() + 7 * DAY)
        await world.advance(30 * DAY)
    assert order == ["day 5", "day 0", "day 10", "day 20"]


async def test_a_receive_times_out_in_virtual_time_and_a_message_ends_it_before(
    troth: Troth,
) -> None:
    @troth.workflow
    async def approval() -> str:
        said = await troth.receive("approved", str, timeout=30 * DAY)
        return "nobody" if isinstance(said, TimedOut) else said

    async with Worker(troth) as world:
        first, second = await world.start(approval), await world.start(approval)
        await world.advance(29 * DAY)
        await world.send(first, "approved", "Ada")
        assert await first.result(timeout=1) == "Ada"
        await world.advance(2 * DAY)
        assert await second.result(timeout=1) == "nobody"


async def test_retries_and_rates_wait_in_virtual_time(troth: Troth) -> None:
    tries: list[float] = []
    provider = Provider("bank", key_lifetime=DAY, rate=Rate(1, timedelta(hours=1)))
    world = Worker(troth)

    @troth.effect(provider=provider, timeout=5, retry=Retry(attempts=3, first=timedelta(hours=3)))
    async def pay(call: Call) -> int:
        tries.append(world.now().timestamp())
        if len(tries) < 3:
            raise ConnectionRefusedError
        return call.attempt

    @troth.workflow
    async def payout() -> int:
        return await pay()

    async with world:
        assert await world.run(payout, within=timedelta(days=2)) == 3
    assert all(later - earlier > 3600 for earlier, later in itertools.pairwise(tries))


async def test_a_step_that_is_at_work_is_waited_for_and_named_if_it_does_not_end(
    troth: Troth,
) -> None:
    gate = asyncio.Event()

    @troth.step
    async def slow() -> None:
        await gate.wait()

    @troth.workflow
    async def wait() -> None:
        await slow()

    async with Worker(troth, patience=0.2) as world:
        run = await world.start(wait)
        with pytest.raises(NotSettledError, match="slow of run"):
            await world.settle()
        gate.set()
        await world.settle()
        await run.result(timeout=1)


async def test_the_schema_is_its_own_and_is_dropped(troth: Troth, database_url: str) -> None:
    def schemas() -> set[str]:
        with psycopg.connect(database_url) as session:
            rows = session.execute("SELECT nspname FROM pg_namespace").fetchall()
        return {name for (name,) in rows}

    before = schemas()
    async with Worker(troth) as world:
        assert troth.schema == world.schema
        assert {world.schema, f"{world.schema}_time"} <= schemas()
    assert schemas() == before
    assert (troth.schema, troth.url) == ("troth", database_url)


async def test_other_code_goes_on_at_the_same_time(troth: Troth) -> None:
    def code(version: str) -> tuple[Troth, Workflow[[], list[str]]]:
        made = Troth(troth.url, schema=troth.schema)

        @made.workflow
        async def wait() -> list[str]:
            begun = made.now()
            await made.sleep(10 * DAY)
            return [version, str((made.now() - begun).days)]

        return made, wait

    (older, old_wait), (newer, new_wait) = code("old"), code("new")
    async with Worker(older) as world:
        across = await world.start(old_wait)
        await world.advance(4 * DAY)
        at = world.now()
        await world.deploy(newer)
        assert timedelta(0) <= world.now() - at < timedelta(minutes=1)
        begun = await world.start(new_wait)
        await world.advance(7 * DAY)
        assert await newer.run(across.id).result(timeout=1) == ["new", "10"]
        await world.advance(4 * DAY)
        assert await begun.result(timeout=1) == ["new", "10"]
