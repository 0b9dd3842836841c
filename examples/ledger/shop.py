"""A shop keeps its books: a sale with a fee, a hold on a customer's credit, a refund, and what was refused."""

import asyncio

from troth import Ledger, Money, Troth, Tx
from troth.ledger import Compound, Credit, Debit, Hold, PostHold, Reversal

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
ledger = troth.include(Ledger())


def eur(text: str) -> Money:
    return Money.parse(text, "EUR")


@troth.transaction
async def open_accounts(tx: Tx) -> None:
    """Opening an account again changes nothing, so this may run at each start."""
    await ledger.accounts.open(tx, "assets:stripe", currency="EUR", side="debit")
    await ledger.accounts.open(tx, "expenses:fees", currency="EUR", side="debit")
    await ledger.accounts.open(tx, "income:sales", currency="EUR", side="credit")
    await ledger.accounts.open(
        tx, "credit:ada", currency="EUR", side="credit", limit="debits_must_not_exceed_credits"
    )


@troth.transaction
async def record_payment(tx: Tx, payment: str) -> str:
    """Your rows and the books commit together. The payment's id is the transfer's: told twice, booked once."""
    booked = await ledger.post(
        tx,
        Compound(
            payment,
            [
                Debit("assets:stripe", eur("96.80")),
                Debit("expenses:fees", eur("3.20")),
                Credit("credit:ada", eur("100.00")),
            ],
        ),
    )
    return booked.outcome


@troth.transaction
async def order(tx: Tx, order_id: str, price: str) -> str:
    """The money is set aside. Here a refusal is an answer, and is remembered."""
    item = Hold(order_id, debit="credit:ada", credit="income:sales", amount=eur(price))
    return (await ledger.try_post(tx, item)).outcome


@troth.transaction
async def ship(tx: Tx, order_id: str) -> None:
    await ledger.post(tx, PostHold(f"{order_id}:shipped", hold=order_id))


@troth.transaction
async def refund(tx: Tx, order_id: str, amount: str) -> str:
    item = Reversal(f"{order_id}:refund", of=f"{order_id}:shipped", amount=eur(amount))
    return (await ledger.try_post(tx, item)).outcome


@troth.transaction
async def look(tx: Tx) -> list[str]:
    ada = await ledger.balance(tx, "credit:ada")
    sums = [
        f"{each.currency}: {each.debits_posted} = {each.credits_posted}"
        for each in await ledger.trial_balance(tx)
    ]
    return [f"ada has {ada.posted}, {ada.available} of it free", *sums]


@troth.workflow
async def day() -> list[str]:
    await open_accounts()
    said = [f"payment: {await record_payment('pay_1')}", f"again: {await record_payment('pay_1')}"]
    said.append(f"order 1: {await order('order:1', '70.00')}")
    said.append(f"order 2: {await order('order:2', '40.00')}")
    said += await look()
    await ship("order:1")
    said.append(f"order 2, again: {await order('order:2', '10.00')}")
    said.append(f"refund: {await refund('order:1', '20.00')}")
    said += await look()
    return said


async def main() -> None:
    async with troth.worker():
        run = await troth.start(day, key="monday")
        for line in await run.result(timeout=30):
            print(line)


if __name__ == "__main__":
    asyncio.run(main())
