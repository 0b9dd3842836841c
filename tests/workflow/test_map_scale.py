"""A mapping of 100,000 items: what it costs in memory, and that no journal grows with it."""

from __future__ import annotations

import asyncio
import logging
import time

import psutil
import pytest

from tests.workflow.place import Place
from troth import Mapped, Page, Troth
from troth.worker.node import NodeOptions

ITEMS, PAGE = 100_000, 1_000
GROWTH_MB = 100.0  # after the first tenth: what grows with the number of items would be far above
OPTIONS = NodeOptions(connections=4, threads=2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_hundred_thousand_items_in_bounded_memory(place: Place, troth: Troth) -> None:
    @troth.step
    async def numbers(cursor: int | None) -> Page[int, int]:
        start = cursor or 0
        after = start + PAGE
        return Page(list(range(start, after)), after if after < ITEMS else None)

    @troth.step
    async def double(n: int) -> int:
        return 2 * n

    @troth.workflow
    async def work(n: int) -> int:
        return await double(n)

    @troth.workflow
    async def outer() -> Mapped[int]:
        return await troth.map(work, numbers)

    process, began = psutil.Process(), time.monotonic()
    resident: list[tuple[int, float]] = []  # items done, MB
    async with troth.worker(OPTIONS):
        run = await troth.start(outer)

        async def watch() -> None:
            async for update in run.watch():
                done = (update.progress or {"done": 0})["done"]
                resident.append((done, process.memory_info().rss / 1e6))

        watching = asyncio.create_task(watch())
        mapped = await run.result(timeout=1700)
        took_s = time.monotonic() - began
        await watching
    assert mapped == Mapped(ITEMS, ITEMS, 0)
    warm = [mb for done, mb in resident if done >= ITEMS // 10]
    entries = place.rows(
        "SELECT h.workflow, count(DISTINCT h.id), max(c.entries), max(c.bytes) FROM {s}.run_history h JOIN"
        " (SELECT run_id, count(*) AS entries, sum(length(payload)) AS bytes FROM {s}.journal GROUP BY run_id) c"
        " ON c.run_id = h.id GROUP BY h.workflow ORDER BY h.workflow"
    )
    said = f"{ITEMS} items in {took_s:.0f} s; MB {warm[0]:.0f} -> {max(warm):.0f}; {entries}"
    logging.getLogger(__name__).warning("%s", said)  # `pytest -o log_cli=true` shows it
    assert max(warm) - warm[0] < GROWTH_MB
    assert all(longest < 1_000 for workflow, _, longest, _ in entries), entries
    assert place.value("SELECT count(*) FROM {s}.run_history WHERE workflow = 'work'") == ITEMS
    assert not place.rows("SELECT 1 FROM {s}.run")
