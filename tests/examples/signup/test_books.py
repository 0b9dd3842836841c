"""What each thing that happens to money is in the books, and that it is there once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from examples.signup.books import (
    BANK,
    CHART,
    FEES,
    GOODWILL,
    REFUNDS,
    SALES,
    STRIPE,
    Arrival,
    Charge,
    Disbursement,
    Grant,
    Happening,
    Invoice,
    Payout,
    Refund,
    Released,
    Reserved,
    Returned,
    Sent,
    available_credit,
    book,
    claim_on,
    credit_of,
    ledger,
    on_its_way,
)
from examples.signup.program import troth
from examples.signup.statements import arrival, read
from tests.examples.provider.bank import Bank
from tests.examples.signup.conftest import copied
from troth import Money
from troth.ledger import Outcome, TransferRefused
from troth.reconcile import SourceError

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
CLAIM = claim_on("cus_ada")
WAY, NOBODYS = on_its_way("po_1"), on_its_way("")


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


INVOICE = Invoice("in_1", "cus_ada", eur(4900), AT)
CHARGE = Charge("ch_1", "cus_ada", eur(4900), eur(99), AT)
REFUND = Refund("re_1", "ch_1", "cus_ada", eur(4900), AT)
PAYOUT = Payout("po_1", eur(4801), AT)
ARRIVAL = Arrival("SIGNUP:1", "po_1", eur(4801), AT)

CREDIT = credit_of("cus_ada")
GRANT = Grant("g1", "cus_ada", eur(500))
DISBURSEMENT = Disbursement(f"DB{1:032x}", "cus_ada", eur(300))
RESERVED, SENT = Reserved(DISBURSEMENT), Sent(DISBURSEMENT)
DEBIT = Arrival("SIGNUP:2", DISBURSEMENT.id, eur(-300), AT)
BACK = [
    Arrival("SIGNUP:3", DISBURSEMENT.id, eur(300), AT, returned=True),
    Returned(DISBURSEMENT.id, AT),
]
ORDER = on_its_way(DISBURSEMENT.id)


@pytest.fixture(scope="module")
def books(database_url: str, prepared: str) -> Iterator[str]:
    """A database for all tests of this file; its URL."""
    with copied(database_url, prepared) as url:
        yield url


@pytest.fixture
async def tx(books: str) -> AsyncIterator[psycopg.AsyncConnection]:
    """A transaction of the test's own, which never commits."""
    async with await psycopg.AsyncConnection.connect(books) as tx:
        yield tx
        await tx.rollback()


async def balances(tx: psycopg.AsyncConnection) -> dict[str, int]:
    """Of all accounts that are not at zero, on their normal sides; the books are balanced."""
    for total in await ledger.trial_balance(tx):
        assert total.is_balanced
    codes = [account.code for account in await ledger.accounts.under(tx, limit=1000)]
    found = await ledger.balances(tx, codes)
    return {code: one.posted.minor for code, one in found.items() if one.posted}


@pytest.mark.parametrize(
    ("happenings", "expected"),
    [
        ([INVOICE], {CLAIM: 4900, SALES: 4900}),
        ([replace(INVOICE, void=True)], {}),
        ([INVOICE, replace(INVOICE, void=True)], {}),
        ([replace(INVOICE, amount=eur(0))], {}),
        ([INVOICE, CHARGE], {STRIPE: 4801, FEES: 99, SALES: 4900}),
        ([CHARGE], {STRIPE: 4801, FEES: 99, CLAIM: -4900}),
        ([replace(CHARGE, amount=eur(10), fee=eur(25))], {STRIPE: -15, FEES: 25, CLAIM: -10}),
        ([replace(CHARGE, fee=eur(0))], {STRIPE: 4900, CLAIM: -4900}),
        ([INVOICE, CHARGE, REFUND], {STRIPE: -99, FEES: 99, SALES: 4900, REFUNDS: 4900}),
        ([INVOICE, CHARGE, PAYOUT], {FEES: 99, SALES: 4900, WAY: 4801}),
        ([INVOICE, CHARGE, replace(PAYOUT, failed=True)], {STRIPE: 4801, FEES: 99, SALES: 4900}),
        ([INVOICE, CHARGE, PAYOUT, ARRIVAL], {BANK: 4801, FEES: 99, SALES: 4900}),
        ([replace(ARRIVAL, amount=eur(-700))], {BANK: -700, WAY: 700}),
        ([replace(ARRIVAL, reference="")], {BANK: 4801, NOBODYS: -4801}),
        ([replace(ARRIVAL, reference="po_:x y::")], {BANK: 4801, NOBODYS: -4801}),
        ([GRANT, RESERVED], {GOODWILL: 500, CREDIT: 500}),
        ([GRANT, RESERVED, Released(DISBURSEMENT)], {GOODWILL: 500, CREDIT: 500}),
        ([GRANT, RESERVED, SENT], {GOODWILL: 500, CREDIT: 200, ORDER: -300}),
        ([GRANT, RESERVED, SENT, DEBIT], {GOODWILL: 500, CREDIT: 200, BANK: -300}),
        ([GRANT, RESERVED, DEBIT, SENT], {GOODWILL: 500, CREDIT: 200, BANK: -300}),
        ([GRANT, RESERVED, SENT, DEBIT, *BACK], {GOODWILL: 500, CREDIT: 500}),
        ([GRANT, RESERVED, SENT, DEBIT, BACK[0]], {GOODWILL: 500, CREDIT: 200, ORDER: -300}),
    ],
)
async def test_what_happens_is_in_the_books(
    tx: psycopg.AsyncConnection, happenings: list[Happening], expected: dict[str, int]
) -> None:
    for happening in happenings:
        await book(tx, happening)
    assert await balances(tx) == expected


async def test_whatever_is_heard_again_in_any_order_counts_once(
    tx: psycopg.AsyncConnection,
) -> None:
    everything = [INVOICE, CHARGE, REFUND, PAYOUT, ARRIVAL, GRANT, RESERVED, SENT, DEBIT, *BACK]
    await book(tx, *everything)
    once = await balances(tx)
    for again in reversed(everything):
        await book(tx, again)
        await book(tx, again)

    assert await balances(tx) == once != {}


@pytest.mark.parametrize(
    "other",
    [
        replace(INVOICE, amount=eur(900)),
        replace(CHARGE, fee=eur(100)),
        replace(REFUND, amount=eur(4800)),
        replace(PAYOUT, at=datetime(2026, 12, 1, tzinfo=UTC)),
        replace(ARRIVAL, amount=eur(1)),
    ],
)
async def test_another_story_under_the_same_name_is_refused(
    tx: psycopg.AsyncConnection, other: Happening
) -> None:
    await book(tx, INVOICE, CHARGE, REFUND, PAYOUT, ARRIVAL)
    before = await balances(tx)
    with pytest.raises(TransferRefused) as refused:
        await book(tx, other)

    assert refused.value.outcome.startswith("exists_with_different_")
    assert await balances(tx) == before


async def test_what_is_reserved_cannot_be_reserved_by_another(tx: psycopg.AsyncConnection) -> None:
    await book(tx, GRANT, RESERVED)
    assert await available_credit(tx, "cus_ada") == eur(200)
    with pytest.raises(TransferRefused) as refused:
        await book(tx, Reserved(Disbursement(f"DB{2:032x}", "cus_ada", eur(201))))
    assert refused.value.outcome is Outcome.EXCEEDS_CREDITS

    await book(tx, Released(DISBURSEMENT))
    assert await available_credit(tx, "cus_ada") == eur(500)
    assert await available_credit(tx, "cus_bob") == eur(0)


async def test_it_comes_back_once(tx: psycopg.AsyncConnection) -> None:
    """Also if the bank says so on a second line: then what is on its way is not zero, and somebody will look."""
    await book(tx, GRANT, RESERVED, SENT, DEBIT, *BACK)
    again = replace(BACK[0], id="SIGNUP:4")
    await book(tx, again, BACK[1])
    assert await balances(tx) == {GOODWILL: 500, CREDIT: 500, BANK: 300, ORDER: -300}


async def test_money_of_a_currency_that_we_keep_no_books_in_is_refused(
    tx: psycopg.AsyncConnection,
) -> None:
    with pytest.raises(TransferRefused) as refused:
        await book(tx, replace(PAYOUT, amount=Money(4801, "USD")))
    assert refused.value.outcome is Outcome.TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS


async def test_the_chart_is_open_and_without_limits(tx: psycopg.AsyncConnection) -> None:
    """Nobody waits for anybody who posts: none of these accounts is ever locked."""
    accounts = {one.code: one for one in await ledger.accounts.under(tx)}
    assert {code: one.side for code, one in accounts.items()} == CHART
    assert {one.limit for one in accounts.values()} == {"none"}
    assert troth.schema == "troth"


# The bank's statements ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a real bank: a day with two credits, and the same day with one of them left out."""
    found = {}
    for behaviour in ("accept", "statement-gap"):
        bank = Bank(tmp_path_factory.mktemp("bank"))
        try:
            bank.behaves(behaviour=behaviour)
            for number, amount in enumerate([4801, 861], 1):
                wire = {"account": "SIGNUP", "amount": amount, "end_to_end_id": f"po_{number}"}
                bank.post("/_mock/credits", wire)
            bank.days_pass(4)  # a weekend may lie between
            [found[behaviour]] = [one for one in bank.statements() if "<Ntry>" in one]
        finally:
            bank.close()
    return found


def test_a_statement_is_read_to_the_cent(statements: dict[str, str]) -> None:
    told = read("one", statements["accept"])
    lines = [arrival(line) for line in told.items]

    assert (told.statement.opening, told.statement.closing) == (0, 5662)
    assert [(line.reference, line.amount) for line in lines] == [
        ("po_1", eur(4801)),
        ("po_2", eur(861)),
    ]
    assert len({line.id for line in lines}) == 2


def test_a_statement_that_lacks_a_line_is_read_and_does_not_add_up(
    statements: dict[str, str],
) -> None:
    told = read("one", statements["statement-gap"])

    assert [line.reference for line in told.items] == ["po_1"]
    assert told.statement.closing - sum(line.amount for line in told.items) == 861


async def test_a_line_that_is_on_two_statements_is_booked_once(
    tx: psycopg.AsyncConnection, statements: dict[str, str]
) -> None:
    for document in (statements["accept"], statements["accept"]):
        await book(tx, *(arrival(line) for line in read("one", document).items))
    assert await balances(tx) == {BANK: 5662, WAY: -4801, on_its_way("po_2"): -861}


def test_what_is_no_statement_is_refused(statements: dict[str, str]) -> None:
    with pytest.raises(SourceError):
        read("one", statements["accept"].replace("<Cd>CLBD</Cd>", "<Cd>ITBD</Cd>"))
