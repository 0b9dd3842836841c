"""A day in the books, of everything that there is: transfers, holds, reversals, two currencies, refusals, a closed period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.ledger.conftest import Books, eur
from troth import Money
from troth.ledger import Compound, Credit, Debit, Hold, PostHold, Reversal, Transfer, VoidHold

SUMMER = datetime(2026, 6, 1, tzinfo=UTC)


async def a_day(books: Books) -> None:
    """All of it committed; what has no limit is folded, but for the last transfer."""
    await books.open("assets:bank", "assets:bank:eur", "expenses:fees", side="debit")
    await books.open("assets:trading", "income:sales", "equity:capital")
    await books.open("assets:trading jpy", "assets:yen", currency="JPY", side="debit")
    await books.open("liabilities:wallet:ann", limit="debits_must_not_exceed_credits", tenant="ann")
    at = SUMMER - timedelta(days=3)
    await books.post(
        Transfer("capital", "assets:bank", "equity:capital", eur(100_000), effective_at=at),
        Transfer(
            "fee", "expenses:fees", "assets:bank", eur(35), effective_at=at, code="bank; fee | May"
        ),
    )
    await books.fold()
    await books.ledger.periods.close(books.tx, SUMMER, by="ada")
    await books.post(
        Transfer("top-up", "assets:bank", "liabilities:wallet:ann", eur(5_000), metadata={"n": 1}),
        Transfer("too-late", "assets:bank", "income:sales", eur(1), effective_at=at),
        Hold("hold:1", "liabilities:wallet:ann", "income:sales", eur(3_000)),
        Hold("hold:2", "liabilities:wallet:ann", "income:sales", eur(1_000)),
    )
    await books.post(
        PostHold("sale:1", "hold:1", eur(1_200), keep_rest=True),
        PostHold("sale:2", "hold:1", eur(800)),
        VoidHold("void:2", "hold:2"),
        Hold("hold:3", "liabilities:wallet:ann", "income:sales", eur(500)),
        Transfer("beyond", "liabilities:wallet:ann", "income:sales", eur(9_999)),
    )
    await books.post(
        Reversal("refund:1", "sale:1", eur(200)),
        Compound(
            "fx",
            [
                Debit("assets:trading", eur(1_000)),
                Credit("assets:bank", eur(1_000)),
                Debit("assets:yen", Money(162_000, "JPY")),
                Credit("assets:trading jpy", Money(162_000, "JPY")),
            ],
        ),
    )
    await books.post(Reversal("fx:back", "fx"))
    await books.fold()
    await books.post(Transfer("last", "assets:bank", "income:sales", eur(7), code='so "it" is'))
