"""The engine's own unknowns: a flush whose COMMIT got no answer, history that went missing, batches that are refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.harness.cell import Cell, batch, end, result, send, start, until
from tests.harness.proxy import Cut, Proxy
from troth import Troth
from troth.base import ids
from troth.journal import store
from troth.journal import writer as writer_module
from troth.journal.model import Batch, Heard, Reply
from troth.journal.writer import Writer
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.store.migrate import migrate
from troth.worker.node import NodeOptions

YEAR_MS = 365 * 86_400_000


class Recorder:
    """Listens to a writer, and lets a test wait for what it said."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.batches: list[Batch] = []
        self.poison: list[UUID] = []
        self.death: list[BaseException] = []
        self._news = asyncio.Event()

    def flushed(self, batch: Batch, reply: Reply) -> None:
        self.batches.append(batch)
        self.replies.append(reply)
        self._news.set()

    def moving(self) -> bool:
        return False

    def poisoned(self, run_id: UUID, error: BaseException) -> None:
        self.poison.append(run_id)
        self._news.set()

    def fenced(self, error: BaseException) -> None:
        self.death.append(error)
        self._news.set()

    async def until(self, condition: Callable[[], Any], timeout: float = 20.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                await self._news.wait()
                self._news.clear()


@asynccontextmanager
async def writing(cell: Cell, url: str | None = None) -> AsyncIterator[tuple[Writer, Recorder]]:
    """A writer under a new id, and who listens to it."""
    recorder = Recorder()
    writer = Writer(url or cell.url, cell.schema, recorder)
    writer.open(await cell.member())
    try:
        yield writer, recorder
    finally:
        await writer.abandon()


def add(writer: Writer, made: Batch) -> None:
    """Put a batch into the writer's open one."""
    open_batch = writer.touch()
    for part in ("sends", "starts", "entries", "heard", "ends", "releases", "looks"):
        getattr(open_batch, part).extend(getattr(made, part))
    open_batch.claim, open_batch.workflows = made.claim, made.workflows


# One flush, sent twice -----------------------------------------------------------------------------------------------


async def test_the_same_flush_waits_for_the_first_and_gives_its_answer(cell):
    """Finding 2: resent under a new number after reading n-1, both commit. The same n waits for the one in flight."""
    worker = await cell.member()
    waiting_run = await cell.owned_run(await cell.member())
    await cell.rows("UPDATE {}.run SET owner = NULL, state = 'ready' WHERE id = %s", waiting_run)
    same = batch(start(key="k", claim=True), claim=5)
    first, again = await cell.session(), await cell.session()
    async with first.transaction():
        answer = await cell.flush(worker, 1, same, first)
        second = await cell.blocked(cell.flush(worker, 1, same, again), again, by=first)
    assert await second == answer
    assert answer.claimed == [waiting_run]  # claims travel in the reply, so it must be the same
    assert await cell.value("SELECT count(*) FROM {}.run") == 2
    assert await cell.value("SELECT claim FROM {}.run WHERE id = %s", waiting_run) == 2


async def test_the_same_flush_takes_effect_if_the_first_was_rolled_back(cell):
    """Finding 2: waiting for the first is not believing in it."""
    worker = await cell.member()
    same = batch(start())
    first, again = await cell.session(), await cell.session()
    await first.execute("BEGIN")
    await cell.flush(worker, 1, same, first)
    second = await cell.blocked(cell.flush(worker, 1, same, again), again, by=first)
    await first.execute("ROLLBACK")
    await second
    assert await cell.value("SELECT count(*) FROM {}.run") == 1


async def test_the_answer_already_applied_writes(cell):
    """Finding 2: a commit that only reads waits for no synchronous standby; so the stored answer is given with a write."""
    worker = await cell.member()
    same = batch(start())
    await cell.flush(worker, 1, same)
    again = await cell.session()
    async with again.transaction():
        await cell.flush(worker, 1, same, again)
        cursor = await again.execute("SELECT pg_current_xact_id_if_assigned()")
        assert (await cursor.fetchone()) != (None,)


async def test_a_start_is_not_done_again_after_its_run_has_ended(cell):
    """Finding 8: the run has moved to history, so its INSERT would succeed again. The client's mark knows better."""
    client, worker = await cell.member(executes=False), await cell.member()
    same = batch(start())
    await cell.flush(client, 1, same)
    (run,) = (await cell.flush(worker, 1, batch(claim=1))).claimed
    await cell.flush(worker, 2, batch(end(run)))
    assert await cell.ended(run) == "succeeded"
    await cell.flush(client, 1, same)
    assert await cell.run(run) is None


async def test_only_two_marks_are_kept(cell):
    """Marks do not pile up: the one in doubt and the one before it are all that is ever asked for."""
    worker = await cell.member()
    for n in range(1, 6):
        await cell.flush(worker, n, batch(start()))
    assert await cell.rows("SELECT n FROM {}.mark ORDER BY n") == [(4,), (5,)]


async def test_a_missing_mark_is_history_lost(cell):
    """A failover or a restore that forgot an acknowledged flush is noticed by the next one, which does nothing."""
    worker = await cell.member()
    await cell.flush(worker, 1, batch(start()))
    await cell.rows("DELETE FROM {}.mark WHERE worker = %s", worker)
    with pytest.raises(DatabaseError) as error:
        await cell.flush(worker, 2, batch(start()))
    assert failure_of(error.value) is Failure.HISTORY_LOST
    assert await cell.value("SELECT count(*) FROM {}.run") == 1


# The writer and a bad network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", Cut)
async def test_the_writer_survives_a_cut_connection(cell, cut):
    """Whatever is lost, the request, the answer or the client: the batch is durable once and is told once."""
    async with Proxy(cell.url) as proxy, writing(cell, proxy.url) as (writer, heard):
        add(writer, batch(start(claim=True)))
        await heard.until(lambda: heard.replies)
        run = heard.batches[0].starts[0].id
        fault = proxy.cut(".flush(", cut)
        add(writer, batch(start(), result(run)))
        await heard.until(lambda: len(heard.replies) == 2)
        assert fault.struck
        assert await cell.value("SELECT count(*) FROM {}.run") == 2
        assert await cell.value("SELECT count(*) FROM {}.journal") == 1
        add(writer, batch(end(run)))
        await heard.until(lambda: len(heard.replies) == 3)
        assert await cell.ended(run) == "succeeded"
        assert not heard.death


async def test_the_writer_resends_while_the_first_is_still_in_flight(cell):
    """Finding 2 in the writer: the client is cut off while its flush waits in the server; the same one is sent again."""
    stranger = await cell.owned_run(await cell.member())
    async with Proxy(cell.url) as proxy, writing(cell, proxy.url) as (writer, heard):
        add(writer, batch(start()))
        await heard.until(lambda: heard.replies)
        holder = await cell.session()
        await holder.execute("BEGIN")
        await holder.execute(f"LOCK {cell.schema}.message IN ACCESS EXCLUSIVE MODE")
        fault = proxy.cut(".flush(", Cut.IN_FLIGHT)
        add(writer, batch(send(stranger), start(claim=True)))
        await fault.happened()
        # Two backends of the same flush: one waits for the lock, the other for the mark of the first.
        both = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, %s) > 0"
        flushing = f"{cell.schema}.flush("

        async def two() -> bool:
            return bool(await cell.value(both, flushing) == 2)

        await until(two, "both flushes wait")
        await holder.execute("COMMIT")
        await heard.until(lambda: len(heard.replies) == 2)
        assert await cell.value("SELECT count(*) FROM {}.message") == 1
        assert await cell.value("SELECT count(*) FROM {}.run") == 3
        assert list(heard.replies[1].sent.values()) == ["sent"]


async def test_the_writer_gives_a_black_hole_up(cell, monkeypatch):
    """A network that swallows everything without a reset: after the deadline the same flush is sent elsewhere."""
    async with Proxy(cell.url) as proxy, writing(cell, proxy.url) as (writer, heard):
        add(writer, batch(start()))
        await heard.until(lambda: heard.replies)
        monkeypatch.setattr(writer_module, "FLUSH_DEADLINE_S", 0.2)
        proxy.freeze()
        opened = proxy.opened
        add(writer, batch(start()))

        async def given_up() -> bool:
            return proxy.opened > opened  # the driver asks the server, elsewhere, to cancel it

        await until(given_up, "the flush is given up")
        proxy.reset_all()
        proxy.thaw()
        await heard.until(lambda: len(heard.replies) == 2)
        assert await cell.value("SELECT count(*) FROM {}.run") == 2


async def test_a_deadlock_is_retried(cell):
    """A conflict is not a refusal: the flush that lost a deadlock is sent again, and nobody is poisoned."""
    stranger = await cell.owned_run(await cell.member())
    async with writing(cell) as (writer, heard):
        holder = await cell.session()
        await holder.execute("SET deadlock_timeout = '60s'")  # so that the flush is the victim
        await holder.execute("BEGIN")
        await holder.execute(f"LOCK {cell.schema}.message IN ACCESS EXCLUSIVE MODE")
        add(writer, batch(send(stranger), start()))
        await cell.waiting_backend(".flush(")
        await holder.execute(
            f"DELETE FROM {cell.schema}.worker WHERE id = %s", (writer.worker,)
        )  # closes the circle
        await holder.execute("ROLLBACK")
        await heard.until(lambda: heard.replies)
        assert not heard.poison
        assert await cell.value("SELECT count(*) FROM {}.run") == 2
        assert await cell.value("SELECT count(*) FROM {}.message") == 1


# What the database refuses -------------------------------------------------------------------------------------------


async def test_poison_is_found_by_halving_and_nobody_else_suffers(cell):
    """Finding 13: one bad entry failed everybody's flush. It is found, its run is told, all others are durable."""
    async with writing(cell) as (writer, heard):
        starts = [start(claim=True) for _ in range(7)]
        add(writer, batch(*starts))
        await heard.until(lambda: heard.replies)
        bad = starts[3].id
        entries = [result(s.id, "pa\0th" if s.id == bad else "path") for s in starts]
        add(writer, batch(*entries))
        await heard.until(lambda: heard.poison and len(heard.batches) >= 4)
        assert heard.poison == [bad]
        stored = {run for (run,) in await cell.rows("SELECT run_id FROM {}.journal")}
        assert stored == {s.id for s in starts} - {bad}
        assert not heard.death


async def test_a_duplicate_entry_is_an_error_and_never_ignored(cell):
    """Finding 7: ON CONFLICT DO NOTHING would hide that a step was done twice. The second is refused and parked."""
    async with writing(cell) as (writer, heard):
        starts = [start(claim=True) for _ in range(2)]
        add(writer, batch(*starts, *(result(s.id) for s in starts)))
        await heard.until(lambda: heard.replies)
        add(writer, batch(result(starts[0].id, payload=b"2"), result(starts[1].id, "other")))
        await heard.until(lambda: heard.poison)
        assert heard.poison == [starts[0].id]
        mine = await cell.rows("SELECT payload FROM {}.journal WHERE run_id = %s", starts[0].id)
        assert mine == [(b"1",)]


async def test_halving_does_not_part_a_message_from_its_result(cell):
    """A heard message is deleted with the flush that records what came of it, also when the batch is halved: never before."""
    async with writing(cell) as (writer, heard):
        starts = [start(claim=True) for _ in range(2)]
        add(writer, batch(*starts))
        await heard.until(lambda: heard.replies)
        bad = starts[0].id
        message = send(bad)
        add(writer, batch(message))
        await heard.until(lambda: len(heard.replies) == 2)
        made = batch(result(bad, "receive\0"), result(starts[1].id))
        made.heard.append(Heard(bad, message.id))
        add(writer, made)
        await heard.until(lambda: heard.poison and len(heard.replies) >= 3)
        assert heard.poison == [bad]
        assert await cell.value("SELECT count(*) FROM {}.message") == 1


async def test_a_workflow_with_a_poison_result_is_parked_and_its_neighbours_end(cell, monkeypatch):
    """Finding 13, end to end: the culprit stands in attention with the reason, the others have succeeded."""
    troth = Troth(cell.url, schema=cell.schema)
    together = asyncio.Event()
    bad: list[UUID] = []

    @troth.step
    async def one(n: int) -> int:
        await together.wait()
        return n

    @troth.workflow
    async def w(n: int) -> int:
        return await one(n)

    async with troth.worker() as opened:
        engine = opened.node.engine
        record = engine.record

        def spoil(run: Any, entry: Any) -> None:
            record(run, entry._replace(path="\0") if run.id in bad else entry)

        monkeypatch.setattr(engine, "record", spoil)
        runs = [await troth.start(w, n) for n in range(5)]
        bad.append(runs[2].id)
        together.set()
        others = [run for run in runs if run.id not in bad]
        assert [await run.result(timeout=10) for run in others] == [0, 1, 3, 4]

        async def parked() -> bool:
            return await cell.run(bad[0]) == ("attention", None)

        await until(parked, "the culprit is parked")
    assert await cell.value("SELECT reason FROM {}.run") == "poison"


async def test_a_missing_partition_is_made(cell):
    """Finding 13: a run id of a week that has no partition does not fail the flush; the partition is made."""
    async with writing(cell) as (writer, heard):
        early = start(claim=True, run_id=shifted(-YEAR_MS // 12))
        add(writer, batch(early, result(early.id), start()))
        await heard.until(lambda: heard.replies)
        assert not heard.poison
        assert await cell.value("SELECT count(*) FROM {}.journal") == 1


async def test_a_partition_that_a_peer_has_just_made_is_no_refusal(cell, monkeypatch):
    """Two workers miss the same partition: the one that comes second makes nothing, and must not park its run."""
    async with writing(cell) as (writer, heard):
        early = start(claim=True, run_id=shifted(-YEAR_MS // 6))
        ensure = store.ensure_partitions

        async def after_a_peer(tx: Any, q: Any, since_s: float, until_s: float) -> int:
            await ensure(await cell.session(), q, since_s, until_s)
            return await ensure(tx, q, since_s, until_s)

        monkeypatch.setattr(store, "ensure_partitions", after_a_peer)
        add(writer, batch(early, result(early.id)))
        await heard.until(lambda: heard.replies or heard.poison)
        assert not heard.poison
        assert await cell.value("SELECT count(*) FROM {}.journal") == 1


async def test_an_id_of_no_sensible_time_is_poison(cell):
    """A partition is not made for whatever an id says: five years away is a defect of the caller."""
    async with writing(cell) as (writer, heard):
        wild = start(claim=True, run_id=shifted(-5 * YEAR_MS))
        add(writer, batch(wild, result(wild.id), start()))
        await heard.until(lambda: heard.poison and heard.replies)
        assert heard.poison == [wild.id]
        assert await cell.value("SELECT count(*) FROM {}.run") == 1


def shifted(ms: int) -> UUID:
    """A run id of another time."""
    return UUID(int=ids.new_id().int + (ms << 80))


# A node whose history is lost ----------------------------------------------------------------------------------------


async def test_a_node_that_lost_its_history_begins_anew(cell):
    """HistoryLost: memory is dropped, the node registers under another id, and what was asked of it is done once."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w(n: int) -> int:
        return n

    async with troth.worker() as opened:
        old = opened.node.writer.worker
        await (
            opened.node.bell.listening.wait()
        )  # its first claim is on its way, not under the next lines
        assert await (await troth.start(w, 1)).result(timeout=10) == 1
        await cell.rows("DELETE FROM {}.mark WHERE worker = %s", old)
        assert await (await troth.start(w, 2)).result(timeout=10) == 2
        assert opened.node.writer.worker != old
    assert await cell.value("SELECT count(*) FROM {}.run_history") == 2


async def test_an_idle_node_notices_that_its_history_was_lost(cell):
    """A failover that loses the last flush of a worker that has nothing more to write: its heart notices, and begins anew.

    Otherwise the run that the database gave back to it would be nobody's for ever."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w(n: int) -> int:
        await troth.sleep(86400)
        return n

    async with troth.worker(NodeOptions(lease_s=0.5)) as opened:
        old = opened.node.writer.worker
        run = await troth.start(w, 1)

        async def waits() -> bool:
            return await cell.run(run.id) == ("waiting", None)

        await until(waits, "it was let go of")
        # The commit that let go of it was lost: the run is owned again, and so are the marks of before.
        await cell.rows("UPDATE {}.run SET owner = %s, state = 'running' RETURNING id", old)
        await cell.rows("DELETE FROM {}.mark WHERE worker = %s AND n > 0", old)
        await until(waits, "somebody took it up and let go of it again")
        assert opened.node.writer.worker != old


async def test_more_keyed_starts_than_the_server_has_locks(server):
    """One advisory lock per key: a flush with more keys than the lock table has room for is divided, not sent for ever."""
    with psycopg.connect(server.url, autocommit=True) as administrator:
        administrator.execute("ALTER SYSTEM SET max_locks_per_transaction = 10")
        administrator.execute("ALTER SYSTEM SET max_connections = 20")
    server.restart()
    await asyncio.to_thread(migrate, server.url, "troth")
    troth = Troth(server.url)

    @troth.workflow
    async def w() -> None: ...

    count = 5000
    async with troth.client():
        async with asyncio.timeout(20):
            runs = await asyncio.gather(*(troth.start(w, key=f"k{n}") for n in range(count)))
        assert troth.node.writer.flushes > 1
    assert len({run.id for run in runs}) == count
