"""A payout that two people may decide on: typed topics, several at once, a limit, progress, and a word between runs."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from troth import TimedOut, Topic, Troth

troth = Troth()


@dataclass
class Approval:
    by: str


approved = Topic[Approval]("approved")
rejected = Topic[str]("rejected")
paid = Topic[int]("paid")


@troth.step
async def pay(amount: int) -> str:
    return f"paid {amount}"


@troth.workflow
async def payout(amount: int, ledger: str) -> str:
    troth.progress("waits for a decision")
    decision = await troth.receive_any(approved, rejected, timeout=timedelta(days=30))
    if isinstance(decision, TimedOut):
        return "nobody decided"
    if isinstance(decision.value, str):
        return f"rejected: {decision.value}"
    troth.progress(f"approved by {decision.value.by}")
    try:
        async with troth.timeout(60):  # beside the step, and recorded
            receipt = await pay(amount)
    except TimeoutError:
        return "the bank is slow today"
    await troth.send(ledger, paid, amount)  # a recorded step: sent exactly once
    return receipt


@troth.workflow
async def ledger() -> int:
    return await troth.receive(paid) + await troth.receive(paid)


async def main() -> None:
    async with troth.worker():
        books = await troth.start(ledger, key="ledger")
        first = await troth.start(payout, 100, "ledger", key="payout:1")
        second = await troth.start(payout, 50, "ledger", key="payout:2")
        third = await troth.start(payout, 7, "ledger", key="payout:3")
        async for update in first.watch():
            if update.progress:
                print(update.progress)
                break
        for _ in range(2):  # a web request that is sent again: one message
            await troth.send("payout:1", approved, Approval("ada"), key="request-17")
        await troth.send("payout:2", approved, Approval("bob"))
        await troth.send("payout:3", rejected, "too small")
        for run in (first, second, third):
            print(await run.result(timeout=30))
        print(await books.result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
