"""The database dies, hangs, and loses single connections, while runs are started and executed.

Whatever happens to it: no run is lost, none is done twice, and no living worker is taken for dead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.processes import Site, Worker
from tests.harness.postgres import PrivateServer, wait_until
from tests.harness.proxy import Cut, Proxy
from troth import Troth

log = logging.getLogger("chaos")

WORKERS = 2
STARTERS = 10
BETWEEN_KILLS = 40  # runs that end before the next blow, so that it hits people at work
RECOVERY_S = 25.0


class Load:
    """People who start runs and wait for their results, one after the other each."""

    def __init__(self, shop: Site) -> None:
        self._program = shop.program()
        self._tasks: list[asyncio.Task[None]] = []
        self._done = asyncio.Condition()
        self._stopping = False
        self.orders = 0
        self.baskets = 0
        self.ended = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The load is on inside; on leaving everybody gets the last result that they wait for."""
        async with self._program.troth.client() as troth:
            self._tasks = [asyncio.create_task(self._person(troth)) for _ in range(STARTERS)]
            try:
                yield
                self._stopping = True
                async with asyncio.timeout(2 * RECOVERY_S):
                    await asyncio.gather(*self._tasks)
            finally:
                for task in self._tasks:
                    task.cancel()

    async def progress(self, runs: int) -> None:
        """Wait until that many more runs have ended."""
        goal = self.ended + runs
        async with asyncio.timeout(RECOVERY_S), self._done:
            await self._done.wait_for(
                lambda: self.ended >= goal or any(t.done() for t in self._tasks)
            )
        for task in self._tasks:
            if task.done():
                task.result()

    async def _person(self, troth: Troth) -> None:
        while not self._stopping:
            if (self.orders + self.baskets) % 4 == 3:
                self.baskets += 1
                n = -self.baskets
                run_basket = await troth.start(self._program.basket, n, key=f"basket-{n}")
                assert len(await run_basket.result()) == 3
            else:
                self.orders += 1
                n = self.orders
                run = await troth.start(self._program.order, n, key=f"order-{n}")
                assert await run.result() == f"charge-{n}-{n * 100 + 1}:box-{n}/{n}"
            async with self._done:
                self.ended += 1
                self._done.notify_all()


def assert_kept(shop: Site, load: Load, workers: list[Worker]) -> None:
    """All that was started has ended, once; every body counts once; the workers are who they were."""
    runs = load.orders + load.baskets
    assert shop.rows("SELECT state::text, count(*) FROM {s}.run_history GROUP BY 1") == [
        ("succeeded", runs)
    ]
    assert shop.value("SELECT count(*) FROM {s}.run") == 0
    assert shop.rows("SELECT count(*), count(DISTINCT n) FROM reservation WHERE n > 0") == [
        (load.orders, load.orders)
    ]
    assert shop.rows(
        "SELECT count(*), count(DISTINCT (n, price)) FROM reservation WHERE n < 0"
    ) == [(3 * load.baskets, 3 * load.baskets)]
    assert len(shop.calls()) == load.orders + 3 * load.baskets
    assert set(shop.calls().values()) == {1}
    # No living worker was taken for dead: it would have come back under another id.
    assert shop.workers() == {worker.id for worker in workers}


async def start_workers(
    shop: Site, *, url: str | None = None, lease_s: float = 5.0
) -> list[Worker]:
    return [
        await asyncio.to_thread(shop.worker, url=url, options={"lease_s": lease_s})
        for _ in range(WORKERS)
    ]


# ── the server is killed ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(6.0, marks=pytest.mark.slow),
        pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
async def test_the_server_is_killed_again_and_again(
    frail_shop: Site, server: PrivateServer, seconds: float
) -> None:
    workers = await start_workers(frail_shop)
    load = Load(frail_shop)
    until = time.monotonic() + seconds
    kills = 0
    async with load.running():
        while time.monotonic() < until:
            await load.progress(BETWEEN_KILLS)
            await asyncio.to_thread(server.kill9)
            await asyncio.to_thread(server.start)
            kills += 1
        await load.progress(BETWEEN_KILLS)
    log.info("%d kills, %d orders, %d baskets", kills, load.orders, load.baskets)
    assert kills >= 2
    assert_kept(frail_shop, load, workers)


# ── the server hangs ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seconds", [7.0, pytest.param(20.0, marks=pytest.mark.slow)])
async def test_the_server_hangs_for_longer_than_a_lease(
    frail_shop: Site, server: PrivateServer, seconds: float
) -> None:
    workers = await start_workers(frail_shop)
    load = Load(frail_shop)
    async with load.running():
        await load.progress(BETWEEN_KILLS)
        await asyncio.to_thread(server.sigstop)
        try:
            # Nothing can happen meanwhile, so waiting for something is waiting for the time to pass.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(load.progress(10_000), seconds)
        finally:
            await asyncio.to_thread(server.sigcont)
        await load.progress(BETWEEN_KILLS)
    assert_kept(frail_shop, load, workers)


# ── connections are cut ─────────────────────────────────────────────────────────────────────────


STATEMENTS = ["COMMIT", ".flush(", ".finish_step(", ".beat("]


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(400)])]
)
async def test_connections_are_cut_also_during_commit(shop: Site, cut: Cut, rounds: int) -> None:
    """At each statement that matters: the client sees a lost connection, and cannot know more."""
    async with Proxy(shop.url) as proxy:
        workers = await start_workers(shop, url=proxy.url)
        load = Load(shop)
        async with load.running():
            for _ in range(rounds):
                for statement in STATEMENTS:
                    await proxy.cut(statement, cut).happened()
                    await load.progress(STARTERS)
        assert_kept(shop, load, workers)


async def test_every_connection_is_cut_at_once_and_nobody_is_declared_dead(shop: Site) -> None:
    workers = await start_workers(shop, lease_s=2.0)
    load = Load(shop)
    async with load.running():
        for _ in range(2):
            await load.progress(BETWEEN_KILLS)
            shop.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'troth'"
            )
        await load.progress(BETWEEN_KILLS)
    assert_kept(shop, load, workers)


async def test_workers_that_cannot_reach_the_database_come_back_by_themselves(
    frail_shop: Site, server: PrivateServer
) -> None:
    workers = await start_workers(frail_shop, lease_s=2.0)
    await asyncio.to_thread(server.kill9)
    await asyncio.to_thread(
        wait_until,
        lambda: all(w.log.read_text().count("no heartbeat") >= 8 for w in workers),
        "both have missed eight heartbeats, where five are a lease",
    )
    await asyncio.to_thread(server.start)
    load = Load(frail_shop)
    async with load.running():
        await load.progress(BETWEEN_KILLS)
    assert_kept(frail_shop, load, workers)
