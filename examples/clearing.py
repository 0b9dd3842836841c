"""Two customers pay by card, one payout of the provider is short: the clearing account of that customer tells by itself."""

import asyncio
from datetime import timedelta

from troth import Money, Troth, Tx
from troth.ledger import Clearing, Ledger, Transfer

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
ledger = troth.include(Ledger())

# In production this is the days that the provider takes to pay out.
payouts = troth.include(
    Clearing("card payouts", under="assets:clearing:cards", within=timedelta(seconds=1))
)


@troth.transaction
async def open_accounts(tx: Tx, customers: list[str]) -> None:
    await ledger.accounts.open(tx, "assets:bank", currency="EUR", side="debit")
    await ledger.accounts.open(tx, "expenses:card fees", currency="EUR", side="debit")
    await ledger.accounts.open(tx, "income:sales", currency="EUR", side="credit")
    for name in customers:
        await ledger.accounts.open(
            tx, f"assets:clearing:cards:{name}", currency="EUR", side="debit", tenant=name
        )


@troth.transaction
async def charged(tx: Tx, customer: str, amount: Money) -> None:
    clearing = f"assets:clearing:cards:{customer}"
    await ledger.post(tx, Transfer(f"charge:{customer}", clearing, "income:sales", amount))


@troth.transaction
async def paid_out(tx: Tx, customer: str, net: Money, fee: Money) -> None:
    clearing = f"assets:clearing:cards:{customer}"
    await ledger.post_all(
        tx,
        [
            Transfer(f"payout:{customer}", "assets:bank", clearing, net),
            Transfer(f"fee:{customer}", "expenses:card fees", clearing, fee),
        ],
    )


@troth.transaction
async def overdue(tx: Tx) -> list[str]:
    await payouts.look(tx)  # workers do, now and again
    return [
        f"{payouts.name}: {each.tenant} has {each.left} left" for each in await payouts.overdue(tx)
    ]


@troth.workflow
async def day() -> list[str]:
    await open_accounts(["ann", "bob"])
    await charged("ann", Money.parse("50.00", "EUR"))
    await charged("bob", Money.parse("80.00", "EUR"))
    await paid_out("ann", Money.parse("48.75", "EUR"), Money.parse("1.25", "EUR"))
    await paid_out("bob", Money.parse("76.00", "EUR"), Money.parse("2.00", "EUR"))
    await troth.sleep(1.5)
    return await overdue()


async def main() -> None:
    async with troth.worker():
        run = await troth.start(day)
        for line in await run.result(timeout=60):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
