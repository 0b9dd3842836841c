"""The ledger in transactions of other libraries: one commit with what they wrote, or none."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from tests.integrations.transactions.sources import KINDS, Kind
from tests.ledger.conftest import eur
from troth import Troth
from troth.ledger import (
    Balance,
    Compound,
    Credit,
    Debit,
    Hold,
    Ledger,
    Linked,
    PostHold,
    Reversal,
    Transfer,
    TransferRefused,
)

ITEMS = [
    Transfer("in", "bank", "customer", eur(10), code="c", metadata={"a": "ü"}),
    Hold("h", "customer", "sales", eur(5)), PostHold("p", "h", eur(2), keep_rest=True),
    Linked(Reversal("r", "in", eur(1)), Compound("c", [Debit("bank", eur(3)), Credit("sales", eur(3))])),
]  # fmt: skip


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.tx], ids=lambda kind: kind.name)
async def test_the_ledger_commits_with_other_peoples_rows(books, kind: Kind):
    await books.open("bank", side="debit")
    await books.open("sales")
    await books.open("customer", limit="debits_must_not_exceed_credits")
    schema = books.cell.schema
    troth = Troth(books.cell.url, schema=schema)
    ledger = troth.include(Ledger())
    await books.tx.execute(f"CREATE TABLE {schema}.item (id integer)")
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(kind.make(books.cell.url, 2))
        via = {} if source is None else {"via": source}
        assert kind.tx is not None
        as_tx = kind.tx

        if kind.is_async:

            @troth.transaction(fails_on=TransferRefused, **via)
            async def buy(handle, amount: int) -> int:
                await kind.execute(handle, f"INSERT INTO {schema}.item VALUES (1) RETURNING id")
                tx = await as_tx(handle)
                await ledger.accounts.open(tx, "shop", currency="EUR", side="credit")
                found = await ledger.post_all(tx, [*ITEMS, Transfer(f"t{amount}", "customer", "shop", eur(amount))])  # fmt: skip
                balance: Balance = await ledger.balance(tx, "shop")
                assert (await ledger.transfer(tx, "in")).metadata == {"a": "ü"}
                assert await ledger.balance(tx, "shop", at=found[0].booked_at) == balance
                return balance.credits_posted

        else:

            @troth.transaction(fails_on=TransferRefused, **via)
            def buy(handle, amount: int) -> int:
                kind.execute(handle, f"INSERT INTO {schema}.item VALUES (1) RETURNING id")
                tx = as_tx(handle)
                ledger.accounts.open_blocking(tx, "shop", currency="EUR", side="credit")
                found = ledger.post_all_blocking(tx, [*ITEMS, Transfer(f"t{amount}", "customer", "shop", eur(amount))])  # fmt: skip
                balance: Balance = ledger.balance_blocking(tx, "shop")
                assert ledger.transfer_blocking(tx, "in").metadata == {"a": "ü"}
                assert ledger.balance_blocking(tx, "shop", at=found[0].booked_at) == balance
                return balance.credits_posted

        @troth.workflow
        async def purchase(amount: int) -> int:
            return await buy(amount)

        async with troth.worker():
            with pytest.raises(Exception, match="exceeds_credits"):
                await (await troth.start(purchase, 99)).result(timeout=30)
            assert (await books.count("transfer"), await books.rows("SELECT * FROM {}.item")) == (0, [])  # fmt: skip
            assert await (await troth.start(purchase, 4)).result(timeout=30) == 4
            assert await books.rows("SELECT * FROM {}.item") == [(1,)]
    await books.audit(folded=True)
