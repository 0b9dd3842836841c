"""Payouts of three tenants through one queue: at most four at once, two of a tenant; a small tenant does not wait long."""

import asyncio

from troth import Queue, Troth

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
payouts = Queue("payouts", concurrency=4, per_partition=2)


@troth.step
async def pay(tenant: str, number: int) -> None:
    await asyncio.sleep(0.05)  # a bank takes its time
    print(f"{tenant} {number}", flush=True)


@troth.workflow(queue=payouts)
async def payout(tenant: str, number: int) -> None:
    await pay(tenant, number)


async def main() -> None:
    async with troth.worker():
        runs = await asyncio.gather(
            *(troth.start(payout, "big", n, partition="big") for n in range(20)),
            troth.start(payout, "small", 1, partition="small"),
            troth.start(payout, "urgent", 1, partition="other", priority=-10),
        )
        for run in runs:
            await run.result(timeout=60)


if __name__ == "__main__":
    asyncio.run(main())
