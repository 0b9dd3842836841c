"""P1 on every source: the body's rows and the journal entry are one commit, exactly once, whatever the library."""

from __future__ import annotations

import asyncio
import threading
import uuid

import psycopg
import pytest

from tests.harness.cell import until
from tests.harness.postgres import create_database
from tests.harness.proxy import Cut, Proxy
from tests.integrations.transactions.conftest import Bench
from troth import RunFailedError
from troth.base import codec
from troth.worker.node import NodeOptions

LEVELS = ["read committed", "repeatable read", "serializable"]


class OutOfStock(Exception):
    """A business answer."""


async def attention(bench: Bench, run) -> str:
    """What it says of a run that stands in attention."""

    async def parked() -> bool:
        return await bench.cell.run(run.id) == ("attention", None)

    await until(parked, "the run is parked")
    detail = await bench.cell.value("SELECT detail FROM {}.run WHERE id = %s", run.id)
    return str(codec.decode(bytes(detail)))


async def test_rows_and_entry_are_one_commit(bench: Bench):
    troth = bench.troth()

    async def body(say, handle):
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        return 7

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker():
        assert await (await troth.start(flow)).result(timeout=20) == 7
    assert await bench.items() == [1]
    ours = await bench.cell.rows("SELECT xmin::text FROM {}.journal WHERE kind = 2 AND ok")
    assert ours == await bench.cell.rows("SELECT xmin::text FROM {}.item")


@pytest.mark.parametrize("level", LEVELS)
async def test_the_isolation_level_is_the_steps(bench: Bench, level: str):
    troth = bench.troth()
    seen = []

    async def body(say, handle):
        seen.append((await say("SELECT current_setting('transaction_isolation')"))[0])
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body, isolation=level))
    async with troth.worker():
        await (await troth.start(flow)).result(timeout=20)
    assert seen == [level]


async def test_a_business_answer_rolls_back(bench: Bench):
    troth = bench.troth()

    async def body(say, handle):
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        raise OutOfStock("none left")

    step = bench.step(troth, await bench.source(), body, fails_on=OutOfStock)
    flow = bench.flow(troth, step)
    async with troth.worker():
        with pytest.raises(RunFailedError, match="none left") as failed:
            await (await troth.start(flow)).result(timeout=20)
    assert isinstance(failed.value.__cause__, OutOfStock)
    assert await bench.items() == []
    assert await bench.entries() == 0


async def test_a_bug_leaves_neither_rows_nor_entry(bench: Bench):
    troth = bench.troth()

    async def body(say, handle):
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        await say(f"INSERT INTO {bench.item} (n) VALUES (NULL)")
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker():
        said = await attention(bench, await troth.start(flow))
    assert "null value in column" in said
    assert await bench.items() == []
    assert await bench.entries() == 0


@pytest.mark.parametrize("cut", Cut)
async def test_a_lost_commit_is_settled(bench: Bench, cut: Cut):
    """The body runs again if and only if the first COMMIT did not take effect."""
    bodies = []
    async with Proxy(bench.cell.url) as proxy:
        source = await bench.source(proxy.url)
        troth = bench.troth(proxy.url)

        async def body(say, handle):
            await say(f"INSERT INTO {bench.item} (n) VALUES (5)")
            bodies.append(1)
            if len(bodies) == 1:
                bodies.append(proxy.cut("COMMIT", cut))
            return 1

        flow = bench.flow(troth, bench.step(troth, source, body))
        async with troth.worker():
            await (await troth.start(flow)).result(timeout=20)
    assert bodies[1].struck
    assert len(bodies) - 1 == (2 if cut is Cut.REQUEST_LOST else 1)
    assert await bench.items() == [5]
    assert await bench.entries() == 1


async def test_a_connection_that_is_lost_before_commit(bench: Bench):
    """Nothing happened, so the body runs again."""
    bodies = []
    async with Proxy(bench.cell.url) as proxy:
        source = await bench.source(proxy.url)
        troth = bench.troth(proxy.url)

        async def body(say, handle):
            bodies.append(1)
            await say(f"INSERT INTO {bench.item} (n) VALUES (5)")
            if len(bodies) == 1:
                proxy.cut("finish_step", Cut.REQUEST_LOST)
            return 1

        flow = bench.flow(troth, bench.step(troth, source, body))
        async with troth.worker():
            await (await troth.start(flow)).result(timeout=20)
    assert len(bodies) == 2
    assert await bench.items() == [5]


@pytest.mark.parametrize("level", LEVELS[1:])
async def test_a_serialization_failure_runs_the_body_again(bench: Bench, level: str):
    await bench.cell.rows("INSERT INTO {}.item (n) VALUES (0)")
    troth = bench.troth()
    bodies = []

    async def body(say, handle):
        bodies.append(1)
        await say(f"SELECT n FROM {bench.item}")
        if len(bodies) == 1:  # somebody else is quicker
            somebody_else_writes(bench)
        await say(f"UPDATE {bench.item} SET n = n + 1")
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body, isolation=level))
    async with troth.worker():
        await (await troth.start(flow)).result(timeout=20)
    assert len(bodies) == 2
    assert await bench.items() == [11]
    assert await bench.entries() == 1


def somebody_else_writes(bench: Bench) -> None:
    with psycopg.connect(bench.cell.url) as other:
        other.execute(f"UPDATE {bench.item} SET n = 10")


async def test_a_run_that_was_taken_over_meanwhile_is_rolled_back(bench: Bench):
    """The fence is in the transaction: what the old owner did goes with it."""
    troth = bench.troth()
    bodies = []

    async def body(say, handle):
        bodies.append(1)
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        if len(bodies) == 1:
            with psycopg.connect(bench.cell.url) as other:
                other.execute(f"UPDATE {bench.cell.schema}.run SET claim = claim + 1")
            fenced.set()
        return 1

    fenced = threading.Event()
    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker(NodeOptions(drain_s=0.1)):  # it does not know that it has lost the run
        await troth.start(flow)

        async def done() -> bool:
            return fenced.is_set() and not await bench.cell.value(
                "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
                " AND datname = current_database()"
            )

        await until(done, "the transaction has ended")
        assert await bench.items() == []
        assert await bench.entries() == 0
        await bench.cell.rows("DELETE FROM {}.run")


async def test_a_takeover_ends_the_transactions_of_a_frozen_worker(bench: Bench):
    """Every transaction says whose it is, so that a successor can end it."""
    troth = bench.troth()
    signed = []

    async def body(say, handle):
        (pid,) = await say("SELECT pg_backend_pid()")
        query = (
            "SELECT count(*) FROM pg_locks l WHERE l.pid = {pid} AND l.locktype = 'advisory' AND"
            " (l.classid::bigint << 32 | l.objid::bigint) = {s}.session_lock({worker})"
        )
        worker = troth_worker[0]
        asked = query.format(pid=pid, s=bench.cell.schema, worker=worker)
        signed.append((await say(asked))[0])
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker() as opened:
        troth_worker = [opened.node.writer.worker]
        for _ in range(2):  # a session of a pool, new and used
            await (await troth.start(flow)).result(timeout=20)
    assert signed == [1, 1]


@pytest.mark.parametrize("what", ["commit", "rollback", "COMMIT", "ROLLBACK"])
async def test_a_body_that_ends_the_transaction_is_told(bench: Bench, what: str):
    if what.islower() and getattr(bench.kind, what) is None:
        pytest.skip("this library's handles have no such verb")
    troth = bench.troth()

    async def body(say, handle):
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        if what.isupper():
            await say(what)
        else:
            await bench.end(what, handle)
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker():
        said = await attention(bench, await troth.start(flow))
    assert "UsageError" in said
    assert "has ended the transaction itself" in said
    assert await bench.entries() == 0
    if what != "COMMIT":  # nobody can take back what SQL has committed
        assert await bench.items() == []


async def test_a_swallowed_refusal_does_not_help(bench: Bench):
    if bench.kind.commit is None:
        pytest.skip("this library's handles have no such verb")
    troth = bench.troth()

    async def body(say, handle):
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        try:
            await bench.end("commit", handle)
        except Exception:  # noqa: BLE001
            return 1
        return 2

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker():
        run = await troth.start(flow)

        async def over() -> bool:
            state = await bench.cell.run(run.id)
            return state is None or state[0] == "attention"

        await until(over, "the run has ended or stands")
    together = {(0, ()), (1, (1,))}  # both, if the library's commit did nothing, or none
    assert (await bench.entries(), tuple(await bench.items())) in together


async def test_a_late_use_of_the_handle_is_refused(bench: Bench):
    if not bench.kind.refuses_late:
        pytest.skip("the handle is the library's own, and lives on")
    troth = bench.troth()
    kept = []

    async def body(say, handle):
        kept.append(handle)
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(), body))
    async with troth.worker():
        await (await troth.start(flow)).result(timeout=20)
        with pytest.raises(Exception, match=r"closed|released"):
            await bench.execute(kept[0], f"INSERT INTO {bench.item} (n) VALUES (9)")
    assert await bench.items() == []


async def test_another_database_is_refused(bench: Bench):
    if bench.kind.name.startswith("own"):
        pytest.skip("it is troth's own")
    other = await asyncio.to_thread(create_database, bench.cell.url, f"foreign_{uuid.uuid4().hex}")
    troth = bench.troth()
    bodies = []

    async def body(say, handle):
        bodies.append(1)
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(other), body))
    async with troth.worker():
        said = await attention(bench, await troth.start(flow))
    assert "ForeignTransactionError" in said
    assert not bodies


async def test_steps_wait_for_a_connection(bench: Bench):
    """More steps than connections: they wait, and none fails."""
    troth = bench.troth()

    async def body(say, handle):
        await say("SELECT pg_advisory_xact_lock(4711)")
        await say(f"INSERT INTO {bench.item} (n) VALUES (1)")
        return 1

    flow = bench.flow(troth, bench.step(troth, await bench.source(size=1), body))
    holder = await bench.cell.session()
    await holder.execute("SELECT pg_advisory_lock(4711)")
    async with troth.worker():
        runs = [await troth.start(flow) for _ in range(5)]

        async def one_waits() -> bool:
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted AND pid <> pg_backend_pid() AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            return bool(await bench.cell.value(query))

        await until(one_waits, "a step has the connection, and waits")
        await holder.execute("SELECT pg_advisory_unlock(4711)")
        for run in runs:
            assert await run.result(timeout=20) == 1
    assert await bench.items() == [1] * 5
