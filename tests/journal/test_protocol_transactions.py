"""Transaction steps: the user's rows and the entry are one commit, also when its answer is lost; replay keeps the order."""

from __future__ import annotations

import asyncio

import pytest

from tests.harness.cell import Cell, crash, until
from tests.harness.proxy import Cut, Proxy
from troth import Troth, Tx
from troth.store.tx import BlockingTx
from troth.worker.node import NodeOptions

QUICK = NodeOptions(lease_s=0.5)
LEVELS = ["read committed", "repeatable read", "serializable"]


async def account_table(cell: Cell) -> str:
    await cell.rows("CREATE TABLE {}.account (id serial, balance int NOT NULL)")
    return f"{cell.schema}.account"


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("blocking", [False, True], ids=["async", "blocking"])
async def test_a_lost_commit_of_a_step_is_settled(cell, cut, blocking):
    """Finding 7: a lost COMMIT applied a step twice. The run's row is held until it has ended, and the journal knows."""
    account = await account_table(cell)
    bodies: list[int] = []
    async with Proxy(cell.url) as proxy:
        troth = Troth(proxy.url, schema=cell.schema)
        insert = f"INSERT INTO {account} (balance) VALUES (5)"

        async def pay_async(tx: Tx) -> int:
            bodies.append(1)
            await tx.execute(insert)
            return len(bodies)

        def pay_blocking(tx: BlockingTx) -> int:
            bodies.append(1)
            tx.execute(insert)
            return len(bodies)

        pay = troth.transaction(pay_blocking) if blocking else troth.transaction(pay_async)

        @troth.workflow
        async def w() -> int:
            return await pay()

        async with troth.worker():
            fault = proxy.cut("COMMIT", cut)
            answer = await (await troth.start(w)).result(timeout=20)
        assert fault.struck
    assert answer == (2 if cut is Cut.REQUEST_LOST else 1)
    assert len(bodies) == answer
    assert await cell.value("SELECT count(*) FROM {}.account") == 1
    assert await cell.value("SELECT count(*) FROM {}.journal WHERE kind = 2") == 1


async def test_settling_waits_for_a_commit_that_is_still_under_way(cell):
    """The cut-off COMMIT has not happened yet when it is asked for: whoever asks waits for the run's row, and then reads."""
    await account_table(cell)
    # A deferred trigger that waits for a lock holds the COMMIT itself open, for as long as the test likes.
    await cell.rows(
        "CREATE FUNCTION {0}.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_advisory_xact_lock(hashtext('{0}')); RETURN NULL; END $$".replace(
            "{0}", cell.schema
        )
    )
    await cell.rows(
        "CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON {}.account DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION {cell.schema}.hold()"
    )
    holder = await cell.session()
    await holder.execute("BEGIN")
    await holder.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (cell.schema,))
    async with Proxy(cell.url) as proxy:
        troth = Troth(proxy.url, schema=cell.schema)

        @troth.transaction
        async def pay(tx: Tx) -> str:
            await tx.execute(f"INSERT INTO {cell.schema}.account (balance) VALUES (5)")
            return "paid"

        @troth.workflow
        async def w() -> str:
            return await pay()

        async with troth.worker():
            fault = proxy.cut("COMMIT", Cut.IN_FLIGHT)
            run = await troth.start(w)
            await fault.happened()
            await cell.waiting_backend("FOR NO KEY UPDATE")
            await holder.execute("COMMIT")
            assert await run.result(timeout=20) == "paid"
    assert await cell.value("SELECT count(*) FROM {}.account") == 1


@pytest.mark.parametrize("level", LEVELS)
async def test_steps_that_conflict_are_run_again(cell, level):
    """Their isolation level is the user's: a serialization failure repeats the body, and no update is lost or doubled."""
    account = await account_table(cell)
    await cell.rows("INSERT INTO {}.account (id, balance) VALUES (1, 0)")
    troth = Troth(cell.url, schema=cell.schema)
    both_read = asyncio.Barrier(2)
    first_time = {0, 1}

    @troth.transaction(isolation=level)
    async def add(tx: Tx, n: int) -> int:
        lock = " FOR UPDATE" if level == "read committed" else ""
        if lock == "" and n in first_time:
            first_time.discard(n)
            row = await (await tx.execute(f"SELECT balance FROM {account}")).fetchone()
            await both_read.wait()
        else:
            row = await (await tx.execute(f"SELECT balance FROM {account}{lock}")).fetchone()
        assert row is not None
        await tx.execute(f"UPDATE {account} SET balance = %s", (row[0] + 1,))
        return int(row[0])

    @troth.workflow
    async def w(n: int) -> int:
        return await add(n)

    async with troth.worker():
        runs = [await troth.start(w, n) for n in range(2)]
        seen = [await run.result(timeout=20) for run in runs]
    assert sorted(seen) == [0, 1]
    assert await cell.value("SELECT balance FROM {}.account") == 2


async def test_a_replay_delivers_concurrent_results_in_the_recorded_order(cell):
    """Finding 12: ids alone do not fix the order of deliveries; a later argument was 90 live and 100 replayed."""
    order: list[str] = []
    charged: list[int] = []
    quick_is_done, crash_now = asyncio.Event(), asyncio.Event()

    def program() -> Troth:
        troth = Troth(cell.url, schema=cell.schema)

        @troth.step
        async def slow() -> str:
            order.append("slow")
            await quick_is_done.wait()
            return "slow"

        @troth.transaction
        async def quick(tx: Tx) -> str:
            order.append("quick")
            return "quick"

        @troth.step
        async def charge(amount: int) -> int:
            charged.append(amount)
            if len(charged) == 1:
                crash_now.set()
                await asyncio.Event().wait()
            return amount

        @troth.workflow
        async def w() -> int:
            amount = 100

            async def one() -> None:
                nonlocal amount
                await slow()
                amount *= 9

            async def two() -> None:
                nonlocal amount
                await quick()
                amount -= 10

            await asyncio.gather(one(), two())
            return await charge(amount)

        return troth

    first, second = program(), program()
    async with first.worker(QUICK) as opened:
        run = await first.start(first.workflows["w"])

        async def quick_recorded() -> bool:
            return bool(await cell.value("SELECT count(*) FROM {}.journal WHERE kind = 2"))

        await until(quick_recorded, "the transaction was first")
        quick_is_done.set()
        await crash_now.wait()
        await crash(opened.node)
        async with second.worker(QUICK):
            assert await second.run(run.id).result(timeout=20) == (100 - 10) * 9
    assert charged == [810, 810]
    assert order == ["slow", "quick"]  # neither body ran again
    delivered = await cell.rows("SELECT path FROM {}.journal WHERE kind = 2 ORDER BY seq")
    assert ["quick" in path for (path,) in delivered] == [True, False, False]
