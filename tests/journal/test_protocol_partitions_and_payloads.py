"""What a row may hold and where it lies: partitions by run id, payloads that no type of the database can refuse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.harness.cell import Cell, batch, end, result, start
from troth import Troth
from troth.base import ids
from troth.base.errors import PayloadError
from troth.journal import store
from troth.store.failure import DatabaseError, Failure, failure_of

WEEK = timedelta(days=7)


def id_of(at: datetime) -> UUID:
    """A run id that was made at that time."""
    return UUID(int=(int(at.timestamp() * 1000) << 80) | (ids.new_id().int & ((1 << 80) - 1)))


async def old_week(cell: Cell) -> datetime:
    """A moment five weeks ago, whose partitions exist."""
    at = datetime.now(UTC) - 5 * WEEK
    await store.ensure_partitions(await cell.session(), cell.q, at.timestamp(), at.timestamp())
    return at


async def drop_before(cell: Cell, moment: datetime) -> list[str]:
    dropped: list[str] = await cell.value("SELECT {}.drop_partitions(%s)", moment)
    return dropped


async def old_run(cell: Cell, at: datetime, key: str) -> tuple[int, UUID]:
    """A run of that time with an entry; its owner and its id."""
    worker = await cell.member()
    run_id = id_of(at)
    await cell.flush(worker, 1, batch(start(run_id=run_id, key=key, claim=True), result(run_id)))
    return worker, run_id


async def test_a_step_cannot_be_recorded_twice(cell):
    """Finding 7: partitioned by its own id, the journal let a lost COMMIT apply a step twice. By run id, the key is unique."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    session = await cell.session()
    entry = (mine, worker, 1, "pay", 0, 1, True, b"digest", b"1", 0.0)
    await session.execute(cell.q.finish_step, entry)
    with pytest.raises(DatabaseError) as error:
        await session.execute(cell.q.finish_step, entry)
    assert failure_of(error.value) is Failure.DUPLICATE


async def test_a_week_with_a_live_run_is_not_dropped(cell):
    """Finding 7: dropping an old partition deleted the journal of runs that were alive. Such a week stays."""
    at = await old_week(cell)
    worker, run_id = await old_run(cell, at, "k")
    assert await drop_before(cell, at + 2 * WEEK) == []
    assert await cell.value("SELECT count(*) FROM {}.journal") == 1
    await cell.flush(worker, 2, batch(end(run_id)))
    assert len(await drop_before(cell, at + 2 * WEEK)) == 1
    for table in ("journal", "run_history", "start_key"):
        assert await cell.value(f"SELECT count(*) FROM {{}}.{table}") == 0
    again = start(key="k")
    assert not (await cell.flush(worker, 3, batch(again))).known


async def test_only_whole_weeks_that_are_past_are_dropped(cell):
    """A week is dropped when all of it lies before the moment, not when some of it does."""
    at = await old_week(cell)
    worker, run_id = await old_run(cell, at, "k")
    await cell.flush(worker, 2, batch(end(run_id)))
    assert await drop_before(cell, at) == []
    assert await cell.ended(run_id) == "succeeded"


async def test_dropping_does_not_stall_flushes_behind_a_reader(cell):
    """Lock fact: DROP queues behind one open reader, and inserts queue behind the DROP. So retention does not wait long."""
    at = await old_week(cell)
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    reader, dropping, flushing = await cell.session(), await cell.session(), await cell.session()
    await flushing.execute("SET lock_timeout = '5s'")
    await reader.execute("BEGIN")
    await reader.execute(f"SELECT count(*) FROM {cell.schema}.journal")
    drop = await cell.blocked(
        dropping.execute(f"SELECT {cell.schema}.drop_partitions(%s)", (at + 2 * WEEK,)),  # type: ignore[call-overload]
        dropping,
        by=reader,
    )
    await cell.flush(worker, 2, batch(result(mine)), flushing)
    with pytest.raises(DatabaseError) as error:
        await drop
    assert failure_of(error.value) is Failure.AGAIN
    await reader.execute("COMMIT")
    assert len(await drop_before(cell, at + 2 * WEEK)) == 1


async def test_partitions_are_made_beside_open_flushes_and_readers(cell):
    """ATTACH takes a weak lock on the parent: the weeks to come are made while flushes and readers are open."""
    worker = await cell.member()
    mine = await cell.owned_run(worker)
    open_flush, making = await cell.session(), await cell.session()
    await making.execute("SET lock_timeout = '1s'")
    async with open_flush.transaction():
        await cell.flush(worker, 2, batch(result(mine)), open_flush)
        await open_flush.execute(f"SELECT count(*) FROM {cell.schema}.run_history")
        until = (datetime.now(UTC) + 8 * WEEK).timestamp()
        assert await store.ensure_partitions(making, cell.q, until, until) == 2


async def test_there_is_no_default_partition(cell):
    """Lock fact: with a DEFAULT partition, DETACH CONCURRENTLY is refused and a missing week is found too late."""
    query = (
        "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND pg_get_expr(c.relpartbound, c.oid) = 'DEFAULT'"
    )
    assert await cell.value(query, cell.schema) == 0
    assert await cell.value(query.replace("= 'DEFAULT'", "LIKE 'FOR VALUES%%'"), cell.schema) > 0


async def test_characters_that_jsonb_refuses_are_stored(cell):
    r"""Finding 13: jsonb refuses \u0000, and everybody's flush failed with it. Payloads are bytes, and come back the same."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.step
    async def echo(text: str) -> str:
        return text

    @troth.workflow
    async def w(text: str) -> str:
        return await echo(text)

    async with troth.worker():
        run = await troth.start(w, "a\0b", key="k")
        assert await run.result(timeout=10) == "a\0b"
        assert (await troth.start(w, "a\0b", key="k")).id == run.id


async def test_a_lone_surrogate_is_refused_where_it_is_passed(cell):
    """Finding 13: what is no Unicode is the caller's mistake, told to the caller, before it is anybody's flush."""
    troth = Troth(cell.url, schema=cell.schema)

    @troth.workflow
    async def w(text: str) -> str:
        return text

    async with troth.client():
        with pytest.raises(PayloadError):
            await troth.start(w, "\ud800")
    assert await cell.value("SELECT count(*) FROM {}.run") == 0
