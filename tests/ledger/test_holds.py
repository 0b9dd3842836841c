"""Holds: what is reserved counts, what is posted of it, what is released, and what time ends. And reversals."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.harness.cell import until
from tests.ledger.conftest import eur
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
    VoidHold,
)

MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def books(books):
    """A customer with 100."""
    await books.open("bank", side="debit")
    await books.open("sales")
    await books.open("customer", "shop", limit="debits_must_not_exceed_credits")
    assert await books.post(Transfer("in", "bank", "customer", eur(100))) == ["created"]
    return books


async def totals(books, code: str) -> tuple[int, int, int, int]:
    b = await books.balance(code)
    return (b.debits_posted, b.credits_posted, b.debits_pending, b.credits_pending)


async def test_a_hold_counts_against_the_limit(books):
    assert await books.post(
        Hold("h1", "customer", "sales", eur(60)), Hold("h2", "customer", "sales", eur(41)),
        Transfer("t1", "customer", "sales", eur(41)), Hold("h3", "customer", "sales", eur(40)),
        Transfer("t2", "customer", "sales", eur(1)),
    ) == ["created", "exceeds_credits", "exceeds_credits", "created", "exceeds_credits"]  # fmt: skip
    assert await totals(books, "customer") == (0, 100, 100, 0)
    assert await totals(books, "sales") == (0, 0, 0, 100)
    assert (await books.balance("customer")).available == eur(0)
    assert (await books.balance("customer")).posted == eur(100)
    await books.audit(folded=True)


async def test_what_is_held_for_an_account_is_not_there_yet(books):
    assert await books.post(
        Hold("h", "bank", "shop", eur(50)), Transfer("t", "shop", "sales", eur(1))
    ) == ["created", "exceeds_credits"]


async def test_posting_a_hold_moves_it_and_releases_the_rest(books):
    assert await books.post(Hold("h", "customer", "sales", eur(60)), PostHold("p", "h", eur(25))) == ["created"] * 2  # fmt: skip
    assert await totals(books, "customer") == (25, 100, 0, 0)
    assert await totals(books, "sales") == (0, 25, 0, 0)
    assert await books.post(PostHold("q", "h", eur(1)), VoidHold("v", "h")) == ["pending_transfer_already_posted"] * 2  # fmt: skip
    await books.audit(folded=True)


async def test_a_hold_is_posted_in_parts(books):
    assert await books.post(Hold("h", "customer", "sales", eur(60))) == ["created"]
    assert await books.post(
        PostHold("p1", "h", eur(25), keep_rest=True), PostHold("p2", "h", eur(36), keep_rest=True)
    ) == ["created", "exceeds_pending_transfer_amount"]
    assert await totals(books, "customer") == (25, 100, 35, 0)
    rest = await books.result(PostHold("p3", "h"))
    assert (rest.outcome, rest.amount) == ("created", 35)
    assert await totals(books, "customer") == (60, 100, 0, 0)
    again = await books.result(PostHold("p3", "h"))
    assert (again.outcome, again.amount) == ("exists", 35)
    assert await books.post(PostHold("p1", "h", eur(25))) == ["exists_with_different_flags"]
    await books.audit(folded=True)


async def test_voiding_gives_back_what_is_left(books):
    assert await books.post(
        Hold("h", "customer", "sales", eur(60)), PostHold("p", "h", eur(10), keep_rest=True),
        VoidHold("v", "h"), Transfer("t", "customer", "sales", eur(90)),
    ) == ["created"] * 4  # fmt: skip
    assert await totals(books, "customer") == (100, 100, 0, 0)
    assert await books.post(PostHold("p2", "h")) == ["pending_transfer_already_voided"]
    await books.audit(folded=True)


async def test_a_hold_whose_time_is_over_holds_nothing_though_nobody_has_booked_it(books):
    assert await books.post(Hold("h", "customer", "sales", eur(100), timeout=MOMENT)) == ["created"]

    async def is_over() -> bool:
        return (await books.balance("customer")).debits_pending == 0

    await until(is_over, "the hold is over")
    assert await totals(books, "sales") == (0, 0, 0, 0)
    assert await books.rows("SELECT debits_pending FROM {}.ledger_balance WHERE debits_pending <> 0") == [(100,)]  # fmt: skip
    assert await books.post(
        Transfer("t", "customer", "sales", eur(70)), Hold("h2", "customer", "sales", eur(31)),
        PostHold("p", "h"), VoidHold("v", "h"),
    ) == ["created", "exceeds_credits", "pending_transfer_expired", "pending_transfer_expired"]  # fmt: skip
    assert await books.ledger.expire(books.tx) == 1
    assert await books.ledger.expire(books.tx) == 0
    await books.audit(folded=True)
    assert await books.rows("SELECT 1 FROM {}.ledger_balance WHERE debits_pending <> 0") == []
    assert await books.post(Hold("h3", "customer", "sales", eur(30))) == ["created"]
    assert await books.post(Transfer("t2", "customer", "sales", eur(1))) == ["exceeds_credits"]


async def test_the_end_of_a_hold_in_one_call_with_what_it_makes_room_for(books):
    """A call that books the end counts it once: not as held, and not twice as free."""
    from troth.ledger import rules, store
    from troth.store.plan import carry_out

    await books.post(Hold("h", "customer", "sales", eur(100), timeout=MOMENT))
    prepared = [
        rules.prepare(Transfer("t1", "customer", "sales", eur(60))),
        rules.expiry(rules.transfer_id("h")),
        rules.prepare(Transfer("t2", "customer", "sales", eur(60))),
        rules.prepare(Transfer("t3", "customer", "sales", eur(40))),
    ]
    plan = store.post(books.ledger.queries, prepared, [None] * 4, strict=False, direct=False)
    found = await carry_out(books.tx, plan)
    assert [each.outcome for each in found] == ["created", "created", "exceeds_credits", "created"]
    await books.audit(folded=True)


async def test_a_hold_and_its_posting_in_one_group(books):
    assert await books.post(
        Linked(Hold("h", "customer", "sales", eur(60)), PostHold("p", "h", eur(60)),
               Transfer("t", "customer", "sales", eur(41))),
        Linked(Hold("g", "customer", "sales", eur(60)), PostHold("q", "g", eur(30), keep_rest=True),
               Transfer("u", "customer", "sales", eur(40))),
        PostHold("r", "g"), PostHold("s", "h"),
    ) == ["linked_event_failed", "linked_event_failed", "exceeds_credits", "created", "created", "created", "created",
          "pending_transfer_not_found"]  # fmt: skip
    assert await totals(books, "customer") == (100, 100, 0, 0)
    assert await books.count("hold") == 1
    await books.audit(folded=True)


async def test_a_failed_group_leaves_a_hold_as_it_was(books):
    assert await books.post(Hold("h", "customer", "sales", eur(60))) == ["created"]
    group = Linked(PostHold("p", "h", eur(50)), Transfer("t", "customer", "sales", eur(51)))
    assert await books.post(group, PostHold("q", "h", eur(55))) == [
        "linked_event_failed", "exceeds_credits", "created"
    ]  # fmt: skip
    assert await totals(books, "customer") == (55, 100, 0, 0)
    await books.audit(folded=True)


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(-1), timedelta(days=365_000)], ids=str)
async def test_a_timeout_is_a_time(books, timeout):
    with pytest.raises(InvalidTransferError, match="timeout"):
        await books.ledger.post(books.tx, Hold("h", "bank", "sales", eur(1), timeout=timeout))


# Reversals ------------------------------------------------------------------------------------------------------------


async def test_a_transfer_is_taken_back_in_parts_and_never_more_than_it_was(books):
    await books.post(Transfer("t", "customer", "sales", eur(50)))
    assert await books.post(
        Reversal("r1", "t", eur(20)), Reversal("r2", "t", eur(31)), Reversal("r3", "t", eur(20))
    ) == ["created", "exceeds_reversible", "created"]
    rest = await books.result(Reversal("r4", "t"))
    assert (rest.outcome, rest.amount) == ("created", 10)
    assert await books.post(Reversal("r5", "t")) == ["exceeds_reversible"]
    assert await totals(books, "customer") == (50, 150, 0, 0)
    assert await totals(books, "sales") == (50, 50, 0, 0)
    found = await books.ledger.transfer(books.tx, "r1")
    assert (found.about, found.legs) == ((await books.ledger.transfer(books.tx, "t")).id, (("sales", 20), ("customer", -20)))  # fmt: skip
    await books.audit(folded=True)


async def test_a_reversal_keeps_limits(books):
    await books.post(Transfer("spend", "customer", "sales", eur(95)))
    assert await books.post(Reversal("r", "in", eur(6)), Reversal("s", "in", eur(5))) == [
        "exceeds_credits", "created"
    ]  # fmt: skip
    await books.audit(folded=True)


async def test_what_was_posted_of_a_hold_is_reversed_like_a_transfer(books):
    await books.post(Hold("h", "customer", "sales", eur(60)), PostHold("p", "h", eur(40)))
    assert await books.post(Reversal("r1", "p", eur(41)), Reversal("r2", "h"), Reversal("r3", "p")) == [
        "exceeds_reversible", "reversed_transfer_not_posted", "created"
    ]  # fmt: skip
    assert await totals(books, "customer") == (40, 140, 0, 0)
    await books.audit(folded=True)


async def test_a_transfer_and_its_reversal_in_one_call(books):
    legs = [Debit("bank", eur(5)), Credit("sales", eur(3)), Credit("customer", eur(2))]
    assert await books.post(
        Transfer("t", "bank", "sales", eur(9)), Reversal("r", "t", eur(4)), Reversal("s", "t", eur(6)), Reversal("u", "t"),
        Compound("c", legs), Reversal("v", "c"), Reversal("w", "c"), Reversal("x", "v"),
        Reversal("y", "later"), Transfer("later", "bank", "sales", eur(1)),
    ) == ["created", "created", "exceeds_reversible", "created", "created", "created", "exceeds_reversible", "created",
          "reversed_transfer_not_found", "created"]  # fmt: skip
    assert await books.posted("sales") == 0 + 3 + 1
    await books.audit(folded=True)


async def test_a_failed_group_leaves_a_transfer_as_reversible_as_it_was(books):
    await books.post(Transfer("t", "customer", "sales", eur(50)))
    group = Linked(Reversal("r", "t", eur(50)), Transfer("u", "customer", "sales", eur(101)))
    assert await books.post(group, Reversal("s", "t", eur(50))) == [
        "linked_event_failed", "exceeds_credits", "created"
    ]  # fmt: skip
    await books.audit(folded=True)
