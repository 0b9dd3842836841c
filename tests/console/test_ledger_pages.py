"""The ledger in a browser: the tree, the trial balance, a statement, and what is overdue, also among what waits."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest_asyncio

from tests.console.conftest import words
from troth import Money
from troth.ledger import Clearing, Hold, Ledger, Transfer


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


@pytest_asyncio.fixture
async def books(cell):
    """Some accounts, one with more entries than a page has, one that is overdue."""
    url, schema = cell
    ledger = Ledger()
    ledger.bind(schema)
    payouts = Clearing("payouts", under="clearing", within=timedelta(seconds=1))
    payouts.bind(schema)
    async with await psycopg.AsyncConnection.connect(url) as tx:
        for code, side in (
            ("assets:bank", "debit"),
            ("assets:till", "debit"),
            ("income", "credit"),
        ):
            await ledger.accounts.open(tx, code, currency="EUR", side=side)
        await ledger.accounts.open(tx, "clearing:<i>ann</i>", currency="EUR", side="debit")
        await ledger.accounts.open(
            tx, "wallet", currency="EUR", side="credit", limit="debits_must_not_exceed_credits"
        )
        await ledger.post_all(
            tx,
            [
                *(Transfer(f"t:{n}", "assets:bank", "income", eur(100 + n)) for n in range(60)),
                Transfer("top-up", "assets:till", "wallet", eur(5_000), code="cash"),
                Hold("hold", "wallet", "income", eur(2_000)),
                Transfer("stuck", "clearing:<i>ann</i>", "income", eur(700)),
            ],
        )
        while await ledger.fold(tx):
            pass
        await tx.execute("SET LOCAL session_replication_role = replica")
        await tx.execute(
            f"UPDATE {schema}.ledger_entry SET booked_at = booked_at - interval '1 day'"
        )
        assert await payouts.look(tx) == 1
    return cell


async def test_the_tree_leads_from_place_to_place(books, meet):
    ada = meet()
    page = await ada.text("/ledger")
    assert "debits are credits" in words(page)
    assert 'href="/ledger?under=assets"' in page
    page = await ada.text("/ledger?under=assets")
    assert 'href="/ledger/account?code=assets%3Atill"' in page
    assert "till 1 50.00 EUR" in words(page)
    assert "wallet" not in words(page)


async def test_a_place_with_very_many_shows_the_first_and_says_so(books, meet, monkeypatch):
    ada = meet()
    assert "The first" not in words(await ada.text("/ledger"))
    monkeypatch.setattr("troth.view.ledger.MOST_PLACES", 2)
    page = await ada.text("/ledger")
    assert "The first 2. The accounts below are listed" in words(page)
    assert 'id="p-assetsEUR"' in page
    assert 'id="p-walletEUR"' not in page


async def test_books_that_are_not_balanced_say_so(books, meet):
    with psycopg.connect(books[0]) as connection:
        connection.execute(
            f"UPDATE {books[1]}.ledger_balance SET debits_posted = debits_posted + 1"
        )
    assert "not balanced: troth ledger verify" in words(await meet().text("/ledger"))


async def test_a_statement_goes_back_page_by_page(books, meet):
    ada = meet()
    page = await ada.text("/ledger/account?code=assets%3Abank")
    assert "77.70 EUR Available 77.70 EUR" in words(page)
    assert 'id="e-60"' in page
    assert 'id="e-10"' not in page
    assert "after=11" in page
    page = await ada.text("/ledger/account?code=assets%3Abank&after=11")
    assert 'id="e-10"' in page
    assert 'id="e-1"' in page
    said = words(await ada.text("/ledger/account?code=wallet"))
    assert "Available 30.00 EUR" in said
    assert "debits must not exceed credits" in said
    assert "transfer cash" in said
    assert "-50.00 EUR" not in said, "a balance stands on the account's normal side"


async def test_what_is_overdue_stands_in_the_ledger_and_among_what_waits(books, meet):
    ada = meet()
    for path in ("/ledger", "/attention"):
        page = await ada.text(path)
        assert "payouts" in words(page)
        assert "7.00 EUR" in words(page)
        assert "<i>ann</i>" not in page
        assert "&lt;i&gt;ann&lt;/i&gt;" in page
    assert "payouts" not in words(await ada.text("/attention?workflow=greet"))


async def test_what_there_is_not_is_told(books, meet):
    ada = meet()
    for path, status, said in (
        ("/ledger/account?code=nowhere", 404, "no account 'nowhere'"),
        ("/ledger/account", 400, "An account has a code"),
        ("/ledger/account?code=wallet&after=x", 400, "begin with the first page"),
    ):
        answer = await ada.get(path)
        assert answer.status_code == status
        assert said in words(answer.text)


async def test_empty_books_say_what_to_do(cell, meet):
    said = words(await meet().text("/ledger"))
    assert "Nothing was posted yet" in said
    assert "No accounts" in said
