"""Processes of the ledger that can be killed: `python -m tests.ledger.program poster|folder URL SCHEMA`."""

from __future__ import annotations

import asyncio
import sys

from troth.base.money import Money
from troth.ledger import Ledger, Transfer
from troth.worker.relays import Relays

CALLERS = 8


async def post(ledger: Ledger, url: str) -> None:
    """Post numbered transfers for ever; say which are acknowledged."""
    async with ledger.poster(url) as poster:

        async def caller(number: int) -> None:
            n = 0
            while True:
                key = f"{number}:{n}"
                await poster.post(Transfer(key, "bank", "customer", Money(1, "EUR")))
                sys.stdout.write(f"{key}\n")
                sys.stdout.flush()
                n += 1

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))


async def fold(ledger: Ledger, url: str) -> None:
    """What a worker does for the ledger."""
    await Relays(url, list(ledger.relays)).open()
    await asyncio.Event().wait()


if __name__ == "__main__":
    books = Ledger(fold_every=0.02)
    books.bind(sys.argv[3])
    asyncio.run({"poster": post, "folder": fold}[sys.argv[1]](books, sys.argv[2]))
