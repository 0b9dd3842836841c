"""Posting in a transaction: what is in the books afterwards, and what is not."""

from __future__ import annotations

import uuid
from datetime import datetime

import pytest

from tests.ledger.conftest import eur, usd
from troth import Refused
from troth.ledger import (
    AccountConflictError,
    AccountNotFoundError,
    Compound,
    Credit,
    Debit,
    InvalidTransferError,
    Linked,
    Outcome,
    Reversal,
    Transfer,
    TransferRefused,
    transfer_id,
)


@pytest.fixture
async def books(books):
    await books.open("bank", "cash", side="debit")
    await books.open("sales")
    await books.open("customer", limit="debits_must_not_exceed_credits")
    return books


async def test_a_transfer_moves_money_from_one_side_to_the_other(books):
    result = await books.ledger.post(
        books.tx,
        Transfer("invoice:7", "bank", "sales", eur(1900), code="invoice", metadata={"n": 7}),
    )
    assert (result.outcome, result.amount, result.id) == ("created", 1900, transfer_id("invoice:7"))
    assert (await books.posted("bank"), await books.posted("sales")) == (1900, 1900)
    found = await books.ledger.transfer(books.tx, "invoice:7")
    assert (found.legs, found.key, found.code) == (
        (("bank", 1900), ("sales", -1900)), "invoice:7", "invoice",
    )  # fmt: skip
    assert (found.metadata, found.seq) == ({"n": 7}, result.seq)
    await books.audit(folded=True)


async def test_it_commits_with_the_transaction_or_not_at_all(books):
    async with books.tx.transaction(force_rollback=True):
        await books.ledger.post(books.tx, Transfer("t", "bank", "sales", eur(1)))
    assert (await books.count("transfer"), await books.count("id"), await books.count("queue")) == (0, 0, 0)  # fmt: skip
    assert await books.post(Transfer("t", "bank", "sales", eur(2))) == ["created"]


async def test_the_same_again_exists_with_the_first_answer(books):
    item = Transfer("t", "bank", "customer", eur(5), code="c", metadata={"a": [1, {"b": None}]})
    first = await books.ledger.post(books.tx, item)
    again = await books.ledger.post(books.tx, item)
    assert again.outcome is Outcome.EXISTS
    assert (again.seq, again.booked_at, again.amount) == (first.seq, first.booked_at, first.amount)
    assert await books.count("transfer") == 1
    await books.audit(folded=True)


async def test_post_raises_and_writes_nothing(books):
    items = [Transfer("a", "bank", "sales", eur(1)), Transfer("b", "customer", "sales", eur(1))]
    with pytest.raises(
        TransferRefused,
        match=r"transfer b \(debit customer, credit sales\) was refused: exceeds_credits",
    ) as refused:
        await books.ledger.post_all(books.tx, items)
    assert isinstance(refused.value, Refused)
    assert (refused.value.outcome, refused.value.id) == ("exceeds_credits", transfer_id("b"))
    assert [each.outcome for each in refused.value.results] == ["linked_event_failed", "exceeds_credits"]  # fmt: skip
    for table in ("transfer", "refusal", "id", "queue", "entry", "unsealed"):
        assert await books.count(table) == 0, table
    assert await books.post(items[0]) == ["created"]


async def test_a_refusal_that_was_recorded_is_final(books):
    item = Transfer("t", "customer", "sales", eur(1))
    assert await books.post(item) == ["exceeds_credits"]
    assert await books.post(Transfer("pay in", "bank", "customer", eur(10))) == ["created"]
    again = await books.result(item)
    assert (again.outcome, again.first) == ("id_already_failed", "exceeds_credits")
    with pytest.raises(TransferRefused, match=r"id_already_failed \(exceeds_credits\)"):
        await books.ledger.post(books.tx, item)
    assert await books.post(Transfer("t2", "customer", "sales", eur(1))) == ["created"]
    rows = await books.rows("SELECT outcome, key, asked->>'debit', asked->>'amount' FROM {}.ledger_refusal")  # fmt: skip
    assert rows == [("exceeds_credits", "t", "customer", "1")]


async def test_a_refusal_goes_with_its_transaction(books):
    async with books.tx.transaction(force_rollback=True):
        assert await books.post(Transfer("t", "customer", "sales", eur(1))) == ["exceeds_credits"]
    assert await books.post(Transfer("t", "bank", "sales", eur(1))) == ["created"]


async def test_try_post_posts_what_it_can(books):
    outcomes = await books.post(
        Transfer("1", "bank", "customer", eur(10)), Transfer("2", "customer", "sales", eur(11)),
        Transfer("3", "customer", "sales", eur(4)), Transfer("4", "customer", "sales", eur(7)),
        Transfer("5", "customer", "sales", eur(6)), Transfer("6", "nowhere", "sales", eur(6)),
    )  # fmt: skip
    assert outcomes == [
        "created", "exceeds_credits", "created", "exceeds_credits", "created", "debit_account_not_found"
    ]  # fmt: skip
    assert await books.posted("customer") == 0
    await books.audit(folded=True)


async def test_several_legs_balance_in_each_currency(books):
    await books.open("bank:usd", currency="USD", side="debit")
    await books.open("fx:eur", "fees")
    await books.open("fx:usd", currency="USD")
    exchange = Compound("fx", [
        Credit("bank", eur(100)), Debit("fx:eur", eur(97)), Debit("fees", eur(3)),
        Credit("fx:usd", usd(110)), Debit("bank:usd", usd(110)),
    ], metadata={"rate": "110/97"})  # fmt: skip
    result = await books.ledger.post(books.tx, exchange)
    assert (result.outcome, result.amount) == ("created", None)
    assert (await books.posted("bank"), await books.posted("bank:usd")) == (-100, 110)
    assert await books.post(exchange) == ["exists"]
    other = Compound("fx", [*exchange.legs[:2], Debit("sales", eur(3)), *exchange.legs[3:]])
    assert await books.post(other) == ["exists_with_different_legs"]
    totals = await books.ledger.trial_balance(books.tx)
    assert [(each.currency, each.debits_posted, each.credits_posted) for each in totals] == [
        ("EUR", 100, 100), ("USD", 110, 110)
    ]  # fmt: skip
    assert await books.post(Reversal("back", "fx")) == ["created"]
    assert await books.posted("bank") == 0
    assert await books.post(Reversal("again", "fx")) == ["exceeds_reversible"]
    await books.audit(folded=True)


async def test_legs_that_are_not_balanced_are_refused_by_the_database_too(books):
    # As somebody would who calls the function by hand.
    params = (False, False, ["bank", "sales"], ["EUR", "EUR"], [uuid.uuid4()], [None], [None], [None],
              *[None] * 10, [1, 1], [1, 2], [5, -4])  # fmt: skip
    with pytest.raises(Exception, match="not balanced"):
        await books.tx.execute(books.ledger.queries.post, params)
    for amount in (0, -5):
        params = (False, False, ["bank", "sales"], ["EUR", "EUR"], [uuid.uuid4()], [1], [2], [amount], *[None] * 13)  # fmt: skip
        with pytest.raises(Exception, match="violates check constraint"):
            await books.tx.execute(books.ledger.queries.post, params)
    assert await books.count("id") == 0


# Linked ---------------------------------------------------------------------------------------------------------------


async def test_a_linked_group_is_all_or_nothing(books):
    outcomes = await books.post(
        Transfer("in", "bank", "customer", eur(10)),
        Linked(Transfer("a", "customer", "sales", eur(6)), Transfer("b", "customer", "sales", eur(6))),
        Linked(Transfer("c", "customer", "sales", eur(4)), Transfer("d", "customer", "sales", eur(6))),
        Transfer("e", "customer", "sales", eur(1)),
    )  # fmt: skip
    assert outcomes == [
        "created", "linked_event_failed", "exceeds_credits", "created", "created", "exceeds_credits"
    ]  # fmt: skip
    assert await books.posted("customer") == 0
    await books.audit(folded=True)


async def test_only_what_broke_a_group_has_failed_for_good(books):
    good, bad = Transfer("a", "bank", "sales", eur(1)), Transfer("b", "customer", "sales", eur(1))
    assert await books.post(Linked(good, bad)) == ["linked_event_failed", "exceeds_credits"]
    assert await books.post(Linked(good, bad)) == ["linked_event_failed", "id_already_failed"]
    assert await books.post(good) == ["created"]
    assert await books.post(Linked(good, Transfer("c", "bank", "sales", eur(1)))) == [
        "exists", "linked_event_failed"
    ]  # fmt: skip


async def test_a_linked_group_again_exists_as_a_whole(books):
    group = Linked(Transfer("a", "bank", "sales", eur(1)), Transfer("b", "bank", "customer", eur(1)))  # fmt: skip
    assert await books.post(group) == ["created", "created"]
    assert await books.post(group) == ["exists", "exists"]
    assert [r.outcome for r in await books.ledger.post_all(books.tx, [group])] == ["exists"] * 2


# Accounts and reading -------------------------------------------------------------------------------------------------


async def test_an_account_is_opened_once(books):
    account = await books.ledger.accounts.get(books.tx, "customer")
    again = await books.ledger.accounts.open(
        books.tx, "customer", currency="EUR", side="credit", limit="debits_must_not_exceed_credits"
    )
    assert again == account
    for field, terms in {
        "currency": {"currency": "USD"}, "side": {"side": "debit"}, "limit": {"limit": "none"},
        "tenant": {"tenant": "t"}, "metadata": {"metadata": {"a": 1}},
    }.items():  # fmt: skip
        wanted = {"currency": "EUR", "side": "credit", "limit": "debits_must_not_exceed_credits"} | terms  # fmt: skip
        with pytest.raises(AccountConflictError, match=f"another {field}") as conflict:
            await books.ledger.accounts.open(books.tx, "customer", **wanted)
        assert conflict.value.field == field
    with pytest.raises(AccountNotFoundError, match="there is no account nobody"):
        await books.ledger.accounts.get(books.tx, "nobody")
    with pytest.raises(AccountNotFoundError):
        await books.balance("nobody")


async def test_accounts_are_a_tree(books):
    await books.open("assets", "assets:bank", "assets:bank:giro", "assets-other", "assets:cash")
    found = await books.ledger.accounts.under(books.tx, "assets")
    assert [each.code for each in found] == ["assets", "assets:bank", "assets:bank:giro", "assets:cash"]  # fmt: skip
    page = await books.ledger.accounts.under(books.tx, "assets", after="assets:bank", limit=1)
    assert [each.code for each in page] == ["assets:bank:giro"]
    assert len(await books.ledger.accounts.under(books.tx)) == 9


async def test_a_closed_account_takes_nothing_more(books):
    await books.ledger.accounts.close(books.tx, "cash")
    assert await books.post(
        Transfer("a", "cash", "sales", eur(1)), Transfer("b", "bank", "cash", eur(1)),
        Transfer("c", "bank", "sales", eur(1)),
    ) == ["debit_account_already_closed", "credit_account_already_closed", "created"]  # fmt: skip
    assert (await books.ledger.accounts.get(books.tx, "cash")).closed_at is not None
    with pytest.raises(AccountNotFoundError):
        await books.ledger.accounts.close(books.tx, "nobody")


async def test_the_statement_of_an_account(books):
    for number in range(5):
        await books.post(Transfer(f"t{number}", "bank", "sales", eur(number + 1)))
    await books.fold()
    entries = await books.ledger.statement(books.tx, "bank", limit=3)
    assert [(e.version, e.key, e.posted, e.debits_posted) for e in entries] == [
        (5, "t4", 5, 15), (4, "t3", 4, 10), (3, "t2", 3, 6)
    ]  # fmt: skip
    rest = await books.ledger.statement(books.tx, "bank", before=3)
    assert [each.version for each in rest] == [2, 1]
    assert {(each.side, each.kind, each.pending) for each in rest} == {("debit", "transfer", 0)}


async def test_a_balance_counts_what_is_not_folded(books):
    await books.post(Transfer("a", "bank", "sales", eur(1)))
    await books.fold()
    await books.post(Transfer("b", "bank", "sales", eur(2)))
    balance = await books.balance("bank")
    assert (balance.debits_posted, balance.version, balance.unfolded) == (3, 1, 1)
    both = await books.ledger.balances(books.tx, ["sales", "nobody", "bank"])
    assert {code: each.posted.minor for code, each in both.items()} == {"bank": 3, "sales": 3}


async def test_sums_have_no_largest_number(books):
    most = 2**63 - 1
    outcomes = await books.post(*(Transfer(f"t{n}", "bank", "customer", eur(most)) for n in range(3)))  # fmt: skip
    assert outcomes == ["created"] * 3
    assert (await books.balance("bank")).debits_posted == 3 * most
    await books.fold()
    assert (await books.balance("customer")).credits_posted == 3 * most
    await books.audit()


@pytest.mark.parametrize(
    "item",
    [
        Transfer("", "bank", "sales", eur(1)),
        Transfer("x" * 256, "bank", "sales", eur(1)),
        Transfer("a\0", "bank", "sales", eur(1)),
        Transfer("a", "bank", "bank", eur(1)),
        Transfer("a", "bank", "sales", eur(0)),
        Transfer("a", "bank", "sales", eur(-1)),
        Transfer("a", "bank", "sales", 5),
        Transfer("a", "bank:", "sales", eur(1)),
        Transfer("a", "bank", "sales", eur(1), effective_at=datetime(2026, 1, 1)),  # noqa: DTZ001
        Transfer("a", "bank", "sales", eur(1), metadata={"a": "\0"}),
        Transfer("a", "bank", "sales", eur(1), metadata={"a": "x" * 20_000}),
        Compound("a", [Debit("bank", eur(2)), Credit("sales", eur(1))]),
        Compound("a", [Debit("bank", eur(1)), Credit("sales", usd(1))]),
        Compound("a", [Debit("bank", eur(1)), Debit("bank", eur(1)), Credit("sales", eur(2))]),
        Compound("a", []),
        Reversal("a", "a"),
        Linked(),
        "a",
    ],
    ids=str,
)
async def test_what_no_books_could_take_is_an_error_of_the_caller(books, item):
    with pytest.raises(InvalidTransferError):
        await books.ledger.post(books.tx, item)
    assert issubclass(InvalidTransferError, ValueError)


async def test_one_id_is_once_in_a_call(books):
    item = Transfer("a", "bank", "sales", eur(1))
    with pytest.raises(InvalidTransferError, match="twice in one call"):
        await books.ledger.post_all(books.tx, [item, item])


def test_a_text_becomes_a_version_8_uuid():
    made = transfer_id("invoice:7")
    assert (made.version, made.variant) == (8, uuid.RFC_4122)
    assert (
        str(made) == "837ca892-2e56-8697-becf-5407856c1eb7"
    )  # for ever: keys in the books were made so
    own = uuid.uuid4()
    assert transfer_id(own) is own
    assert len({transfer_id(f"{n}") for n in range(1000)}) == 1000
