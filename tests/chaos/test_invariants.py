"""What running costs: commits per run, and memory per waiting run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from tests.chaos.processes import Site
from tests.harness.postgres import wait_until
from troth.worker.node import Node, NodeOptions

log = logging.getLogger("chaos")

STEPS = 10


async def test_a_run_of_ten_steps_alone_costs_at_most_eleven_commits(shop: Site) -> None:
    program = shop.program()
    async with program.troth.worker(NodeOptions(lease_s=30)) as troth:
        writer = troth.node.writer
        await quiet(troth.node)
        before = writer.flushes
        run = await troth.start(program.ten_steps, 1)
        await run.result(timeout=20)
        commits = writer.flushes - before
    log.info("%d durable commits for %d steps", commits, STEPS)
    assert STEPS <= commits <= STEPS + 1


async def test_runs_together_share_their_commits(shop: Site) -> None:
    runs = 200
    program = shop.program()
    async with program.troth.worker(NodeOptions(lease_s=30)) as troth:
        writer = troth.node.writer
        before = writer.flushes
        started = await asyncio.gather(*(troth.start(program.ten_steps, n) for n in range(runs)))
        for run in started:
            await run.result(timeout=30)
        commits = writer.flushes - before
    log.info("%.2f durable commits a run, %d runs at once", commits / runs, runs)
    assert commits / runs < 1


async def quiet(node: Node) -> None:
    """Wait until a new worker has begun to listen, and the look for work that follows is over."""
    await node.bell.listening.wait()
    done = asyncio.Event()
    node.writer.touch().after.append(done.set)
    await done.wait()


@pytest.mark.parametrize(
    ("runs", "limit_mb"),
    [
        (5_000, 30.0),
        pytest.param(100_000, 40.0, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
async def test_waiting_runs_cost_rows_and_no_memory(
    shop: Site, runs: int, limit_mb: float, record_property: Callable[[str, object], None]
) -> None:
    """Half of them sleep for a day, half wait for a message; then some are woken, and go on."""
    worker = await asyncio.to_thread(shop.worker, options={"lease_s": 10.0})
    empty_mb = worker.resident_mb()
    program = shop.program()
    async with program.troth.client() as troth:
        for first in range(0, runs, 1000):
            await asyncio.gather(
                *(troth.start(program.doze, n) for n in range(first, first + 1000))
            )
        await asyncio.to_thread(
            wait_until,
            lambda: (
                shop.value("SELECT count(*) FROM {s}.run WHERE state = 'waiting' AND owner IS NULL")
                == runs
            ),
            f"{runs} runs wait",
            30.0 + runs / 200,
        )
        waiting_mb = worker.resident_mb()
        assert (await asyncio.to_thread(worker.report))["runs"] == 0

        sleepy = shop.rows("SELECT id FROM {s}.run WHERE wake_at < 'infinity' ORDER BY id LIMIT 20")
        for (run_id,) in sleepy[::2]:
            await troth.send(run_id, "wake", "now")
        await asyncio.to_thread(shop.wait_ended, 10)
    record_property("MB with all runs waiting", waiting_mb)
    log.info("%d waiting runs: %.0f MB, %.0f MB before", runs, waiting_mb, empty_mb)
    assert waiting_mb - empty_mb < limit_mb
    assert worker.resident_mb() - empty_mb < limit_mb
    assert shop.rows("SELECT DISTINCT outcome FROM {s}.run_history") == [(b'"now"',)]
