"""What is measured, the same for every system: a system is a few callables, and this drives them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol


class System(Protocol):
    """One durable execution system, ready to run."""

    async def run_steps(self, steps: int) -> int:
        """Start a workflow of so many sequential one-line steps, and wait for its result."""

    async def enqueue(self, count: int) -> None:
        """Leave one-step runs for a worker, durably, without executing them."""

    async def drained(self) -> None:
        """Let the worker execute what is queued; return when all of it has ended."""


@dataclass(frozen=True)
class Size:
    """How much work a round does; peers get less, since rates are compared."""

    one_step: int
    ten_step: int
    single: int
    queued: int
    concurrency: int = 200


async def measure(system: System, size: Size) -> dict[str, float]:
    """One round of every workload."""
    await _flood(lambda: system.run_steps(1), size.concurrency, size.concurrency)  # warm
    figures: dict[str, float] = {}
    rate = await _flood(lambda: system.run_steps(1), size.one_step, size.concurrency)
    figures["one-step runs/s"] = rate
    rate = await _flood(lambda: system.run_steps(10), size.ten_step, size.concurrency)
    figures["ten-step steps/s"] = rate * 10
    times = await _one_by_one(lambda: system.run_steps(1), size.single)
    figures["start to result, median ms"] = statistics.median(times) * 1000
    figures["start to result, p99 ms"] = statistics.quantiles(times, n=100)[98] * 1000
    one = statistics.median(times)
    ten = statistics.median(await _one_by_one(lambda: system.run_steps(10), size.single))
    figures["sequential step, ms"] = (ten - one) / 9 * 1000
    await system.enqueue(size.queued)
    began = time.perf_counter()
    await system.drained()
    figures["drain of a queue, runs/s"] = size.queued / (time.perf_counter() - began)
    return figures


async def _flood(run: Callable[[], Awaitable[int]], count: int, concurrency: int) -> float:
    """Runs per second with so many at a time."""
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            await run()

    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(concurrency)))
    return count / (time.perf_counter() - began)


async def _one_by_one(run: Callable[[], Awaitable[int]], count: int) -> list[float]:
    """Seconds of each of *count* runs, one at a time."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await run()
        times.append(time.perf_counter() - began)
    return times
