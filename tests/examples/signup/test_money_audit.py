"""The comparison of money finds what is planted, on each side: it is no check if it cannot fail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from examples.signup.books import (
    BANK,
    FEES,
    GOODWILL,
    REFUNDS,
    SALES,
    STRIPE,
    claim_on,
    credit_of,
    on_its_way,
)
from examples.signup.demo.money import Account, Accounts, Bank, Books, Expected, Sum, compare

WAY, ORDER = on_its_way("po_1"), on_its_way(f"DB{1:032x}")

# Two people pay 49.00 and 9.00, one gets it back; a payout is refused, and the next one arrives. Three are given 5.00: one has it
# paid out, the bank of another sends it back, and the payment to the third is refused.
BOOKS = Books(
    balances={
        BANK: 4262,
        STRIPE: 0,
        WAY: 0,
        SALES: 5800,
        REFUNDS: 900,
        FEES: 138,
        GOODWILL: 1500,
        credit_of("cus_ada"): 1000,
        ORDER: 0,
        claim_on("cus_ada"): 0,
        claim_on("cus_bob"): 0,
    },
    posted={
        "invoice": Sum(2, 5800),
        "payment": Sum(2, 0),
        "refund": Sum(1, 900),
        "payout": Sum(2, 9524),
        "payout failed": Sum(1, 4762),
        "bank": Sum(4, 6262),
        "credit granted": Sum(3, 1500),
        "disbursement": Sum(2, 1000),
        "disbursement released": Sum(1, 500),
        "disbursement returned": Sum(1, 500),
    },
    balanced=True,
)


def payment(status: str, booked: str | None, returned: str | None) -> dict[str, Any]:
    return {"amount": 500, "status": status, "booked_at": booked, "returned_at": returned}


DAY, NEXT = "2026-11-30", "2026-12-01"
SENT, BACK, REFUSED = (
    payment("accepted", DAY, None),
    payment("accepted", DAY, NEXT),
    payment("rejected", None, None),
)
ORDERED = [SENT, BACK, REFUSED]
BANK_SIDE = Bank(arrived=[4762], ordered=ORDERED, balance=4262)
DID = Expected(
    paid=[4900, 900],
    refunded=[900],
    credited=[500] * 3,
    disbursed=[500] * 2,
    refused=[500],
    returned=[500],
)


def movement(net: int, fee: int = 0) -> dict[str, Any]:
    return {"net": net, "fee": fee}


PROVIDER: dict[str, list[dict[str, Any]]] = {
    "invoice": [
        {"total": 4900, "status": "paid"},
        {"total": 900, "status": "paid"},
        {"total": 0, "status": "paid"},
    ],
    "charge": [
        {"amount_captured": 4900, "captured": True},
        {"amount_captured": 900, "captured": True},
        {"amount_captured": 0, "captured": False},
    ],
    "refund": [{"amount": 900}],
    "payout": [{"amount": 4762, "status": "failed"}, {"amount": 4762, "status": "paid"}],
    "balance_transaction": [
        movement(4801, 99),
        movement(861, 39),
        movement(-900),
        movement(-4762),
        movement(4762),
        movement(-4762),
    ],
}


def verdict(
    books: Books = BOOKS, provider: dict[str, Any] = PROVIDER, bank: Bank = BANK_SIDE
) -> Accounts:
    return compare(books, provider, bank, DID)


def wrong(accounts: Accounts) -> set[str]:
    assert not accounts.holds
    return {line.thing for line in accounts.lines if not line.holds}


def test_what_adds_up_is_explained() -> None:
    assert verdict().holds
    assert [line.difference for line in verdict().lines] == [0] * 13


@pytest.mark.parametrize(
    ("kind", "objects", "things"),
    [
        ("charge", [*PROVIDER["charge"], {"amount_captured": 900, "captured": True}], {"paid"}),
        ("charge", PROVIDER["charge"][1:], {"paid"}),
        ("invoice", PROVIDER["invoice"][:1], {"invoiced"}),
        ("refund", [{"amount": 900}, {"amount": 900}], {"refunded"}),
        ("refund", [{"amount": 901}], {"refunded"}),
        ("payout", PROVIDER["payout"][:1], {"paid out"}),
        ("payout", PROVIDER["payout"][1:], {"payouts refused"}),
        (
            "balance_transaction",
            [movement(4800, 100), *PROVIDER["balance_transaction"][1:]],
            {"fees", "at the provider"},
        ),
    ],
)
def test_what_differs_at_the_provider_is_found(
    kind: str, objects: list[dict[str, Any]], things: set[str]
) -> None:
    found = verdict(provider={**PROVIDER, kind: objects})
    assert wrong(found) >= things


def test_two_errors_that_cancel_out_are_found_by_their_number() -> None:
    """The sum is right, and there is one charge too many."""
    split = [{"amount_captured": minor, "captured": True} for minor in (4900, 800, 100)]
    assert wrong(verdict(provider={**PROVIDER, "charge": split})) == {"paid"}


@pytest.mark.parametrize(
    "bank",
    [
        Bank([4762, 4762], ORDERED, 4262),
        Bank([4761], ORDERED, 4261),
        Bank([], ORDERED, -500),
        Bank([4762], ORDERED, 4263),
    ],
)
def test_what_differs_at_the_bank_is_found(bank: Bank) -> None:
    assert wrong(verdict(bank=bank)) & {"paid out", "at the bank"}


@pytest.mark.parametrize(
    ("ordered", "things"),
    [
        ([*ORDERED, SENT], {"disbursed"}),
        ([BACK, REFUSED], {"disbursed"}),
        ([SENT, SENT, REFUSED], {"returned payments"}),
        ([SENT, BACK], {"refused payments"}),
        ([{**SENT, "amount": 501}, BACK, REFUSED], {"disbursed"}),
    ],
)
def test_what_the_bank_has_paid_otherwise_is_found(
    ordered: list[dict[str, Any]], things: set[str]
) -> None:
    assert wrong(verdict(bank=replace(BANK_SIDE, ordered=ordered))) == things


def test_credit_that_does_not_stand_again_is_found() -> None:
    kept = {**BOOKS.balances, credit_of("cus_ada"): 500, ORDER: 500}
    found = verdict(books=replace(BOOKS, balances=kept))
    assert wrong(found) == {"owed to customers"}
    assert found.open == [Account(ORDER, 500)]


def test_what_has_not_arrived_is_named() -> None:
    forgotten = replace(BOOKS, balances={**BOOKS.balances, BANK: -500, WAY: 4762})
    found = verdict(books=forgotten)

    assert found.open == [Account(WAY, 4762)]
    assert wrong(found) == {"at the bank"}


def test_who_has_not_paid_is_named() -> None:
    owing = replace(BOOKS, balances={**BOOKS.balances, claim_on("cus_bob"): 900})
    assert verdict(books=owing).open == [Account(claim_on("cus_bob"), 900)]


def test_errors_of_two_customers_that_cancel_out_are_found() -> None:
    crossed = {**BOOKS.balances, claim_on("cus_ada"): -900, claim_on("cus_bob"): 900}
    found = verdict(books=replace(BOOKS, balances=crossed))
    assert not found.holds
    assert len(found.open) == 2


def test_books_that_are_not_balanced_explain_nothing() -> None:
    assert not verdict(books=replace(BOOKS, balanced=False)).holds
