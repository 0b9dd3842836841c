"""Every way that a checkout can go, and what the stock and the other side say of each."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from examples.checkout.outside import Outside
from examples.checkout.shop import (
    Order,
    cancelled,
    checkout,
    moves_of,
    outside_file,
    packed,
    restock,
    troth,
)
from troth import Run, RunCancelledError, RunFailedError

ORDERS = {  # what happens: an article, a card
    "all is well": ("lamp", "visa"),
    "the answer is lost": ("lamp", "answer lost"),
    "the card is declined": ("lamp", "declined"),
    "it is sold out": ("unicorn", "visa"),
    "nobody carries it": ("fireworks", "visa"),
    "the customer cancels": ("lamp", "visa"),
    "the shop cancels": ("lamp", "visa"),
}


async def end(run: Run[str]) -> str:
    """How an order ended, in words."""
    try:
        return f"sent as {(await run.result(timeout=60)).partition('-')[0]}"
    except RunFailedError as failed:
        return f"not sent: {failed.message}"
    except RunCancelledError:
        return "not sent: called off"


async def main() -> None:
    async with troth.worker():
        await (await troth.start(restock, {"lamp": 10, "fireworks": 3, "unicorn": 0})).result()
        for case, (article, card) in ORDERS.items():
            order = Order(f"{case} {uuid4()}", article, card)
            run = await troth.start(checkout, order, key=f"order:{order.id}")
            if case == "the customer cancels":
                await troth.send(run, cancelled, "found it cheaper", key="cancel")
            elif case == "the shop cancels":
                async for update in run.watch():
                    if update.progress:  # paid, and is being packed
                        break
                await run.cancel()
            else:
                await troth.send(run, packed, "Pat", key="packed")
            told = await end(run)
            moves = await (await troth.start(moves_of, order.id)).result(timeout=60)
            counted = Outside(outside_file()).counted(order.id)
            print(f"{case}: {told}")
            print(f"    stock {moves}, outside {dict(sorted(counted.items()))}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
