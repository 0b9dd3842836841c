"""Workers forget what has expired, and nothing else."""

from __future__ import annotations

import asyncio

from tests.harness.cell import open_cell, until
from troth.command.perform import Requests
from troth.store.connect import pool_async
from troth.store.parts import Workplace


class Silent:
    """An alarm that never rings, and says that it was asked."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        assert seconds > 3000
        self.asked.set()
        await asyncio.Event().wait()


async def test_what_has_expired_is_deleted(migrated):
    url, schema = migrated
    requests = Requests("api")
    requests.bind(schema)
    pool = pool_async(url, 0, 1)
    await pool.open()
    async with open_cell(url, schema) as cell:
        await cell.rows(
            "INSERT INTO {}.request (id, name, caller, method, route, salt, parts, status, expires_at)"
            " SELECT int4send(n), '', '', '', '', '', '', 200, clock_timestamp() + make_interval(hours => n)"
            " FROM generate_series(-2500, 3) AS n"
        )
        alarm = Silent()
        [relay] = requests.relays
        task = asyncio.create_task(relay.work(Workplace(pool, alarm)))

        async def rests() -> bool:
            if task.done():
                task.result()
            return alarm.asked.is_set()

        await until(rests, "it rests")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await cell.value("SELECT count(*) FROM {}.request") == 3
    await pool.close()
