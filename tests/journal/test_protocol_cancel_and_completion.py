"""A cancel that was accepted ends the run as cancelled; one that comes too late is told so. In every order."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from psycopg import IsolationLevel

from tests.harness.cell import Cell, batch, end, result, send, until
from troth import Troth
from troth.base.errors import RunCancelledError, RunEndedError
from troth.journal import store
from troth.journal.model import CANCEL_TOPIC, Release
from troth.store.connect import AsyncConnection
from troth.store.failure import DatabaseError, Failure, failure_of

SNAPSHOTS = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


async def cancel(cell: Cell, tx: AsyncConnection, run_id) -> str:
    return await store.send_message(tx, cell.q, send(run_id, CANCEL_TOPIC))


async def test_completion_does_not_overtake_a_cancel_that_is_being_sent(cell):
    """Finding 10: a completion ignored an accepted cancel. It skips a run that a sender holds, and then finds the cancel."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    user = await cell.session()
    async with user.transaction():
        assert await cancel(cell, user, mine) == "sent"
        reply = await cell.flush(worker, 2, batch(end(mine)))
        assert reply.busy_runs == {mine}
        assert not reply.cancelled
    reply = await cell.flush(worker, 3, batch(end(mine)))
    assert reply.cancelled == {mine}
    assert await cell.ended(mine) is None
    await cell.flush(worker, 4, batch(end(mine, "cancelled", final=True)))
    assert await cell.ended(mine) == "cancelled"
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_a_cancel_that_is_taken_back_is_none(cell):
    """The sender rolls back: the run ends as it would have."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    user = await cell.session()
    await user.execute("BEGIN")
    await cancel(cell, user, mine)
    assert (await cell.flush(worker, 2, batch(end(mine)))).busy_runs == {mine}
    await user.execute("ROLLBACK")
    assert not (await cell.flush(worker, 3, batch(end(mine)))).busy_runs
    assert await cell.ended(mine) == "succeeded"


async def test_a_cancel_that_waits_for_the_completion_is_told_that_it_is_late(cell):
    """Finding 10: "update it or else read history" in one statement finds nothing. Look-ups read the run, then history."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    ending, user = await cell.session(), await cell.session()
    async with ending.transaction():
        await cell.flush(worker, 2, batch(end(mine)), ending)
        late = await cell.blocked(cancel(cell, user, mine), user, by=ending)
    assert await late == "ended"
    assert await cell.ended(mine) == "succeeded"
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_a_cancel_that_waits_for_a_completion_that_fails_is_accepted(cell):
    """The flush is rolled back: the run is alive still, and the cancel counts."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    ending, user = await cell.session(), await cell.session()
    await ending.execute("BEGIN")
    await cell.flush(worker, 2, batch(end(mine)), ending)
    sent = await cell.blocked(cancel(cell, user, mine), user, by=ending)
    await ending.execute("ROLLBACK")
    assert await sent == "sent"
    assert (await cell.flush(worker, 2, batch(end(mine)))).cancelled == {mine}


@pytest.mark.parametrize("level", SNAPSHOTS, ids=lambda level: level.name.lower())
async def test_a_cancel_on_an_older_snapshot_is_never_lost(cell, level):
    """The run ended, or was let go of, after the user's snapshot: 40001 says run it again; a silent "sent" would be a lie."""
    worker = await cell.member()
    ended, released = await cell.owned_run(worker), await cell.owned_run(worker, 2)
    user = await cell.session()
    for n, (run, part) in enumerate(
        [(ended, end(ended)), (released, Release(released, "waiting", None, None, None, ""))], 3
    ):
        await user.execute("BEGIN ISOLATION LEVEL " + level.name.replace("_", " "))
        await user.execute("SELECT 1 FROM pg_class LIMIT 1")
        await cell.flush(worker, n, batch(part))
        with pytest.raises(DatabaseError) as error:
            await cancel(cell, user, run)
        assert failure_of(error.value) is Failure.CONFLICT
        await user.execute("ROLLBACK")
    assert await cancel(cell, user, ended) == "ended"
    assert await cancel(cell, user, released) == "sent"
    assert await cell.run(released) == ("ready", None)


async def test_a_cancel_wakes_a_run_in_attention(cell):
    """What waits for a person does not hear messages; a cancel is a person's word."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    parked = Release(mine, "attention", None, "bug", b"{}", None)
    await cell.flush(worker, 2, batch(parked))
    session = await cell.session()
    await store.send_message(session, cell.q, send(mine, "go"))
    assert not (await cell.flush(worker, 3, batch(claim=1))).claimed
    await cancel(cell, session, mine)
    assert (await cell.flush(worker, 4, batch(claim=1))).claimed == [mine]


async def test_a_cancel_by_key_before_the_run_exists(cell):
    """Left under a key, it is found when the run that took the key completes, and goes with it."""
    worker = await cell.member()
    session = await cell.session()
    await store.send_message(session, cell.q, send(None, CANCEL_TOPIC, key="k"))
    mine = await cell.owned_run(worker, key="k")
    assert (await cell.flush(worker, 2, batch(end(mine)))).cancelled == {mine}
    await cell.flush(worker, 3, batch(end(mine, "cancelled", final=True)))
    assert await cell.ended(mine) == "cancelled"
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_a_run_ends_as_cancelled_when_the_cancel_commits_before_its_end(cell):
    """The node side of finding 10: its end meets the open cancel, is put off, and becomes a cancellation."""
    troth = Troth(cell.url, schema=cell.schema)
    may_return, begun = asyncio.Event(), asyncio.Event()

    @troth.step
    async def work() -> int:
        begun.set()
        await may_return.wait()
        return 1

    @troth.workflow
    async def w() -> int:
        return await work()

    user = await cell.session()
    async with troth.worker() as opened:
        run = await troth.start(w)
        await begun.wait()
        await user.execute("BEGIN")
        await cancel(cell, user, run.id)
        may_return.set()

        async def recorded() -> bool:
            return bool(await cell.value("SELECT count(*) FROM {}.journal WHERE kind = 2"))

        await until(recorded, "the last result is durable")
        flushes = opened.node.writer.flushes
        await until(lambda: later(opened, flushes), "the end is put off and tried again")
        assert await cell.ended(run.id) is None
        await user.execute("COMMIT")
        with pytest.raises(RunCancelledError):
            await run.result(timeout=10)
        with pytest.raises(RunEndedError):
            await run.cancel()
    assert await cell.ended(run.id) == "cancelled"


async def later(opened: Troth, flushes: int) -> bool:
    return opened.node.writer.flushes > flushes + 1


async def test_cancels_race_completions_and_none_is_lost(cell):
    """Whoever was told "accepted" finds the run cancelled; whoever was told "ended" finds it succeeded."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.step
    async def work(n: int) -> int:
        return n

    @troth.workflow
    async def w(n: int) -> int:
        return await work(n)

    async def race(n: int) -> tuple[bool, str | None]:
        run = await troth.start(w, n)
        for _ in range(n % 7):
            await asyncio.sleep(0)
        try:
            await run.cancel()
        except RunEndedError:
            accepted = False
        else:
            accepted = True
        with contextlib.suppress(RunCancelledError):
            await run.result(timeout=20)
        return accepted, await cell_state(run.id)

    lock = asyncio.Lock()

    async def cell_state(run_id) -> str | None:
        async with lock:
            return await cell.ended(run_id)

    async with troth.worker():
        outcomes = await asyncio.gather(*(race(n) for n in range(100)))
    for accepted, state in outcomes:
        assert state == ("cancelled" if accepted else "succeeded")
    assert await cell.value("SELECT count(*) FROM {}.message") == 0


async def test_an_entry_and_its_end_are_one_commit(cell):
    """The last result and the end travel together: nobody sees the one without the other."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    ending = await cell.session()
    async with ending.transaction():
        await cell.flush(worker, 2, batch(result(mine), end(mine)), ending)
        assert await cell.value("SELECT count(*) FROM {}.journal") == 0
    assert await cell.value("SELECT count(*) FROM {}.journal") == 1
    assert await cell.ended(mine) == "succeeded"
