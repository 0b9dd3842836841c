"""An idle system is silent but for its heartbeats, and heartbeats alone decide who is dead."""

from __future__ import annotations

import asyncio
import logging
import threading

import psycopg
import pytest

from tests.harness.cell import Cell, until
from troth import Troth
from troth.journal import membership
from troth.journal.rules import PeerWatch
from troth.store.migrate import migrate
from troth.worker.node import _BEATS_PER_LEASE, NodeOptions

# (what happens, looks as (seconds, [(id, beat, lease)]), who is dead at the last look)
LIVES = [
    ("a beat that moves is a life", [(t, [(1, t, 3.0)]) for t in range(10)], []),
    ("a lease of silence is a death", [(t, [(1, 7, 3.0)]) for t in range(4)], [(1, 7)]),
    ("less than a lease is none", [(t, [(1, 7, 3.0)]) for t in range(3)], []),
    ("a peer that was never seen begins at nothing", [(0, []), (50, [(1, 7, 3.0)])], []),
    ("an outage of our own counts as one look", [(0, [(1, 7, 3.0)]), (1000, [(1, 7, 3.0)])], []),
    (
        "nobody is dead at the first look after everybody's outage",
        [(0, [(1, 7, 3.0), (2, 9, 3.0)]), (1, [(1, 8, 3.0), (2, 10, 3.0)]), (500, [(1, 8, 3.0), (2, 10, 3.0)])],
        [],
    ),
    (
        "who stays silent after the outage dies, who comes back lives",
        [
            (0, [(1, 7, 3.0), (2, 9, 3.0)]),
            (500, [(1, 7, 3.0), (2, 9, 3.0)]),
            (501, [(1, 8, 3.0), (2, 9, 3.0)]),
        ],
        [(2, 9)],
    ),
    (
        "each has a lease of its own",
        [(t, [(1, 7, 3.0), (2, 9, 60.0)]) for t in range(4)],
        [(1, 7)],
    ),
    (
        "a beat in time takes the silence back",
        [(0, [(1, 7, 3.0)]), (1, [(1, 7, 3.0)]), (2, [(1, 8, 3.0)]), (3, [(1, 8, 3.0)]), (4, [(1, 8, 3.0)])],
        [],
    ),
    ("who has left is not dead", [(0, [(1, 7, 3.0)]), (1, []), (2, []), (3, []), (4, [])], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("looks", "dead"), [life[1:] for life in LIVES], ids=[life[0] for life in LIVES]
)
def test_who_is_dead(looks, dead):
    """Finding 17: everybody declared everybody dead after an outage. Silence counts only while we reach the database."""
    watch = PeerWatch(interval_s=1.0)
    verdicts = [watch.observe(float(at), peers) for at, peers in looks]
    assert verdicts[-1] == dead
    assert not any(verdicts[:-1])


async def test_after_an_outage_nobody_is_declared_dead(server):
    """Finding 17, on a server that was frozen for several leases: all workers are the same as before."""
    await asyncio.to_thread(migrate, server.url, "troth")
    options = NodeOptions(lease_s=0.5)
    one, two = Troth(server.url), Troth(server.url)
    async with one.worker(options):
        heart = one.node._heart
        other = asyncio.create_task(
            asyncio.to_thread(
                asyncio.run,
                second(two, options, stop := asyncio.Event(), asyncio.get_running_loop()),
            )
        )
        await until(lambda: beaten(heart, 5), "they beat")
        before = one.node.writer.worker
        server.sigstop()
        await until(lambda: silent(heart), "the heart is stuck in the frozen server")
        server.sigcont()
        seen = heart.beats
        await until(lambda: beaten(heart, seen + 8), "more than a lease has passed since")
        assert one.node.writer.worker == before
        stop.set()
        assert await other


async def second(troth: Troth, options: NodeOptions, stop: asyncio.Event, loop) -> bool:
    """The other worker, in a loop of its own; was it the same all the time?"""
    async with troth.worker(options):
        before = troth.node.writer.worker
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(stop.wait(), loop))
        return troth.node.writer.worker == before


async def beaten(heart, times: int) -> bool:
    return heart.beats >= times


_silences: dict[int, tuple[int, float]] = {}


async def silent(heart) -> bool:
    """Three leases have passed without a beat."""
    now = asyncio.get_running_loop().time()
    beats, since = _silences.setdefault(id(heart), (heart.beats, now))
    if beats != heart.beats:
        _silences[id(heart)] = (heart.beats, now)
    return beats == heart.beats and now - since > 1.5


async def test_an_idle_worker_does_nothing_but_beat(cell):
    """No polling: between two heartbeats an idle worker with a waiting run executes no statement at all."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w() -> None:
        await troth.receive("never")

    async with troth.worker(NodeOptions(lease_s=1.0)) as opened:
        run = await troth.start(w)

        async def waits() -> bool:
            return await cell.run(run.id) == ("waiting", None)

        await until(waits, "it waits")
        heart = opened.node._heart
        assert heart is not None
        settled = heart.beats + 2  # what followed from the start is over
        await until(lambda: beaten(heart, settled), "settled")
        since, began = heart.beats, await statements(cell)
        await until(lambda: beaten(heart, since + 8), "eight heartbeats")
        beats, ended = heart.beats - since, await statements(cell)
    assert set(ended) == set(began)
    active = {text for (pid, text), at in ended.items() if began[pid, text] != at}
    assert len(active) == 1
    assert ".beat(" in active.pop()
    assert beats >= 8


async def statements(cell: Cell) -> dict[tuple[int, str], object]:
    """The latest statement of every session of this schema, and when it began."""
    query = (
        "SELECT pid, query, query_start FROM pg_stat_activity"
        " WHERE strpos(query, %s) > 0 AND pid <> pg_backend_pid()"
    )
    return {(pid, text): at for pid, text, at in await cell.rows(query, cell.schema)}


def test_an_idle_worker_sends_sixty_statements_a_minute():
    """The number that the documentation states, from the options that a worker has by default."""
    assert 60 * _BEATS_PER_LEASE / NodeOptions().lease_s == 60


async def test_a_blocked_event_loop_is_named_and_gives_its_lease_up(cell, monkeypatch):
    """The heart has a thread of its own: it names the frame that blocks the loop, and after the limit it beats no more."""
    monkeypatch.setattr(membership, "BLOCK_WARNING_S", 0.1)
    said: list[str] = []
    given_up = threading.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            if "stops its heartbeat" in said[-1]:
                given_up.set()

    ear = Ear()
    logging.getLogger("troth.journal").addHandler(ear)
    try:
        async with Troth(cell.url, schema=cell.schema).worker(
            NodeOptions(lease_s=0.5, block_limit_s=0.4)
        ) as opened:
            heart = opened.node._heart
            assert heart is not None
            await until(lambda: beaten(heart, 1), "it beats")
            assert given_up.wait(20)  # on purpose: this blocks the event loop
            stopped_at = heart.beats
            worker = opened.node.writer.worker
            with psycopg.connect(cell.url) as peer:  # still blocking the loop
                row = peer.execute(
                    f"SELECT beat FROM {cell.schema}.worker WHERE id = {worker}"
                ).fetchone()
            assert row == (stopped_at,)
    finally:
        logging.getLogger("troth.journal").removeHandler(ear)
    named = [text for text in said if "has been blocked" in text]
    assert "test_a_blocked_event_loop_is_named" in named[0]
