"""Who may write: the fence of flushes, of heartbeats and of steps, and takeover in every order against them."""

from __future__ import annotations

import asyncio

import pytest
from psycopg import IsolationLevel

from tests.harness.cell import Cell, batch, crash, end, rest, result, start, until
from troth import Troth, Tx
from troth.journal import store
from troth.store.connect import AsyncConnection
from troth.store.failure import DatabaseError, Failure, failure_of
from troth.worker.node import NodeOptions

LEVELS = list(IsolationLevel)[1:]


async def finish(
    cell: Cell, tx: AsyncConnection, run_id, worker: int, *, claim: int = 1, path: str = "pay"
) -> None:
    """The last statement of a transaction step."""
    entry = (run_id, worker, claim, path, 0, 1, True, b"digest", b"1", 0.0)
    await tx.execute(cell.q.finish_step, entry)


async def beat(cell: Cell, tx: AsyncConnection, worker: int) -> None:
    await tx.execute(cell.q.beat, (worker, 0))


async def impatient(cell: Cell) -> AsyncConnection:
    """A session in which waiting for any lock is an error."""
    session = await cell.session()
    await session.execute("SET lock_timeout = '200ms'")
    return session


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name.lower())
async def test_an_open_step_blocks_neither_flush_nor_heartbeat(cell, level):
    """Finding 1: an open step's FOR SHARE on a shared lease row blocked everybody. Steps touch only their run's row."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    step, other = await cell.session(level), await impatient(cell)
    async with step.transaction():
        await finish(cell, step, mine, worker)
        await beat(cell, other, worker)
        reply = await cell.flush(worker, 2, batch(start(claim=True), end(mine)), other)
        assert reply.busy_runs == {mine}
        assert await cell.run(mine) == ("running", worker)
    reply = await cell.flush(worker, 3, batch(end(mine)), other)
    assert not reply.busy_runs
    assert await cell.ended(mine) == "succeeded"


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name.lower())
async def test_heartbeats_do_not_fail_a_step_of_any_isolation_level(cell, level):
    """Lock fact: FOR SHARE on the heartbeat row gives a false 40001 at every beat. Steps fence on the run row."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    step = await cell.session(level)
    async with step.transaction():
        await step.execute("SELECT txid_current()")  # its snapshot is older than the beat
        await beat(cell, await cell.session(), worker)
        await finish(cell, step, mine, worker)
    assert await cell.value("SELECT count(*) FROM {}.journal WHERE path = 'pay'") == 1


async def test_a_heartbeat_does_not_wait_for_an_open_flush(cell):
    """Lock fact: KEY SHARE does not block the update of a non-key column, so the two never meet."""
    worker = await cell.member()
    flushing = await cell.session()
    async with flushing.transaction():
        await cell.flush(worker, 1, batch(start()), flushing)
        await beat(cell, await impatient(cell), worker)
    assert await cell.beat_of(worker) == 1


async def test_takeover_waits_for_the_last_flush_and_sees_its_rows(cell):
    """Finding 3: a takeover that reads on the snapshot it fenced on leaves the last flush's claims behind for ever."""
    worker = await cell.member()
    await cell.flush(worker, 1, batch(start()))
    last, reaper = await cell.session(), await cell.session()
    async with last.transaction():
        claimed = (await cell.flush(worker, 2, batch(claim=1), last)).claimed
        takeover = await cell.blocked(store.takeover(reaper, cell.q, worker, 0), reaper, by=last)
    assert await takeover == 0
    assert len(claimed) == 1
    assert await cell.run(claimed[0]) == ("ready", None)
    assert await cell.value("SELECT count(*) FROM {}.worker_gone") == 0


async def test_takeover_and_flush_refuse_an_older_snapshot(cell):
    """Finding 3: in REPEATABLE READ takeover misses what it waited for; a database with that default must not lose runs."""
    worker = await cell.member()
    strict = await cell.session()
    await strict.execute("SET default_transaction_isolation = 'repeatable read'")
    with pytest.raises(DatabaseError, match="read committed"):
        await store.takeover(strict, cell.q, worker, 0)
    with pytest.raises(DatabaseError, match="read committed"):
        await cell.flush(worker, 1, batch(start()), strict)


async def test_connections_of_a_node_do_not_inherit_the_isolation_of_the_database(cell):
    """Finding 3: whatever the database's default is, the protocol's own statements are READ COMMITTED."""
    url = f"{cell.url} options='-c default_transaction_isolation=serializable'"
    troth = Troth(url, schema=cell.schema)

    @troth.workflow
    async def w(x: int) -> int:
        return x

    async with troth.worker():
        run = await troth.start(w, 1)
        assert await run.result(timeout=10) == 1


async def test_a_flush_in_flight_is_either_before_takeover_or_fenced(cell):
    """Lock fact: a takeover by UPDATE would let the zombie commit afterwards; DELETE excludes every later flush."""
    worker = await cell.member()
    reaper, zombie = await cell.session(), await cell.session()
    async with reaper.transaction():
        assert await store.takeover(reaper, cell.q, worker, 0) == 0
        late = await cell.blocked(cell.flush(worker, 1, batch(start()), zombie), zombie, by=reaper)
    with pytest.raises(DatabaseError) as error:
        await late
    assert failure_of(error.value) is Failure.FENCED
    assert await cell.value("SELECT count(*) FROM {}.run") == 0


async def test_the_dead_can_do_nothing_more(cell):
    """The fence: after takeover, flush, heartbeat and step of the old worker are refused, and leave nothing."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    assert await store.takeover(await cell.session(), cell.q, worker, 0) == 0
    zombie = await cell.session()
    for work in (
        cell.flush(worker, 2, batch(result(mine)), zombie),
        beat(cell, zombie, worker),
        finish(cell, zombie, mine, worker),
    ):
        with pytest.raises(DatabaseError) as error:
            await work
        assert failure_of(error.value) is Failure.FENCED
    assert await cell.value("SELECT count(*) FROM {}.journal") == 0
    assert await cell.run(mine) == ("ready", None)


async def test_who_has_beaten_since_is_not_taken_over(cell):
    """Expiry is a suspicion: the DELETE is for the beat that the peer saw, and a later one saves the worker."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    session = await cell.session()
    await beat(cell, session, worker)
    assert await store.takeover(session, cell.q, worker, 0) is None
    assert await cell.run(mine) == ("running", worker)


async def test_a_beat_under_way_saves_the_worker(cell):
    """The takeover waits for an uncommitted beat and then re-reads the row: it finds that the peer lives."""
    worker = await cell.member()
    beating, reaper = await cell.session(), await cell.session()
    async with beating.transaction():
        await beat(cell, beating, worker)
        takeover = await cell.blocked(store.takeover(reaper, cell.q, worker, 0), reaper, by=beating)
    assert await takeover is None
    assert await cell.beat_of(worker) == 1


async def test_two_peers_take_over_at_once_and_one_does_it(cell):
    """Two reapers of one death: the second waits for the first and then has nothing to do."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    first, second = await cell.session(), await cell.session()
    async with first.transaction():
        assert await store.takeover(first, cell.q, worker, 0) == 0
        other = await cell.blocked(store.takeover(second, cell.q, worker, 0), second, by=first)
    assert await other is None
    assert await cell.run(mine) == ("ready", None)


async def test_worker_ids_are_never_used_again(cell):
    """Lock fact: a fence by id is a fence only if no later worker has the same id."""
    first = await cell.member()
    await store.takeover(await cell.session(), cell.q, first, 0)
    assert await cell.member() > first


async def test_takeover_is_finished_by_another_peer_if_the_first_dies_over_it(cell):
    """Finding 4: fence, then die before the release: the run was stuck. The fence leaves a row that any peer finishes."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    step, dying = await cell.session(), await cell.session()
    async with step.transaction():
        await finish(cell, step, mine, worker)
        assert await store.takeover(dying, cell.q, worker, 0) == 1
        await dying.close()
        assert await cell.rows("SELECT id FROM {}.worker_gone") == [(worker,)]
    # The step had the fence before the takeover: it counts.
    assert await cell.value("SELECT count(*) FROM {}.journal WHERE path = 'pay'") == 1
    assert await cell.run(mine) == ("running", worker)

    troth = Troth(cell.url, schema=cell.schema)
    async with troth.worker(NodeOptions(lease_s=0.5)):  # of no workflow: it only reaps
        await until(lambda: ready(cell, mine), "a peer finishes the release")
    assert await cell.value("SELECT count(*) FROM {}.worker_gone") == 0


async def test_marks_outlive_their_worker_by_a_day(cell):
    """They tell a worker that lives after all what became of its last flush; then nobody asks any more."""
    worker = await cell.member()
    await cell.flush(worker, 1, batch(start()))
    session = await cell.session()
    await store.takeover(session, cell.q, worker, 0)
    assert await store.stored_reply(session, cell.q, worker, 1) is not None
    await session.execute(cell.q.forget_marks)
    assert await store.stored_reply(session, cell.q, worker, 1) is not None
    await cell.rows("UPDATE {}.mark SET at = at - interval '25 hours' RETURNING n")
    await session.execute(cell.q.forget_marks)
    assert await store.stored_reply(session, cell.q, worker, 1) is None


async def test_a_frozen_session_does_not_keep_its_run(cell):
    """Finding 14: a frozen process with an open step blocked takeover for ever. The reaper ends the session in the way."""
    worker = await cell.member(lease_s=0.3)
    mine = await cell.owned_run(worker)
    frozen = await cell.session()
    await frozen.execute("BEGIN")
    await finish(cell, frozen, mine, worker)

    troth = Troth(cell.url, schema=cell.schema)
    async with troth.worker(NodeOptions(lease_s=0.5)):
        await until(lambda: ready(cell, mine), "the run is taken from the frozen session")
    with pytest.raises(DatabaseError):
        await frozen.execute("COMMIT")
    assert await cell.value("SELECT count(*) FROM {}.journal") == 0


async def test_the_reaper_needs_no_more_connections_than_it_may_have(cell):
    """A worker with one pooled connection frees a frozen run, too."""
    worker = await cell.member(lease_s=0.3)
    mine = await cell.owned_run(worker)
    frozen = await cell.session()
    await frozen.execute("BEGIN")
    await finish(cell, frozen, mine, worker)
    troth = Troth(cell.url, schema=cell.schema)
    async with troth.worker(NodeOptions(lease_s=0.5, connections=1)):
        await until(lambda: ready(cell, mine), "the run is taken from the frozen session")


async def ready(cell: Cell, run_id) -> bool:
    return await cell.run(run_id) == ("ready", None)


async def test_a_living_worker_that_lost_the_run_cannot_finish_a_step_of_it(cell):
    """Finding 15: the worker's own fence is still good after a hand-over; the claim number on the run is what refuses."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    await cell.flush(worker, 2, batch(rest(mine)))
    await cell.flush(worker, 3, batch(result(mine, "before"), claim=0))
    await cell.rows("UPDATE {}.run SET wake_at = clock_timestamp() WHERE id = %s", mine)
    assert (await cell.flush(worker, 4, batch(claim=1))).claimed == [mine]
    session = await cell.session()
    with pytest.raises(DatabaseError) as error:
        await finish(cell, session, mine, worker, claim=1)
    assert failure_of(error.value) is Failure.FENCED
    await finish(cell, session, mine, worker, claim=2)


async def test_a_run_in_mid_step_is_not_handed_over(cell):
    """Finding 15: hand over only when the run is quiescent. A draining worker waits for the step that is running."""
    troth = Troth(cell.url, schema=cell.schema)
    begun, may_end = asyncio.Event(), asyncio.Event()

    @troth.step
    async def slow() -> int:
        begun.set()
        await may_end.wait()
        return 7

    @troth.workflow
    async def w() -> int:
        first = await slow()
        await troth.sleep(3600)
        return first

    async with troth.worker() as open_troth:
        node = open_troth.node
        run = await troth.start(w)
        await begun.wait()
        node.engine.drain()
        flushed = node.writer.flushes
        await troth.send(run, "nudge")  # a flush that the release could have travelled in
        assert node.writer.flushes > flushed
        assert await cell.run(run.id) == ("running", node.writer.worker)
        may_end.set()
        await until(lambda: ready(cell, run.id), "handed over")
    assert await cell.value("SELECT payload FROM {}.journal WHERE kind = 2") == b"7"


async def test_the_next_worker_goes_on_where_a_killed_one_stopped(cell):
    """Takeover as a whole: the dead worker's runs are reloaded and go on; what was recorded is not done again."""
    done: list[str] = []
    troth = Troth(cell.url, schema=cell.schema)
    stuck = asyncio.Event()

    @troth.step
    async def one() -> str:
        done.append("one")
        return "first"

    @troth.step
    async def two(first: str) -> str:
        done.append("two")
        if done.count("two") == 1:
            stuck.set()
            await asyncio.Event().wait()
        return first + " second"

    @troth.workflow
    async def w() -> str:
        return await two(await one())

    async with troth.worker(NodeOptions(lease_s=0.5)) as first:
        run = await troth.start(w)
        await stuck.wait()
        dead = await crash(first.node)
        async with same_program(troth, cell).worker(NodeOptions(lease_s=0.5)) as second:
            assert await second.run(run.id).result(timeout=20) == "first second"
    assert done == ["one", "two", "two"]
    assert await cell.value("SELECT count(*) FROM {}.worker WHERE id = %s", dead) == 0


def same_program(troth: Troth, cell: Cell) -> Troth:
    """The same program in another process."""
    other = Troth(cell.url, schema=cell.schema)
    other.workflows, other.steps = troth.workflows, troth.steps
    return other


async def test_who_leaves_in_order_leaves_nothing(cell):
    """Resigning: no worker row, no mark, no run is left behind, and no peer has to wait for a lease."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w() -> None:
        await troth.sleep(3600)

    async with troth.worker():
        run = await troth.start(w)
        await until(lambda: waiting(cell, run.id), "it waits")
    for table in ("worker", "worker_gone", "mark"):
        assert await cell.rows(f"SELECT * FROM {{}}.{table}") == []


async def waiting(cell: Cell, run_id) -> bool:
    return await cell.run(run_id) == ("waiting", None)


async def test_runs_claimed_by_the_last_flush_of_a_leaving_worker_are_released(cell):
    """A claim in the flush that was under way when the worker resigned must not strand the run under an id that is gone."""
    worker = await cell.member()
    await cell.flush(worker, 1, batch(start()))
    claimed = (await cell.flush(worker, 2, batch(claim=1))).claimed
    await store.resign(await cell.session(), cell.q, worker)
    assert await cell.run(claimed[0]) == ("ready", None)
    assert await cell.value("SELECT count(*) FROM {}.worker") == 0
    assert await cell.value("SELECT count(*) FROM {}.mark") == 0


async def test_a_tx_step_of_a_zombie_leaves_no_row_of_the_user(cell):
    """The fence is in the step's own transaction: when it is refused, the user's rows go with it."""
    troth = Troth(cell.url, schema=cell.schema)
    await cell.rows("CREATE TABLE {}.account (id int)")
    inside, may_go = asyncio.Event(), asyncio.Event()

    @troth.transaction
    async def open_account(tx: Tx) -> int:
        await tx.execute(f"INSERT INTO {cell.schema}.account VALUES (1)")
        if not inside.is_set():
            inside.set()
            await may_go.wait()
        return 1

    @troth.workflow
    async def w() -> int:
        return await open_account()

    async with troth.worker(NodeOptions(lease_s=3600)) as opened:
        run = await troth.start(w)
        await inside.wait()
        session = await cell.session()
        old = opened.node.writer.worker
        assert await store.takeover(session, cell.q, old, await cell.beat_of(old)) == 0
        may_go.set()
        await troth.start(w)  # its flush tells the node that it is dead
        assert await run.result(timeout=20) == 1
        assert opened.node.writer.worker != old
    paths = await cell.rows("SELECT run_id FROM {}.journal WHERE kind = 2 AND run_id = %s", run.id)
    accounts = await cell.value("SELECT count(*) FROM {}.account")
    runs = await cell.value("SELECT count(DISTINCT run_id) FROM {}.journal WHERE kind = 2")
    assert len(paths) == 1
    assert accounts == runs
