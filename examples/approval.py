"""An approval that waits for a month, with a client that is opened once. tests/examples/test_approval.py tests it."""

from collections.abc import AsyncIterator
from datetime import timedelta

from troth import Call, Group, TimedOut, Troth, Tx

payments = Group("payments")  # a module of its own: it knows of no Troth


class Bank:
    """The client of a bank's API."""

    async def pay(self, iban: str, cents: int, key: str) -> str:
        return f"{cents} cents to {iban} ({key})"

    async def close(self) -> None:
        print("the connections to the bank are closed")


@payments.resource
async def bank() -> AsyncIterator[Bank]:
    client = Bank()  # opened before the first step that names its type, once per worker process
    yield client
    await client.close()


@payments.effect(delivery="at_most_once", timeout=10)
async def pay(call: Call, iban: str, cents: int) -> str:
    return await call.get(Bank).pay(iban, cents, call.key)


troth = Troth()
troth.include(payments)


@troth.transaction
async def note(tx: Tx, iban: str, said: str) -> None:
    await tx.execute("CREATE TABLE IF NOT EXISTS approval (iban text, said text, at timestamptz)")
    await tx.execute("INSERT INTO approval VALUES (%s, %s, now())", [iban, said])


@troth.workflow
async def payout(iban: str, cents: int) -> str:
    said = await troth.receive("approved", str, timeout=timedelta(days=30))
    if isinstance(said, TimedOut):
        await note(iban, "nobody approved")
        return "not paid"
    await note(iban, said)
    return await pay(iban, cents)
