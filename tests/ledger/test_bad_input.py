"""What no books could take is refused before anything is sent, in words that say what was given and what is wanted."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.ledger.conftest import Books, eur
from troth import MoneyError
from troth.ledger import (
    ClosingError,
    Compound,
    Credit,
    Debit,
    Hold,
    InvalidTransferError,
    Linked,
    PostHold,
    Transfer,
    rules,
)

HALF = "half \ud800"


def sale(**more: Any) -> Transfer:
    return Transfer(**({"id": "x", "debit": "a", "credit": "b", "amount": eur(1)} | more))


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (sale(id=7), "the id of a transfer is a text of 1 to 255 characters"),
        (sale(id=""), "the id of a transfer is a text"),
        (sale(id=HALF), "the id of a transfer is a text"),
        (sale(debit=["a"]), "the code of an account is a text, not ['a']"),
        (sale(credit=None), "the code of an account is a text, not None"),
        (sale(credit=HALF), "the code of an account is a text"),
        (sale(credit="b::c"), "its parts, with : between them, are not empty"),
        (sale(credit="a"), "its accounts must be different"),
        (sale(amount=1.5), "is Money, not 1.5"),
        (sale(amount=eur(0)), "an amount is greater than 0"),
        (sale(effective_at="2026-11-01"), "effective_at is a datetime with its zone"),
        (sale(effective_at=datetime(2026, 11, 1)), "effective_at is a datetime with its zone"),  # noqa: DTZ001
        (sale(metadata="sale"), "metadata is a mapping, which becomes a JSON object, not 'sale'"),
        (sale(metadata=[("a", 1)]), "metadata is a mapping"),
        (sale(code=5), "code is a text"),
        (Hold("x", "a", "b", eur(1), timeout="1d"), "is a timedelta greater than 0"),  # type: ignore[arg-type]
        (Compound("x", None), "two or more legs, not None"),  # type: ignore[arg-type]
        (Compound("x", [Debit("a", eur(1))]), "two or more legs"),
        (Compound("x", [Debit("a", eur(2)), Credit("b", eur(1))]), "1 EUR too much"),
        (Compound("x", [("a", 1), ("b", 2)]), "are Debit and Credit, not ('a', 1)"),  # type: ignore[list-item]
        (PostHold("x", hold=None), "the id of a transfer is a text"),  # type: ignore[arg-type]
        (PostHold("x", hold="x"), "is about itself"),
        ({"id": "x"}, "a ledger posts Transfer, Compound"),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_an_item_that_cannot_be_posted_says_why(item: Any, says: str) -> None:
    with pytest.raises(InvalidTransferError) as caught:
        rules.prepare(item)
    assert says in str(caught.value)


@pytest.mark.parametrize("items", [None, sale(), [], [Linked()], [sale(), sale()]])
def test_a_call_that_cannot_be_one_says_why(items: Any) -> None:
    with pytest.raises(InvalidTransferError):
        rules.gather(items)


async def test_what_is_asked_of_accounts_and_periods_is_checked_and_nothing_is_written(
    books: Books,
) -> None:
    ledger, tx = books.ledger, books.tx
    good: dict[str, Any] = {"currency": "EUR", "side": "debit"}
    for code, terms, error in (
        ("a", good | {"currency": "eur"}, MoneyError), ("a", good | {"currency": None}, MoneyError),
        ("a", good | {"side": "left"}, InvalidTransferError), ("a", good | {"side": ["debit"]}, InvalidTransferError),
        ("a", good | {"limit": "some"}, InvalidTransferError), ("a", good | {"minimum": eur(1)}, InvalidTransferError),
        ("a", good | {"limit": "minimum_balance", "minimum": 5}, InvalidTransferError),
        ("a", good | {"tenant": 5}, InvalidTransferError), ("a", good | {"tenant": HALF}, InvalidTransferError),
        ("a", good | {"metadata": "x"}, InvalidTransferError), (None, good, InvalidTransferError),
    ):  # fmt: skip
        with pytest.raises(error):
            await ledger.accounts.open(tx, code, **terms)  # type: ignore[arg-type]
    now = datetime.now(UTC)
    for through, by, expected in (
        (now - timedelta(days=1), None, InvalidTransferError), (now - timedelta(days=1), "", InvalidTransferError),
        ("2026-11-01", "ada", InvalidTransferError), (now + timedelta(days=1), "ada", ClosingError),
    ):  # fmt: skip
        with pytest.raises(expected):
            await ledger.periods.close(tx, through, by=by)  # type: ignore[arg-type]
    for limit in (0, 1001, "5", True):
        with pytest.raises(InvalidTransferError, match="limit is 1 to 1000"):
            await ledger.accounts.under(tx, limit=limit)  # type: ignore[arg-type]
    assert await books.count("account") == 0
    assert await books.count("period") == 0
