"""Relays: what goes on in worker processes beside the runs."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from troth import Troth, UsageError
from troth.store.connect import connect_async
from troth.store.parts import Relay, Workplace

PATIENCE_S = 20.0


class Part:
    """Counts what it is asked to do."""

    def __init__(self, name: str = "counting", *, fails: int = 0) -> None:
        self.name = name
        self.channel = name
        self.connections = 1
        self.schema = ""
        self.fails = fails
        self.began = 0
        self.looked = asyncio.Queue[str]()

    def bind(self, schema: str) -> None:
        self.schema = schema

    @property
    def relays(self) -> Sequence[Relay]:
        return [self]

    async def work(self, place: Workplace) -> None:
        self.began += 1
        if self.began <= self.fails:
            raise RuntimeError("not today")
        while True:
            async with place.connections.connection() as connection:
                row = await (await connection.execute("SELECT 'looked'")).fetchone()
                assert row is not None
            self.looked.put_nowait(row[0])
            await place.alarm.wait(PATIENCE_S * 10)

    async def look(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.looked.get()


async def ring(url: str, channel: str) -> None:
    async with await connect_async(url) as connection:
        await connection.execute("SELECT pg_notify(%s, '')", (channel,))


async def test_a_worker_does_the_relay_s_work_and_hurries_when_told(
    migrated: tuple[str, str],
) -> None:
    url, schema = migrated
    troth = Troth(url, schema=schema)
    part = troth.include(Part())

    async with troth.worker():
        await part.look()  # at once
        await troth.node.bell.listening.wait()
        await part.look()  # since hints may have been lost before
        await ring(url, f"{schema}.counting")
        await part.look()

    assert part.schema == schema


async def test_a_client_has_no_relays(migrated: tuple[str, str]) -> None:
    url, schema = migrated
    troth = Troth(url, schema=schema)
    part = troth.include(Part())

    async with troth.client():
        await troth.node.bell.listening.wait()

    assert part.began == 0


async def test_a_relay_that_raises_is_called_again_and_its_traceback_is_shown(
    migrated: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    url, schema = migrated
    troth = Troth(url, schema=schema)
    part = troth.include(Part(fails=2))

    with caplog.at_level(logging.ERROR, "troth.worker"):
        async with troth.worker():
            await part.look()

    assert part.began == 3
    assert caplog.text.count("RuntimeError: not today") == 2


async def test_a_relay_stops_although_a_library_has_lost_its_cancellation(
    migrated: tuple[str, str],
) -> None:
    """As `asyncio.wait_for` of Python 3.11 may, in a pool: the exception is gone, and the relay goes on to rest."""
    url, schema = migrated
    troth = Troth(url, schema=schema)
    lost = asyncio.Event()

    class Deaf(Part):
        async def work(self, place: Workplace) -> None:
            while True:
                self.looked.put_nowait("looked")
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    lost.set()
                await place.alarm.wait(PATIENCE_S * 10)

    part = troth.include(Deaf())
    async with asyncio.timeout(PATIENCE_S):
        async with troth.worker():
            await part.look()
    assert lost.is_set()


def test_two_parts_of_one_kind_have_two_names() -> None:
    troth = Troth()
    first = Part("orders")
    assert troth.include(first) is first
    assert troth.include(first) is first
    with pytest.raises(UsageError, match="two of Part named orders"):
        troth.include(Part("orders"))
