"""examples/approval.py: a month passes in a moment, and the bank is a fake."""

from datetime import timedelta

from examples.approval import Bank, note, pay, payout, troth
from troth.testing import FakeCall, Worker, call_effect, call_step


class FakeBank(Bank):
    def __init__(self) -> None:
        self.paid: list[int] = []

    async def pay(self, iban: str, cents: int, key: str) -> str:
        self.paid.append(cents)
        return "paid"


async def test_an_approval_in_time_is_paid_and_one_that_never_comes_is_not(
    database_url: str,
) -> None:
    bank = FakeBank()
    with troth.replaced(Bank, bank):
        async with Worker(troth, database_url=database_url) as world:
            approved = await world.start(payout, "DE89", 500)
            forgotten = await world.start(payout, "FR14", 900)
            await world.advance(timedelta(days=29))
            await world.send(approved, "approved", "Ada")
            await world.advance(timedelta(days=2))
            assert await approved.result(timeout=1) == "paid"
            assert await forgotten.result(timeout=1) == "not paid"
            async with world.transaction() as tx:
                await tx.execute("DROP TABLE approval")
    assert bank.paid == [500]


async def test_one_step_alone(database_url: str) -> None:
    assert await call_effect(pay, "DE89", 500, call=FakeCall(key="k")) == "500 cents to DE89 (k)"
    async with Worker(troth, database_url=database_url) as world, world.transaction() as tx:
        await call_step(note, "DE89", "Ada", tx=tx)
        rows = await (await tx.execute("SELECT said FROM approval")).fetchall()
        assert rows == [("Ada",)]
        await tx.execute("DROP TABLE approval")
