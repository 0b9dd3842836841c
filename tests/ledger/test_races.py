"""Sessions that want the same id, account, hold or period, in a forced order."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import IsolationLevel, errors

from tests.harness.cell import until
from tests.ledger.conftest import eur
from troth.ledger import ClosingError, Hold, PostHold, Reversal, Transfer, TransferRefused
from troth.ledger.fold import Folder

HIGHER = [IsolationLevel.REPEATABLE_READ, IsolationLevel.SERIALIZABLE]


@pytest.fixture
async def books(books):
    await books.open("bank", "hot", side="debit")
    await books.open("sales")
    await books.open("customer", "other", limit="debits_must_not_exceed_credits")
    await books.post(
        Transfer("in", "bank", "customer", eur(100)), Transfer("in too", "bank", "other", eur(100))
    )
    return books


@pytest.fixture
async def two(books):
    return await books.cell.session(), await books.cell.session()


# One id ---------------------------------------------------------------------------------------------------------------


async def test_the_same_id_waits_for_the_first_and_exists(books, two):
    first, second = two
    item = Transfer("t", "bank", "sales", eur(5))
    async with first.transaction():
        await books.ledger.post(first, item)
        waiting = await books.cell.blocked(books.ledger.try_post(second, item), second, first)
    assert (await waiting).outcome == "exists"
    await books.audit(folded=True)


async def test_the_same_id_is_free_if_the_first_is_rolled_back(books, two):
    first, second = two
    async with first.transaction(force_rollback=True):
        await books.ledger.post(first, Transfer("t", "bank", "sales", eur(5)))
        other = Transfer("t", "bank", "sales", eur(6))
        waiting = await books.cell.blocked(books.ledger.try_post(second, other), second, first)
    assert (await waiting).outcome == "created"
    await books.audit(folded=True)


async def test_a_refusal_and_a_transfer_of_one_id_are_one_outcome(books, two):
    first, second = two
    async with first.transaction():
        await books.ledger.try_post(first, Transfer("t", "customer", "sales", eur(101)))
        good = Transfer("t", "bank", "sales", eur(1))
        waiting = await books.cell.blocked(books.ledger.try_post(second, good), second, first)
    assert (await waiting).outcome == "id_already_failed"
    assert await books.count("refusal") == 1


async def test_an_id_that_was_refused_unrecorded_is_free_again(books, two):
    first, second = two
    async with first.transaction():
        with pytest.raises(TransferRefused):
            await books.ledger.post(first, Transfer("t", "customer", "sales", eur(101)))
        good = Transfer("t", "bank", "sales", eur(1))
        waiting = await books.cell.blocked(books.ledger.try_post(second, good), second, first)
    assert (await waiting).outcome == "created"
    await books.audit(folded=True)


async def test_batches_with_the_same_ids_in_other_orders_do_not_deadlock(books, two):
    first, second = two
    items = [Transfer(f"t{n}", "bank", "sales", eur(1)) for n in range(20)]
    async with first.transaction():
        await books.ledger.try_post_all(first, items)
        waiting = await books.cell.blocked(
            books.ledger.try_post_all(second, items[::-1]), second, first
        )
    assert {each.outcome for each in await waiting} == {"exists"}


# One account ----------------------------------------------------------------------------------------------------------


async def test_the_second_debit_of_a_limited_account_waits_and_sees_the_first(books, two):
    first, second = two
    async with first.transaction():
        await books.ledger.post(first, Transfer("a", "customer", "sales", eur(60)))
        late = Transfer("b", "customer", "sales", eur(41))
        waiting = await books.cell.blocked(books.ledger.try_post(second, late), second, first)
    assert (await waiting).outcome == "exceeds_credits"
    await books.audit(folded=True)


async def test_a_hold_of_another_session_counts(books, two):
    first, second = two
    async with first.transaction():
        await books.ledger.post(first, Hold("h", "customer", "sales", eur(60)))
        late = Hold("g", "customer", "sales", eur(41))
        waiting = await books.cell.blocked(books.ledger.try_post(second, late), second, first)
    assert (await waiting).outcome == "exceeds_credits"


async def test_an_account_without_a_limit_is_waited_for_by_nobody(books):
    sessions = [await books.cell.session() for _ in range(5)]
    for session in sessions:
        await session.execute("BEGIN")
        await session.execute("SET LOCAL lock_timeout = '1ms'")  # whoever waits, fails
    for number, session in enumerate(sessions):
        await books.ledger.post(session, Transfer(f"t{number}", "hot", "sales", eur(1)))
    assert (await books.balance("hot")).debits_posted == 0
    await books.ledger.fold(books.tx)  # nor does folding wait for them
    for session in reversed(sessions):
        await session.execute("COMMIT")
    assert (await books.balance("hot")).debits_posted == 5
    await books.audit(folded=True)


async def test_accounts_are_locked_in_one_order(books, two):
    first, second = two
    async with first.transaction():
        await books.ledger.post_all(first, [
            Transfer("a", "customer", "other", eur(1)), Transfer("b", "other", "customer", eur(1)),
        ])  # fmt: skip
        waiting = await books.cell.blocked(
            books.ledger.try_post_all(second, [
                Transfer("c", "other", "customer", eur(1)), Transfer("d", "customer", "other", eur(1)),
            ]), second, first,
        )  # fmt: skip
    assert [each.outcome for each in await waiting] == ["created", "created"]
    await books.audit(folded=True)


# One hold, one reversal -----------------------------------------------------------------------------------------------


async def test_a_hold_is_posted_by_one(books, two):
    first, second = two
    await books.post(Hold("h", "bank", "sales", eur(10)))  # no account of it is locked
    async with first.transaction():
        await books.ledger.post(first, PostHold("p", "h"))
        waiting = await books.cell.blocked(
            books.ledger.try_post(second, PostHold("q", "h")), second, first
        )
    assert (await waiting).outcome == "pending_transfer_already_posted"
    await books.audit(folded=True)


async def test_parts_of_a_hold_are_never_more_than_it(books, two):
    first, second = two
    await books.post(Hold("h", "bank", "sales", eur(10)))
    async with first.transaction():
        await books.ledger.post(first, PostHold("p", "h", eur(6), keep_rest=True))
        late = PostHold("q", "h", eur(6), keep_rest=True)
        waiting = await books.cell.blocked(books.ledger.try_post(second, late), second, first)
    assert (await waiting).outcome == "exceeds_pending_transfer_amount"
    await books.audit(folded=True)


async def test_a_transfer_is_reversed_by_one(books, two):
    first, second = two
    async with first.transaction():
        await books.ledger.post(first, Reversal("r", "in too", eur(60)))
        late = Reversal("s", "in too", eur(60))
        waiting = await books.cell.blocked(books.ledger.try_post(second, late), second, first)
    assert (await waiting).outcome == "exceeds_reversible"
    await books.audit(folded=True)


async def test_the_end_of_a_hold_is_booked_once(books, two):
    first, second = two
    await books.post(Hold("h", "bank", "sales", eur(10), timeout=timedelta(microseconds=1)))

    async def is_over() -> bool:
        return (await books.balance("bank")).debits_pending == 0

    await until(is_over, "the hold is over")
    async with first.transaction():
        assert await books.ledger.expire(first) == 1
        waiting = await books.cell.blocked(books.ledger.expire(second), second, first)
    assert await waiting == 0
    await books.audit(folded=True)


# Folding --------------------------------------------------------------------------------------------------------------


async def test_what_is_committed_late_is_folded_late_and_not_lost(books, two):
    first, second = two
    folder = Folder(books.ledger.queries, 1.0)
    await books.fold()
    now = asyncio.get_running_loop().time
    async with first.transaction():
        await books.ledger.post(first, Transfer("early", "hot", "sales", eur(1)))
        await books.ledger.post(second, Transfer("late", "hot", "sales", eur(2)))
        assert await folder.fold(second, now()) == 2
        assert (await books.balance("hot")).debits_posted == 2
    assert (await books.balance("hot")).debits_posted == 3  # in the queue, with a smaller number

    async def folded() -> bool:
        return await folder.fold(second, now()) == 2

    await until(folded, "the folder looks at the whole queue again")
    assert [e.key for e in await books.ledger.statement(books.tx, "hot")] == ["early", "late"]
    await books.audit()


async def test_two_folders_skip_each_others_rows_and_take_turns_on_an_account(books, two):
    first, second = two
    await books.post(Transfer("a", "hot", "sales", eur(1)))
    async with first.transaction():
        assert await books.ledger.fold(first) == 4  # of the fixture, two
        assert await books.ledger.fold(second) == 0
        assert await books.posted("hot") == 1  # for everybody else it is in the queue
        await books.post(Transfer("b", "hot", "sales", eur(2)))
        waiting = await books.cell.blocked(books.ledger.fold(second), second, first)
    assert await waiting == 2
    assert [e.version for e in await books.ledger.statement(books.tx, "hot")] == [2, 1]
    await books.audit()


async def test_a_folder_that_fails_leaves_everything(books, two):
    first, _ = two
    async with first.transaction(force_rollback=True):
        assert await books.ledger.fold(first) == 2
    assert await books.count("queue") == 2
    await books.audit(folded=True)


# Closing --------------------------------------------------------------------------------------------------------------


async def test_closing_waits_for_who_posts_and_who_comes_after_is_refused(books, two):
    closer, late = two
    poster = await books.cell.session()
    now = datetime.now(UTC)
    async with poster.transaction():
        await books.ledger.post(poster, Transfer("a", "bank", "sales", eur(1), effective_at=now - timedelta(1)))  # fmt: skip

        async def close() -> None:
            async with closer.transaction():
                await books.ledger.periods.close(closer, now, by="ada")

        closing = await books.cell.blocked(close(), closer, poster)
        item = Transfer("b", "bank", "sales", eur(1), effective_at=now - timedelta(1))
        waiting = await books.cell.blocked(books.ledger.try_post(late, item), late, closer)
    await closing
    assert (await waiting).outcome == "period_closed"
    await books.audit(folded=True)


async def test_closing_an_account_waits_too(books, two):
    closer, poster = two
    async with poster.transaction():
        await books.ledger.post(poster, Transfer("a", "bank", "sales", eur(1)))
        closing = await books.cell.blocked(books.ledger.accounts.close(closer, "sales"), closer, poster)  # fmt: skip
    await closing
    assert await books.post(Transfer("b", "bank", "sales", eur(1))) == ["credit_account_already_closed"]  # fmt: skip


async def test_closing_does_not_keep_everybody_waiting(books, two):
    closer, poster = two
    await closer.execute("SET lock_timeout = '1ms'")  # what is set in the function counts
    async with poster.transaction():
        await books.ledger.post(poster, Transfer("a", "bank", "sales", eur(1)))
        closing = await books.cell.blocked(
            books.ledger.periods.close(closer, datetime.now(UTC), by="ada"), closer, poster
        )
        with pytest.raises(ClosingError, match="transactions that post"):
            await closing
    await books.ledger.periods.close(closer, datetime.now(UTC), by="ada")


# Higher isolation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", HIGHER, ids=lambda level: level.name)
async def test_what_an_old_snapshot_cannot_see_is_a_serialization_failure(books, level):
    changes = {
        "id": lambda: books.post(Transfer("t", "bank", "sales", eur(1))),
        "balance": lambda: books.post(Transfer("u", "customer", "sales", eur(60))),
        "period": lambda: books.ledger.periods.close(books.tx, datetime.now(UTC), by="ada"),
        "account": lambda: books.ledger.accounts.close(books.tx, "hot"),
    }
    items = {
        "id": Transfer("t", "bank", "sales", eur(1)),
        "balance": Transfer("v", "customer", "sales", eur(60)),
        "period": Transfer("w", "bank", "sales", eur(1), effective_at=datetime(2020, 1, 1, tzinfo=UTC)),
        "account": Transfer("x", "hot", "sales", eur(1)),
    }  # fmt: skip
    await books.ledger.accounts.close(books.tx, "other")  # the first closing makes the gate's row
    for what, change in changes.items():
        session = await books.cell.session(level)
        async with session.transaction(force_rollback=True):
            await session.execute("SELECT 1 FROM pg_class LIMIT 1")  # the snapshot
            await change()
            with pytest.raises(errors.SerializationFailure):
                await books.ledger.post(session, items[what])
    await books.audit(folded=True)


async def test_one_look_sees_queue_and_entries_of_one_moment(books, two):
    """A reader between the two statements of a fold would count a leg twice, or not at all."""
    folder, reader = two
    await books.post(Transfer("a", "hot", "sales", eur(7)))
    async with folder.transaction():
        await books.ledger.fold(folder)
        balance = await books.ledger.balance(reader, "hot")
        assert (balance.debits_posted, balance.unfolded) == (7, 1)
        balance = await books.ledger.balance(folder, "hot")
        assert (balance.debits_posted, balance.unfolded) == (7, 0)
