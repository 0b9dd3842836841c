"""A schema with schedules, relays that a test moves by hand, and the rows that they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import sql

from troth import Troth
from troth.base.ids import new_id
from troth.schedule import Schedules
from troth.schedule.relay import ScheduleRelay
from troth.store.connect import AsyncConnection, connect_async


class Desk:
    """One schema: a session to act in, and eyes."""

    def __init__(self, url: str, schema: str, tx: AsyncConnection) -> None:
        self.url, self.schema, self.tx = url, schema, tx

    def program(self) -> tuple[Troth, Schedules]:
        """A program without workflows yet."""
        troth = Troth(self.url, schema=self.schema)
        return troth, troth.include(Schedules(troth))

    async def look(self, schedules: Schedules, tx: AsyncConnection | None = None) -> float:
        """What a worker of this program does when it looks."""
        (relay,) = schedules.relays
        assert isinstance(relay, ScheduleRelay)
        return await relay.look(tx or self.tx)

    async def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Ask the database; `{}` is the schema."""
        text = sql.SQL(query).format(sql.Identifier(self.schema))  # type: ignore[arg-type]
        cursor = await self.tx.execute(text, params)
        return await cursor.fetchall() if cursor.description else []

    async def now(self) -> datetime:
        return (await self.rows("SELECT clock_timestamp()"))[0][0]

    async def due(self, name: str, ago: timedelta = timedelta(seconds=1)) -> datetime:
        """Its next firing was so long ago; to the minute, if it is more."""
        at = await self.now() - ago
        if ago >= timedelta(minutes=1):
            at = at.replace(second=0, microsecond=0)
        await self.rows(
            "UPDATE {}.schedule SET next_at = %s, look_at = %s WHERE name = %s", at, at, name
        )
        return at

    async def history(self, name: str) -> list[tuple[str, UUID | None]]:
        return await self.rows(
            "SELECT result, run FROM {}.schedule_firing WHERE schedule = %s ORDER BY n", name
        )

    async def results(self, name: str) -> list[str]:
        return [result for result, _ in await self.history(name)]

    async def inputs(self) -> list[bytes]:
        return [bytes(row[0]) for row in await self.rows("SELECT input FROM {}.run ORDER BY id")]

    async def next_at(self, name: str) -> datetime | None:
        return (await self.rows("SELECT next_at FROM {}.schedule WHERE name = %s", name))[0][0]

    async def ends(self, run: UUID | None) -> None:
        """A run ends, as far as the table of what is alive shows."""
        await self.rows("DELETE FROM {}.run WHERE id = %s", run)

    async def goes_on(self, run: UUID | None) -> None:
        """A run ends by going on as another one."""
        await self.rows(
            "WITH gone AS (UPDATE {}.run SET id = %s WHERE id = %s RETURNING *)"
            " INSERT INTO {}.run_history (id, workflow, key, input, state, claim, starts_at, continued)"
            " SELECT %s, workflow, key, input, 'succeeded', claim, starts_at, id FROM gone".replace(
                "{}", self.schema
            ),
            new_id(), run, run,
        )  # fmt: skip


@pytest.fixture
async def desk(migrated: tuple[str, str]) -> AsyncIterator[Desk]:
    url, schema = migrated
    async with await connect_async(url) as tx:
        yield Desk(url, schema, tx)


@pytest.fixture
def ticking(desk: Desk) -> Callable[..., Schedules]:
    """A program with one declared schedule, `tick`."""

    def make(cron: str = "0 0 1 1 *", **options: Any) -> Schedules:
        troth, schedules = desk.program()

        @schedules.every(cron, **options)
        @troth.workflow
        async def tick() -> None: ...

        return schedules

    return make
