"""What a workflow can say, in one order: concurrent steps, a business answer, a message with a deadline, a retry."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from troth import Call, Provider, Refused, Retry, RunFailedError, TimedOut, Troth, Tx

troth = Troth()
carrier = Provider("carrier", key_lifetime=timedelta(hours=24))  # dedupes by key for a day


@dataclass
class Order:
    id: str
    price: Decimal
    ordered_at: datetime


class OutOfStock(Exception):
    """A business answer, not a bug."""


@troth.transaction(fails_on=OutOfStock, isolation="serializable")
async def reserve(tx: Tx, order: Order, articles: list[str]) -> None:
    await tx.execute("CREATE TABLE IF NOT EXISTS reserved (order_id text, article text)")
    for article in articles:
        if article == "unicorn":
            raise OutOfStock(article)  # rolls back, and is this step's answer
        await tx.execute("INSERT INTO reserved VALUES (%s, %s)", [order.id, article])


@troth.step(retry=Retry(attempts=5, first=timedelta(milliseconds=10)))
def exchange_rate(currency: str) -> Decimal:  # `def`: runs in a thread
    return Decimal("1.08") if currency == "USD" else Decimal(1)


@troth.effect(provider=carrier, timeout=10)
async def book_parcel(call: Call, order: Order) -> str:
    if order.price > 1000:
        raise Refused("the carrier does not insure this much")
    return f"booked with key …/{call.key.rpartition('/')[2]} in attempt {call.attempt}"


@troth.workflow
async def fulfil(articles: list[str], price: Decimal) -> str:
    order = Order(str(troth.uuid()), price, troth.now())
    _, rate = await asyncio.gather(reserve(order, articles), exchange_rate("USD"))
    answer = await troth.receive("approval", bool, timeout=timedelta(days=30))  # a row, no memory
    if isinstance(answer, TimedOut) or not answer:
        return "not approved"
    parcel = await book_parcel(order)
    return f"{parcel}, for {order.price * rate} USD"


async def main() -> None:
    async with troth.worker():
        run = await troth.start(fulfil, ["lamp", "cable"], Decimal("49.00"), key="order:17")
        await troth.send("order:17", "approval", True)  # may come before it is waited for
        print(await run.result(timeout=30))

        run = await troth.start(fulfil, ["unicorn"], Decimal("49.00"))
        try:
            await run.result(timeout=30)
        except RunFailedError as failure:
            print(failure.error_type, failure.message)


if __name__ == "__main__":
    asyncio.run(main())
