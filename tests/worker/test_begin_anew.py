"""A process that was declared dead begins anew: what its last flush did is neither done again nor forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest

from tests.harness.cell import Cell, open_cell, until
from troth import TimedOut, Troth
from troth.base.errors import FencedError
from troth.journal import store
from troth.journal.model import Batch, Reply
from troth.worker import results
from troth.worker.node import Node

PATIENCE_S = 20.0


@pytest.fixture
async def cell(migrated: tuple[str, str]) -> AsyncIterator[Cell]:
    async with open_cell(*migrated) as made:
        yield made


async def declare_dead(cell: Cell, node: Node) -> None:
    """A peer has taken over, and the heart of the process hears of it."""
    await cell.value("SELECT {}.takeover(%s, NULL)", node.writer.worker)
    node.fenced(FencedError("declared dead by the test"))


class Untold:
    """The first flush that *chosen* picks is committed, and its answer never arrives."""

    def __init__(self, chosen: Callable[[Batch], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.committed = asyncio.Event()
        self._chosen = chosen
        self._flush = store.flush
        monkeypatch.setattr(store, "flush", self._steered)

    async def _steered(self, tx: Any, q: Any, worker: int, n: int, batch: Batch) -> Reply:
        reply = await self._flush(tx, q, worker, n, batch)
        if self._chosen(batch) and not self.committed.is_set():
            self.committed.set()
            await asyncio.Event().wait()
        return reply


async def test_a_message_that_was_heard_is_not_sent_again(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender is cut off while its flush is under way, and hears that it is dead before it hears what the flush answered."""
    troth, sender = (Troth(cell.url, schema=cell.schema) for _ in range(2))
    heard_one = asyncio.Event()

    @troth.step
    async def hear_one() -> None:
        heard_one.set()

    @troth.workflow
    async def listen() -> list[int]:
        first = await troth.receive("word", int)
        await hear_one()
        await troth.receive("go")
        second = await troth.receive("word", int, timeout=0)
        return [first] + ([] if isinstance(second, TimedOut) else [second])

    async with troth.worker(), sender.client():
        run = await troth.start(listen)
        untold = Untold(
            lambda batch: any(send.topic == "word" for send in batch.sends), monkeypatch
        )
        sending = asyncio.create_task(sender.send(run.id, "word", 1))
        await untold.committed.wait()
        async with asyncio.timeout(PATIENCE_S):
            await heard_one.wait()
            await declare_dead(cell, sender.node)
            await sending
        await troth.send(run, "go")
        assert await run.result(PATIENCE_S) == [1]


async def test_runs_that_are_gone_when_they_are_read_are_asked_for_with_pauses(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its claim and its look a worker was taken over, and has not heard of it yet: it does not ask without end."""
    starter, troth = (Troth(cell.url, schema=cell.schema) for _ in range(2))

    async def work() -> int:
        return 1

    troth.workflow(work)
    started = starter.workflow(work)

    asked: list[float] = []
    claimed_runs = store.claimed_runs

    async def gone_at_first(*args: Any) -> Any:
        asked.append(asyncio.get_running_loop().time())
        return await claimed_runs(*args) if len(asked) > 2 else []

    monkeypatch.setattr(store, "claimed_runs", gone_at_first)
    async with starter.client(), troth.worker():
        run = await starter.start(started)
        assert await run.result(PATIENCE_S) == 1
    assert len(asked) == 3
    assert all(after - before > 0.15 for before, after in pairwise(asked))


async def test_what_was_claimed_under_the_dead_id_is_not_taken_up(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer with the runs that it had claimed comes after it heard that it is dead, and before it has a new id."""
    starter, troth = (Troth(cell.url, schema=cell.schema) for _ in range(2))

    gate = asyncio.Event()

    for program in (starter, troth):

        @program.step
        async def look(n: int) -> int:
            await gate.wait()
            return n

        @program.workflow
        async def work(n: int) -> int:
            return await look(n)

    read, dead = asyncio.Event(), asyncio.Event()
    claimed_runs, register = store.claimed_runs, store.register

    async def held_back(*args: Any) -> Any:
        runs = await claimed_runs(*args)
        if runs and not read.is_set():
            read.set()
            await dead.wait()
        return runs

    async def is_loaded() -> bool:
        return troth.node.claims.loading == 0

    async def is_taken_up() -> bool:
        claims = await cell.value("SELECT claim FROM {}.run")
        return claims == 2 and await is_loaded() and bool(troth.node.engine.runs)

    async def registered_later(*args: Any, **kwargs: Any) -> int:
        if read.is_set():
            await until(is_loaded, "who asked has gone on")
        return await register(*args, **kwargs)

    async with starter.client(), troth.worker():
        monkeypatch.setattr(store, "claimed_runs", held_back)
        monkeypatch.setattr(store, "register", registered_later)
        run = await starter.start(starter.workflows["work"], 7)
        async with asyncio.timeout(PATIENCE_S):
            await read.wait()
            await declare_dead(cell, troth.node)
            dead.set()
            await until(is_taken_up, "it is claimed under the new id")
            gate.set()
            assert await run.result() == 7


async def test_an_end_that_nobody_was_told_of_is_found_at_once(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits here was promised that the end would be told, and so does not ask."""
    monkeypatch.setattr(results, "SWEEP_S", 1000.0)
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def work(n: int) -> int:
        return n

    async with troth.worker():
        untold = Untold(lambda batch: batch.ends, monkeypatch)
        run = await troth.start(work, 7)
        waiting = asyncio.create_task(run.result())
        await untold.committed.wait()
        await declare_dead(cell, troth.node)
        async with asyncio.timeout(PATIENCE_S):
            assert await waiting == 7
