"""DBOS Transact, in one process: `python -m bench.system_dbos URL SIZE…` prints the figures of one round as JSON.

As its documentation advises: async workflows and steps, a queue with a short polling interval, logging kept quiet.
Concurrency is 50, at which it is fastest here; at 200 it stalls.
"""

from __future__ import annotations

import asyncio
import json
import sys

from dbos import DBOS

from bench.workloads import Size, measure

DBOS(
    config={
        "name": "bench",
        "system_database_url": sys.argv[1],
        "log_level": "ERROR",
    }
)


@DBOS.step()
async def increment(number: int) -> int:
    return number + 1


@DBOS.workflow()
async def sequential(steps: int) -> int:
    number = 0
    for _ in range(steps):
        number = await increment(number)
    return number


class DbosSystem:
    """Client and worker in this process."""

    def __init__(self) -> None:
        self._handles = []

    async def run_steps(self, steps: int) -> int:
        handle = await DBOS.start_workflow_async(sequential, steps)
        result = await handle.get_result()
        assert result == steps
        return result

    async def enqueue(self, count: int) -> None:
        # Nobody serves the queue yet: it is registered when the drain begins.
        self._handles = [
            await DBOS.enqueue_workflow_async("bench", sequential, 1) for _ in range(count)
        ]

    async def drained(self) -> None:
        await DBOS.register_queue_async("bench", polling_interval_sec=0.05)
        await asyncio.gather(*(handle.get_result() for handle in self._handles))


async def main() -> None:
    DBOS.launch()
    try:
        print(json.dumps(await measure(DbosSystem(), Size(*map(int, sys.argv[2:])))))
    finally:
        DBOS.destroy()


asyncio.run(main())
