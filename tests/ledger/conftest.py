"""Books with a few accounts, sessions on them, and an auditor that believes nothing but rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest

from tests.harness.cell import Cell, open_cell
from troth.base.money import Money
from troth.ledger import Balance, Ledger, Outcome, Result
from troth.store.connect import AsyncConnection


def eur(minor: int) -> Money:
    return Money(minor, "EUR")


def usd(minor: int) -> Money:
    return Money(minor, "USD")


class Books:
    """A ledger in a schema of its own; `tx` is a session in autocommit mode, so each call on it commits."""

    def __init__(self, cell: Cell, tx: AsyncConnection) -> None:
        self.cell = cell
        self.tx = tx
        self.ledger = Ledger()
        self.ledger.bind(cell.schema)

    async def open(self, *codes: str, **terms: Any) -> None:
        """Accounts in EUR without a limit, unless *terms* say otherwise."""
        for code in codes:
            await self.ledger.accounts.open(
                self.tx, code, **({"currency": "EUR", "side": "credit"} | terms)
            )

    async def post(self, *items: Any) -> list[Outcome]:
        """Post, each for itself; the outcomes."""
        return [each.outcome for each in await self.ledger.try_post_all(self.tx, list(items))]

    async def result(self, item: Any) -> Result:
        return await self.ledger.try_post(self.tx, item)

    async def balance(self, code: str) -> Balance:
        return await self.ledger.balance(self.tx, code)

    async def posted(self, code: str) -> int:
        """What is posted, on the normal side."""
        return (await self.balance(code)).posted.minor

    async def rows(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        return await self.cell.rows(query, *params)

    async def count(self, table: str) -> int:
        return int(await self.cell.value(f"SELECT count(*) FROM {{}}.ledger_{table}"))

    async def fold(self) -> None:
        while await self.ledger.fold(self.tx):
            pass

    async def audit(self, *, folded: bool = False) -> None:
        """Recompute everything from the transfers, by sums that share nothing with the code that posted."""
        if folded:
            await self.fold()
            assert await self.count("queue") == 0
        assert await self.rows(LEGS_WITHOUT_EFFECT) == []
        assert await self.rows(GAPS) == []
        assert await self.rows(WRONG_TOTALS) == []
        assert await self.rows(WRONG_BALANCES) == []
        assert await self.rows(UNBALANCED) == []
        assert await self.rows(BROKEN_LIMITS) == []
        assert await self.rows(WRONG_HOLDS) == []
        assert await self.rows(UNORDERED) == []
        for total in await self.ledger.trial_balance(self.tx):
            assert total.is_balanced, total


# Every leg of every transfer has one effect, as an entry or in the queue, and nothing else has.
LEGS_WITHOUT_EFFECT = """
WITH effect AS (
    SELECT transfer, account, side, posted, pending FROM {0}.ledger_entry
    UNION ALL SELECT transfer, account, side, posted, pending FROM {0}.ledger_queue
), leg AS (SELECT seq, account, side, posted, pending FROM {0}.ledger_leg)
(SELECT * FROM effect EXCEPT ALL SELECT * FROM leg) UNION ALL (SELECT * FROM leg EXCEPT ALL SELECT * FROM effect)
"""
GAPS = """
SELECT account FROM {0}.ledger_entry GROUP BY account HAVING min(version) <> 1 OR max(version) <> count(*)
"""
WRONG_TOTALS = """
SELECT * FROM (
    SELECT account, version, debits_posted, credits_posted, debits_pending, credits_pending,
           sum(CASE WHEN side = 'debit' THEN posted ELSE 0 END) OVER w AS dp,
           sum(CASE WHEN side = 'credit' THEN posted ELSE 0 END) OVER w AS cp,
           sum(CASE WHEN side = 'debit' THEN pending ELSE 0 END) OVER w AS dh,
           sum(CASE WHEN side = 'credit' THEN pending ELSE 0 END) OVER w AS ch
    FROM {0}.ledger_entry WINDOW w AS (PARTITION BY account ORDER BY version)) AS x
WHERE (debits_posted, credits_posted, debits_pending, credits_pending) <> (dp, cp, dh, ch)
"""
WRONG_BALANCES = """
SELECT b.account FROM {0}.ledger_balance b
LEFT JOIN {0}.ledger_entry e ON e.account = b.account AND e.version = b.version
WHERE (b.debits_posted, b.credits_posted, b.debits_pending, b.credits_pending)
   <> (coalesce(e.debits_posted, 0), coalesce(e.credits_posted, 0), coalesce(e.debits_pending, 0),
       coalesce(e.credits_pending, 0))
   OR b.version <> (SELECT count(*) FROM {0}.ledger_entry x WHERE x.account = b.account)
"""
UNBALANCED = """
SELECT l.seq, a.currency FROM {0}.ledger_leg l JOIN {0}.ledger_account a ON a.id = l.account
GROUP BY l.seq, a.currency
HAVING sum(CASE l.side WHEN 'debit' THEN l.posted ELSE -l.posted END) <> 0
    OR sum(CASE l.side WHEN 'debit' THEN l.pending ELSE -l.pending END) <> 0
"""
# After no entry of a limited account is its limit broken.
BROKEN_LIMITS = """
SELECT a.code, e.version FROM {0}.ledger_account a JOIN {0}.ledger_entry e ON e.account = a.id
WHERE a.limited = 'debits_must_not_exceed_credits' AND e.side = 'debit' AND e.debits_posted > e.credits_posted
   OR a.limited = 'credits_must_not_exceed_debits' AND e.side = 'credit' AND e.credits_posted > e.debits_posted
"""
WRONG_HOLDS = """
SELECT h.transfer FROM {0}.ledger_hold h
WHERE h.remaining <> h.amount - (
    SELECT coalesce(sum(t.released), 0) FROM {0}.ledger_transfer t WHERE t.about = h.transfer AND t.kind <> 'reversal')
"""
# The times by which past balances are looked up do not go back.
UNORDERED = """
SELECT * FROM (
    SELECT account, version, coalesce(late_after, booked_at) AS at,
           lag(coalesce(late_after, booked_at)) OVER (PARTITION BY account ORDER BY version) AS before
    FROM {0}.ledger_entry) AS x WHERE at < before
"""


def ids(results: Sequence[Result]) -> list[UUID]:
    return [each.id for each in results]


@pytest.fixture
async def books(migrated) -> AsyncIterator[Books]:
    async with open_cell(*migrated) as cell:
        yield Books(cell, await cell.session())
