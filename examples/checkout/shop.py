"""A checkout that ends in one of two ways: paid and shipped, or not paid and the stock is back.

    take_stock     a transaction; undone by putting it back
    charge         an effect with idempotency keys, which can also be asked; undone by a refund
    … the parcel is packed, which may take days. Until then the customer may cancel by a message, and the shop by
      `run.cancel()`
    ship           the point of no return: `pivot=True`. From here on the run only goes forward
    send_mail      twice is better than never, and it stands

`python -m examples.checkout` shows every way that it can go; tests/examples/test_checkout.py kills its worker with
`kill -9` before and after every commit, and counts at the other side.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from examples.checkout.outside import DeclinedError, Outside
from troth import (
    Call,
    Found,
    Missing,
    Provider,
    Refused,
    Retry,
    TimedOut,
    Topic,
    Troth,
    Tx,
)

SCHEMA = """
    CREATE TABLE IF NOT EXISTS stock (article text PRIMARY KEY, pieces int NOT NULL CHECK (pieces >= 0));
    CREATE TABLE IF NOT EXISTS stock_move (
        n bigint GENERATED ALWAYS AS IDENTITY, order_id text NOT NULL, article text NOT NULL, change int NOT NULL);
"""
SOON = Retry(
    attempts=20, first=timedelta(milliseconds=100), longest=timedelta(seconds=1)
)  # of what is harmless

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
payments = Provider("payments", key_lifetime=timedelta(hours=24))
carrier = Provider("carrier", lands_within=timedelta(0))  # no keys; but it can be asked


@dataclass
class Order:
    id: str
    article: str
    card: str


class SoldOut(Exception):
    """A business answer: there is none left."""


class Cancelled(Exception):
    """A business answer: the customer does not want it any more."""


cancelled = Topic[str]("cancelled")  # by the customer, with a reason
packed = Topic[str]("packed")  # by the store, with the name of who did it


def outside_file() -> Path:
    return Path(os.environ.get("CHECKOUT_OUTSIDE", ".troth/checkout-outside.sqlite"))


@troth.resource
def outside() -> Iterator[Outside]:  # a plain one: `def` bodies ask for it
    """The clients of those whom the shop works with."""
    yield Outside(outside_file())


@troth.transaction(fails_on=SoldOut)
async def take_stock(tx: Tx, order: Order) -> None:
    taken = await tx.execute(
        "UPDATE stock SET pieces = pieces - 1 WHERE article = %s AND pieces > 0", [order.article]
    )
    if not taken.rowcount:
        raise SoldOut(order.article)
    await _note(tx, order, -1)


@take_stock.undo
async def put_back(tx: Tx, taken: None, order: Order) -> None:
    await tx.execute("UPDATE stock SET pieces = pieces + 1 WHERE article = %s", [order.article])
    await _note(tx, order, +1)


async def _note(tx: Tx, order: Order, change: int) -> None:
    await tx.execute(
        "INSERT INTO stock_move (order_id, article, change) VALUES (%s, %s, %s)",
        [order.id, order.article, change],
    )


# `def` bodies run in threads: what they call blocks.
@troth.effect(provider=payments, timeout=2, retry=SOON, stake=lambda order: f"order {order.id}")
def charge(call: Call, order: Order) -> str:
    try:
        return call.get(Outside).charge(call.key, order.id, order.card)
    except DeclinedError as no:
        raise Refused(f"the card was declined: {no}") from no


@charge.probe(retry=SOON)
def find_charge(call: Call, order: Order) -> Found[str] | Missing:
    number = call.get(Outside).find_charge(call.key)
    return Found(number) if number else Missing()


@charge.undo(retry=SOON)
def refund(call: Call, charged: str, order: Order) -> str:
    return call.get(Outside).refund(call.key, order.id)


@troth.effect(provider=carrier, timeout=2, retry=SOON, pivot=True)
def ship(call: Call, order: Order) -> str:
    if order.article == "fireworks":
        raise Refused("the carrier does not take fireworks")
    return call.get(Outside).ship(call.key, order.id)


@ship.probe(retry=SOON)
def find_parcel(call: Call, order: Order) -> Found[str] | Missing:
    number = call.get(Outside).find_parcel(call.key)
    return Found(number) if number else Missing()


@troth.effect(delivery="at_least_once", timeout=2, retry=SOON, stands=True)
def send_mail(call: Call, order: Order, parcel: str) -> None:
    call.get(Outside).mail(call.key, order.id)


@troth.transaction
async def put_on_shelf(tx: Tx, pieces: dict[str, int]) -> None:
    await tx.execute(SCHEMA)
    for article, count in pieces.items():
        await tx.execute(
            "INSERT INTO stock VALUES (%s, %s) ON CONFLICT (article) DO UPDATE SET pieces = excluded.pieces",
            [article, count],
        )


@troth.transaction
async def read_stock(tx: Tx, order_id: str) -> list[int]:
    moves = await tx.execute(
        "SELECT change FROM stock_move WHERE order_id = %s ORDER BY n", [order_id]
    )
    return [change for (change,) in await moves.fetchall()]


@troth.workflow
async def restock(pieces: dict[str, int]) -> None:
    """So many pieces of each article are there now."""
    await put_on_shelf(pieces)


@troth.workflow
async def moves_of(order_id: str) -> list[int]:
    """What was taken from the stock for an order, and put back."""
    return await read_stock(order_id)


@troth.workflow(fails_on=(SoldOut, Cancelled))
async def checkout(order: Order) -> str:
    await take_stock(order)
    await charge(order)
    troth.progress("paid; is being packed")
    said = await troth.receive_any(packed, cancelled, timeout=timedelta(days=7))
    if isinstance(said, TimedOut):
        raise Cancelled("nobody has packed it for a week")
    if said.topic is cancelled:
        raise Cancelled(said.value)
    why_now = await troth.receive(cancelled, timeout=0)  # the last word before there is no way back
    if not isinstance(why_now, TimedOut):
        raise Cancelled(why_now)
    parcel = await ship(order)
    await send_mail(order, parcel)
    return parcel
