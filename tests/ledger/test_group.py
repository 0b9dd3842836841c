"""Many callers, few calls: each hears what came of its own, also when calls, connections and processes fail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from tests.harness.cell import until
from tests.ledger.conftest import eur
from tests.ledger.test_against_auditor import is_sound_at
from troth import UsageError
from troth.ledger import (
    Compound,
    Credit,
    Debit,
    Hold,
    InvalidTransferError,
    Linked,
    PostHold,
    Reversal,
    Transfer,
    TransferRefused,
    transfer_id,
)
from troth.ledger.fold import Folder
from troth.store.failure import DatabaseError


@pytest.fixture
async def books(books):
    await books.open("bank", "hot", side="debit")
    await books.open("sales")
    await books.open("customer", limit="debits_must_not_exceed_credits")
    return books


async def test_many_callers_share_calls(books):
    async with books.ledger.poster(books.cell.url, flights=1) as poster:
        results = await asyncio.gather(*(
            poster.post(Transfer(f"t{n}", "hot", "sales", eur(n + 1))) for n in range(200)
        ))  # fmt: skip
        assert poster.calls <= 3
    assert [each.id for each in results] == [transfer_id(f"t{n}") for n in range(200)]
    assert [each.amount for each in results] == list(range(1, 201))
    assert await books.count("queue") == 0  # entries at once
    assert await books.posted("hot") == 200 * 201 // 2
    await books.audit()


async def test_everything_can_be_posted_by_a_group(books):
    async with books.ledger.poster(books.cell.url) as poster:
        await poster.post(Transfer("in", "bank", "customer", eur(100), code="c", metadata={"a": "ü"}))  # fmt: skip
        legs = [Debit("bank", eur(3)), Credit("sales", eur(2)), Credit("customer", eur(1))]
        found = await poster.try_post_all([
            Hold("h", "customer", "sales", eur(50)), PostHold("p", "h", eur(20), keep_rest=True), Compound("c", legs),
            Linked(Transfer("a", "customer", "sales", eur(50)), Transfer("b", "customer", "sales", eur(50))),
            Reversal("r", "in", eur(1)),
        ])  # fmt: skip
        assert [each.outcome for each in found] == [
            "created", "created", "created", "linked_event_failed", "exceeds_credits", "created"
        ]  # fmt: skip
        with pytest.raises(TransferRefused, match="exceeds_credits"):
            await poster.post(Transfer("d", "customer", "sales", eur(51)))
        assert (await poster.try_post(Transfer("d", "bank", "sales", eur(1)))).outcome == "id_already_failed"  # fmt: skip
        with pytest.raises(InvalidTransferError):
            await poster.post(Transfer("e", "bank", "bank", eur(1)))
    await books.audit(folded=True)


async def test_one_callers_refusal_is_nobody_elses(books):
    async with books.ledger.poster(books.cell.url, flights=1) as poster:
        found = await asyncio.gather(*(
            poster.try_post(Transfer(f"t{n}", "bank" if n % 3 else "customer", "sales", eur(1)))
            for n in range(30)
        ))  # fmt: skip
        assert poster.calls <= 2
    assert [each.outcome for each in found] == [
        "created" if n % 3 else "exceeds_credits" for n in range(30)
    ]
    await books.audit()


async def test_two_callers_with_one_id_get_one_transfer(books):
    async with books.ledger.poster(books.cell.url) as poster:
        item, other = Transfer("t", "bank", "sales", eur(1)), Transfer("t", "bank", "sales", eur(2))
        found = await asyncio.gather(*(poster.try_post(each) for each in (item, item, other, item)))
    assert sorted(each.outcome for each in found) == ["created", "exists", "exists", "exists_with_different_amount"]  # fmt: skip
    await books.audit()


async def test_what_breaks_a_call_fails_for_its_caller_alone(books):
    """Some error of the database that no check foresees, of one of many items."""
    schema = books.cell.schema
    await books.tx.execute(
        f"ALTER TABLE {schema}.ledger_transfer ADD CONSTRAINT planted CHECK (amount <> 666)"
    )
    async with books.ledger.poster(books.cell.url, flights=1) as poster:
        found = await asyncio.gather(
            *(poster.post(Transfer(f"t{n}", "bank", "sales", eur(666 if n == 7 else 1))) for n in range(20)),
            return_exceptions=True,
        )  # fmt: skip
    assert [n for n, each in enumerate(found) if isinstance(each, BaseException)] == [7]
    assert isinstance(found[7], DatabaseError)
    assert await books.posted("bank") == 19
    await books.audit()


async def test_a_poster_that_is_not_open_says_so(books):
    poster = books.ledger.poster(books.cell.url)
    with pytest.raises(UsageError, match="not open"):
        await poster.post(Transfer("t", "bank", "sales", eur(1)))
    async with poster:
        asked = asyncio.create_task(poster.post(Transfer("t", "bank", "sales", eur(1))))
        await asyncio.sleep(0)
    assert (await asked).outcome == "created"  # leaving waits for what was asked
    for wrong in ({"batch": 0}, {"batch": 8193}, {"flights": 0}):
        with pytest.raises(UsageError):
            books.ledger.poster(books.cell.url, **wrong)


async def test_a_call_whose_answer_was_lost_is_sent_again(books):
    """The connection is cut while the call waits for a lock, and once more; then it goes through, once."""
    holder = await books.cell.session()
    await books.post(Transfer("in", "bank", "customer", eur(10)))
    async with books.ledger.poster(books.cell.url, flights=1) as poster:
        async with holder.transaction():
            await books.ledger.post(holder, Transfer("x", "customer", "sales", eur(1)))
            asked = asyncio.create_task(poster.post(Transfer("t", "customer", "sales", eur(2))))
            cut = [await books.cell.waiting_backend("ledger_post")]
            await books.rows("SELECT pg_terminate_backend(%s)", cut[0])

            async def again() -> bool:
                return await books.cell.waiting_backend("ledger_post") not in cut

            await until(again, "the call was sent again")
            cut.append(await books.cell.waiting_backend("ledger_post"))
            await books.rows("SELECT pg_terminate_backend(%s)", cut[1])
            await until(again, "and once more")
        assert (await asked).outcome == "created"
    assert await books.posted("customer") == 7
    await books.audit(folded=True)


# Processes ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def running(books, role: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process of the ledger's that is killed at the end, if not before."""
    command = [
        sys.executable,
        "-m",
        "tests.ledger.program",
        role,
        books.cell.url,
        books.cell.schema,
    ]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_poster_that_is_killed_has_posted_what_it_acknowledged(books):
    acknowledged = set()
    async with running(books, "poster") as process, asyncio.timeout(60):
        assert process.stdout is not None
        while len(acknowledged) < 300:
            acknowledged.add((await process.stdout.readline()).decode().strip())
        process.kill()
        rest = (await process.stdout.read()).decode()
        acknowledged |= set(rest.rpartition("\n")[0].split())
    async with books.ledger.poster(books.cell.url) as poster:
        again = [Transfer(key, "bank", "customer", eur(1)) for key in sorted(acknowledged)]
        found = await poster.try_post_all(again)
        assert {each.outcome for each in found} == {"exists"}
        last = max(int(key.partition(":")[2]) for key in acknowledged)
        more = [Transfer(f"{c}:{n}", "bank", "customer", eur(1)) for c in range(8) for n in range(last + 3)]  # fmt: skip
        found = await poster.try_post_all(more)
    assert {each.outcome for each in found} == {"exists", "created"}
    assert await books.posted("customer") == len(more)  # each once, whoever has posted it
    await books.audit()


async def test_a_poster_that_is_killed_within_a_call_has_posted_nothing_of_it(books):
    holder = await books.cell.session()
    async with holder.transaction(), running(books, "poster") as process:
        schema = books.cell.schema
        await holder.execute(f"SELECT FROM {schema}.ledger_balance FOR UPDATE")
        pid = await books.cell.waiting_backend(
            "ledger_post"
        )  # the ids are taken, balances are waited for
        process.kill()
        await process.wait()
    gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
    await until(lambda: books.cell.value(gone, pid), "its session is gone")
    before = await books.count(
        "transfer"
    )  # of a call that went through after the lock, and nobody heard of
    found = await books.post(*(Transfer(f"{n}:0", "bank", "customer", eur(1)) for n in range(8)))
    assert found.count("exists") == before
    assert await books.posted("customer") == 8
    await books.audit(folded=True)


async def test_a_folder_that_is_killed_within_a_fold_leaves_it_to_the_next(books):
    holder = await books.cell.session()
    async with holder.transaction():
        await holder.execute(f"SELECT FROM {books.cell.schema}.ledger_balance FOR UPDATE")
        async with running(books, "folder") as process:
            for number in range(20):
                await books.ledger.post(books.tx, Transfer(f"t{number}", "hot", "sales", eur(1)))
            pid = await books.cell.waiting_backend(
                "ledger_fold"
            )  # it has rows, and waits for the balances
            process.kill()
            await process.wait()
        assert await books.posted("hot") == 20
        await books.rows(
            "SELECT pg_terminate_backend(%s)", pid
        )  # the server hears of a dead client when it writes
    await books.audit()
    async with running(books, "folder"):

        async def folded() -> bool:
            return await books.count("queue") == 0

        await until(folded, "another folder does it")
    assert [e.version for e in await books.ledger.statement(books.tx, "hot")] == list(range(20, 0, -1))  # fmt: skip
    await books.audit()


@pytest.mark.parametrize(
    ("within", "held"),
    [
        ("ledger_post", "SELECT FROM {}.ledger_hold FOR UPDATE"),  # it books the end of a hold
        pytest.param(
            "ledger_check_point",
            "LOCK TABLE {}.ledger_checkpoint IN SHARE MODE",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "ledger_seal", "LOCK TABLE {}.ledger_block IN SHARE MODE", marks=pytest.mark.slow
        ),
    ],
    ids=["the end of a hold", "totals of a period", "a block"],
)
async def test_a_folder_that_is_killed_in_its_other_work_leaves_it_to_the_next(books, within, held):
    """All that a worker does for the ledger but folding; that is the test before."""
    await books.post(
        Hold("h", "hot", "sales", eur(5), timeout=timedelta(milliseconds=1)),
        *(Transfer(f"t{number}", "hot", "sales", eur(1)) for number in range(5)),
    )
    await books.fold()
    await books.ledger.periods.close(books.tx, datetime.now(UTC), by="ada")
    holder = await books.cell.session()
    async with holder.transaction():
        await holder.execute(held.replace("{}", books.cell.schema))
        async with running(books, "folder") as process:
            pid = await books.cell.waiting_backend(within)
            process.kill()
            await process.wait()
        await books.rows("SELECT pg_terminate_backend(%s)", pid)
    await books.audit()
    async with running(books, "folder"):

        async def done() -> bool:
            states = await books.rows("SELECT state::text FROM {}.ledger_hold")
            rest = [await books.count(table) for table in ("queue", "unsealed")]
            return (
                states == [("expired",)] and rest == [0, 0] and await books.count("checkpoint") == 2
            )

        await until(done, "another folder does it")
    kinds = await books.rows(
        "SELECT kind::text, count(*) FROM {}.ledger_transfer GROUP BY 1 ORDER BY 1"
    )
    assert sorted(kinds) == [("expiry", 1), ("hold", 1), ("transfer", 5)]
    await is_sound_at(books.cell.url, books.cell.schema)


async def test_a_worker_folds_and_books_the_end_of_holds(books):
    await books.post(Hold("h", "hot", "sales", eur(5), timeout=timedelta(milliseconds=50)))
    await books.post(Transfer("t", "hot", "sales", eur(1)))
    async with running(books, "folder"):

        async def done() -> bool:
            kinds = await books.rows("SELECT kind::text FROM {}.ledger_transfer ORDER BY seq")
            return ("expiry",) in kinds and await books.count("queue") == 0

        await until(done, "the hold has ended")
    assert isinstance(books.ledger.relays[0], Folder)
    assert await books.rows("SELECT state::text FROM {}.ledger_hold") == [("expired",)]
    await books.audit()
