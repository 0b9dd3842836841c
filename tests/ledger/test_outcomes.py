"""Every outcome, and their order: of two things that are wrong, the one that is checked first is said."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cell import until
from tests.ledger.conftest import Books, eur, usd
from troth.ledger import (
    Compound,
    Credit,
    Debit,
    Hold,
    Linked,
    Outcome,
    PostHold,
    Reversal,
    Transfer,
    VoidHold,
)
from troth.ledger.rules import MEANS, expiry, transfer_id

Make = Callable[[Books], Awaitable[Outcome]]
PAGE = Path(__file__).parents[2] / "docs" / "ledger" / "outcomes.md"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def books(books):
    """Money here and there, an account of each kind of limit, one that is closed, and a period that is closed."""
    await books.open("bank", "till", "closed", side="debit")
    await books.open("sales", "other")
    await books.open("usd", "usd:2", currency="USD")
    await books.open("customer", "poor", limit="debits_must_not_exceed_credits")
    await books.open("loan", side="debit", limit="credits_must_not_exceed_debits")
    await books.open("overdraft", limit="minimum_balance", minimum=eur(-50))
    await books.open("deposit", side="debit", limit="minimum_balance", minimum=eur(10))
    assert set(await books.post(
        Transfer("first", "bank", "sales", eur(100)),
        Transfer("in", "bank", "customer", eur(10)),
        Compound("legs", [Debit("bank", eur(3)), Credit("sales", eur(2)), Credit("other", eur(1))]),
        Hold("hold", "customer", "sales", eur(5), timeout=timedelta(days=1), code="c"),
        Hold("gone", "bank", "sales", eur(5), timeout=timedelta(microseconds=1)),
        Hold("open", "bank", "sales", eur(5)),
        Hold("was posted", "bank", "sales", eur(5)), PostHold("posting", "was posted", eur(2)),
        Hold("was voided", "bank", "sales", eur(5)), VoidHold("voiding", "was voided"),
        Hold("closed later", "bank", "closed", eur(5)),
        Transfer("there later", "bank", "closed", eur(5)),
        Reversal("undo", "in", eur(1)),
    )) == {"created"}  # fmt: skip
    assert await books.post(Transfer("refused", "poor", "sales", eur(1))) == ["exceeds_credits"]
    await books.ledger.accounts.close(books.tx, "closed")
    await books.ledger.periods.close(books.tx, LONG_AGO, by="tests")
    return books


def said(*items: Any, at: int = 0) -> Make:
    async def make(books: Books) -> Outcome:
        return (await books.post(*items))[at]

    return make


async def expired_early(books: Books) -> Outcome:
    """Only workers book the end of a hold, and only when its time is over."""
    prepared = [expiry(transfer_id("hold"))]
    from troth.ledger import store
    from troth.store.plan import carry_out

    found = await carry_out(
        books.tx, store.post(books.ledger.queries, prepared, [None], strict=False, direct=False)
    )
    return found[0].outcome


FIRST = {"id": "first", "debit": "bank", "credit": "sales", "amount": eur(100)}

TABLE: dict[Outcome, Make] = {
    Outcome.CREATED: said(Transfer("n", "bank", "sales", eur(1))),
    Outcome.LINKED_EVENT_FAILED: said(
        Linked(Transfer("n", "bank", "sales", eur(1)), Transfer("m", "poor", "sales", eur(1)))
    ),
    Outcome.EXISTS_WITH_DIFFERENT_FLAGS: said(Hold("first", "bank", "other", eur(1))),
    Outcome.EXISTS_WITH_DIFFERENT_PENDING_ID: said(PostHold("posting", "hold", eur(1))),
    Outcome.EXISTS_WITH_DIFFERENT_REVERSED_ID: said(Reversal("undo", "first", eur(3))),
    Outcome.EXISTS_WITH_DIFFERENT_TIMEOUT: said(Hold("hold", "bank", "other", eur(1))),
    Outcome.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID: said(Transfer("first", "till", "other", eur(1))),
    Outcome.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID: said(Transfer("first", "bank", "other", eur(1))),
    Outcome.EXISTS_WITH_DIFFERENT_LEGS: said(
        Compound("legs", [Debit("bank", eur(3)), Credit("sales", eur(1)), Credit("other", eur(2))], code="x")
    ),
    Outcome.EXISTS_WITH_DIFFERENT_AMOUNT: said(Transfer("first", "bank", "sales", usd(99))),
    Outcome.EXISTS_WITH_DIFFERENT_CURRENCY: said(
        Transfer("first", "bank", "sales", usd(100), effective_at=LONG_AGO)
    ),
    Outcome.EXISTS_WITH_DIFFERENT_EFFECTIVE_AT: said(
        Transfer(**FIRST, effective_at=LONG_AGO, metadata={"a": 1})
    ),
    Outcome.EXISTS_WITH_DIFFERENT_METADATA: said(Transfer(**FIRST, metadata={"a": 1}, code="x")),
    Outcome.EXISTS_WITH_DIFFERENT_CODE: said(Transfer(**FIRST, code="x")),
    Outcome.EXISTS: said(Transfer(**FIRST)),
    Outcome.ID_ALREADY_FAILED: said(Transfer("refused", "nowhere", "nobody", usd(7))),
    Outcome.DEBIT_ACCOUNT_NOT_FOUND: said(Transfer("n", "nowhere", "nobody", usd(1))),
    Outcome.CREDIT_ACCOUNT_NOT_FOUND: said(Transfer("n", "bank", "nobody", usd(1))),
    Outcome.ACCOUNTS_MUST_HAVE_THE_SAME_CURRENCY: said(
        Transfer("n", "bank", "usd", eur(1), effective_at=LONG_AGO - timedelta(1))
    ),
    Outcome.TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS: said(
        Transfer("n", "bank", "sales", usd(1), effective_at=LONG_AGO - timedelta(1))
    ),
    Outcome.PENDING_TRANSFER_NOT_FOUND: said(PostHold("n", "nothing", usd(10**6))),
    Outcome.PENDING_TRANSFER_NOT_PENDING: said(VoidHold("n", "first")),
    Outcome.REVERSED_TRANSFER_NOT_FOUND: said(Reversal("n", "refused")),
    Outcome.REVERSED_TRANSFER_NOT_POSTED: said(Reversal("n", "hold", eur(10**6))),
    Outcome.EXCEEDS_PENDING_TRANSFER_AMOUNT: said(PostHold("n", "was posted", eur(6))),
    Outcome.PENDING_TRANSFER_ALREADY_POSTED: said(PostHold("n", "was posted", usd(3))),
    Outcome.PENDING_TRANSFER_ALREADY_VOIDED: said(VoidHold("n", "was voided")),
    Outcome.PENDING_TRANSFER_EXPIRED: said(PostHold("n", "gone", effective_at=LONG_AGO - timedelta(1))),
    Outcome.PENDING_TRANSFER_NOT_EXPIRED: expired_early,
    Outcome.EXCEEDS_REVERSIBLE: said(Reversal("n", "in", eur(10), effective_at=LONG_AGO - timedelta(1))),
    Outcome.PERIOD_CLOSED: said(
        Transfer("n", "poor", "closed", eur(1), effective_at=LONG_AGO - timedelta(microseconds=1))
    ),
    Outcome.DEBIT_ACCOUNT_ALREADY_CLOSED: said(Transfer("n", "closed", "loan", eur(1))),
    Outcome.CREDIT_ACCOUNT_ALREADY_CLOSED: said(Transfer("n", "poor", "closed", eur(1))),
    Outcome.EXCEEDS_CREDITS: said(Transfer("n", "poor", "loan", eur(1))),
    Outcome.EXCEEDS_DEBITS: said(Transfer("n", "bank", "loan", eur(1))),
    Outcome.BALANCE_BELOW_MINIMUM: said(Transfer("n", "overdraft", "sales", eur(51))),
}  # fmt: skip


def test_the_table_is_whole():
    assert list(TABLE) == list(Outcome)
    assert list(MEANS) == list(Outcome)


async def test_every_outcome_has_a_transfer_that_comes_to_it(books):
    found = {}
    for outcome, make in TABLE.items():
        async with books.tx.transaction(force_rollback=True):
            found[outcome] = await make(books)
    assert found == {outcome: outcome for outcome in Outcome}
    await books.audit()


# What is checked one after the other, with a transfer that is wrong in both ways.
BOTH: list[tuple[Any, Outcome]] = [
    (Transfer("n", "nowhere", "nobody", eur(1)), Outcome.DEBIT_ACCOUNT_NOT_FOUND),
    (Transfer("n", "nowhere", "bank", usd(1)), Outcome.DEBIT_ACCOUNT_NOT_FOUND),
    (Transfer("n", "bank", "nobody", usd(1)), Outcome.CREDIT_ACCOUNT_NOT_FOUND),
    (Transfer("n", "bank", "usd", usd(1)), Outcome.ACCOUNTS_MUST_HAVE_THE_SAME_CURRENCY),
    (Transfer("n", "closed", "usd", eur(1)), Outcome.ACCOUNTS_MUST_HAVE_THE_SAME_CURRENCY),
    (Transfer("n", "usd", "usd:2", eur(1)), Outcome.TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS),
    (Compound("n", [Debit("nowhere", eur(2)), Credit("nobody", eur(2))]), Outcome.DEBIT_ACCOUNT_NOT_FOUND),
    (Compound("n", [Credit("nobody", eur(2)), Debit("nowhere", eur(2))]), Outcome.DEBIT_ACCOUNT_NOT_FOUND),
    (Compound("n", [Credit("nobody", eur(2)), Debit("usd", eur(2))]), Outcome.CREDIT_ACCOUNT_NOT_FOUND),
    (Compound("n", [Credit("closed", eur(2)), Debit("poor", eur(2))]), Outcome.CREDIT_ACCOUNT_ALREADY_CLOSED),
    (PostHold("n", "first", eur(10**6)), Outcome.PENDING_TRANSFER_NOT_PENDING),
    (PostHold("n", "was voided", eur(6)), Outcome.EXCEEDS_PENDING_TRANSFER_AMOUNT),
    (PostHold("n", "gone", eur(6)), Outcome.EXCEEDS_PENDING_TRANSFER_AMOUNT),
    (PostHold("n", "open", usd(5)), Outcome.TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS),
    (PostHold("n", "closed later"), Outcome.CREDIT_ACCOUNT_ALREADY_CLOSED),
    (VoidHold("n", "closed later"), Outcome.CREATED),
    (Reversal("n", "there later"), Outcome.DEBIT_ACCOUNT_ALREADY_CLOSED),
    (Reversal("n", "refused", eur(1)), Outcome.REVERSED_TRANSFER_NOT_FOUND),
    (Reversal("n", "legs", eur(1)), Outcome.EXCEEDS_REVERSIBLE),
    (Reversal("n", "first", usd(1)), Outcome.TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS),
    (Transfer("n", "poor", "sales", eur(1), effective_at=LONG_AGO), Outcome.EXCEEDS_CREDITS),
    (Transfer("n", "customer", "sales", eur(5)), Outcome.EXCEEDS_CREDITS),  # 10, less 1 reversed, less 5 held
    (Transfer("n", "customer", "sales", eur(4)), Outcome.CREATED),
    (Transfer("n", "overdraft", "sales", eur(50)), Outcome.CREATED),
    (Transfer("n", "bank", "deposit", eur(1)), Outcome.BALANCE_BELOW_MINIMUM),
    (Transfer("n", "deposit", "sales", eur(1)), Outcome.CREATED),  # towards the minimum
    (Transfer("n", "overdraft", "loan", eur(51)), Outcome.EXCEEDS_DEBITS),
    (Compound("n", [Debit("overdraft", eur(51)), Credit("loan", eur(50)), Credit("sales", eur(1))]), Outcome.EXCEEDS_DEBITS),
    (Compound("n", [Credit("loan", eur(52)), Debit("overdraft", eur(51)), Debit("poor", eur(1))]), Outcome.EXCEEDS_CREDITS),
]  # fmt: skip


async def test_of_two_things_the_first_is_said(books):
    found = []
    for item, _ in BOTH:
        async with books.tx.transaction(force_rollback=True):
            found.append((item, (await books.post(item))[0]))
    assert found == BOTH


async def test_a_reversal_of_many_legs_beside_an_account_that_is_not_there(books):
    assert await books.post(Reversal("n", "legs"), Transfer("m", "nowhere", "sales", eur(1))) == [
        "created", "debit_account_not_found"
    ]  # fmt: skip
    await books.audit(folded=True)


async def test_the_outcomes_stand_in_the_order_in_which_they_are_checked():
    order = {outcome: place for place, outcome in enumerate(Outcome)}
    chains = [
        ["exists", "id_already_failed", "debit_account_not_found", "credit_account_not_found",
         "accounts_must_have_the_same_currency", "transfer_must_have_the_same_currency_as_accounts", "period_closed",
         "debit_account_already_closed", "credit_account_already_closed", "exceeds_credits", "exceeds_debits"],
        ["pending_transfer_not_found", "pending_transfer_not_pending", "exceeds_pending_transfer_amount",
         "pending_transfer_already_posted", "pending_transfer_already_voided", "pending_transfer_expired"],
    ]  # fmt: skip
    for chain in chains:
        places = [order[Outcome(name)] for name in chain]
        assert all(a < b for a, b in pairwise(places))


async def test_a_hold_that_is_over_is_known_by_the_servers_clock(books):
    async def is_over() -> bool:
        return await books.post(VoidHold("v", "gone")) == ["pending_transfer_expired"]

    await until(is_over, "the hold is over")


def test_the_page_says_what_the_code_says():
    rows = [
        line.split(" | ")
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert [(row[0].strip("|` "), row[1]) for row in rows] == [(o.value, MEANS[o]) for o in Outcome]
    final = {row[0].strip("|` ") for row in rows if row[3].strip("| ") == "yes"}
    places = list(Outcome)
    later = places[places.index(Outcome.ID_ALREADY_FAILED) + 1 :]
    assert final == {Outcome.CREATED, *later}
