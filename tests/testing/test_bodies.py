"""One body alone: as in production, but for the run around it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from troth import Call, PayloadError, Troth, Tx, UsageError
from troth.testing import FakeCall, Worker, call_effect, call_step


class Client:
    def __init__(self, name: str) -> None:
        self.name = name


@dataclass
class Order:
    id: int
    lines: tuple[str, ...]


async def test_a_step_takes_and_gives_what_the_journal_would(troth: Troth) -> None:
    @troth.step
    def total(order: Order, each: int = 2) -> Order:
        assert isinstance(order, Order)
        return Order(order.id * each, order.lines)

    assert await call_step(total, Order(2, ("a",)), each=3) == Order(6, ("a",))
    with pytest.raises(UsageError, match="total"):
        await call_step(total)

    @troth.step
    def unstorable() -> Any:
        return object()

    with pytest.raises(PayloadError):
        await call_step(unstorable)


async def test_an_effect_is_told_about_its_attempt_and_gets_resources(troth: Troth) -> None:
    closed: list[str] = []

    @troth.resource
    async def client() -> AsyncIterator[Client]:
        yield Client("real")
        closed.append("closed")

    @troth.effect(delivery="at_most_once", timeout=5)
    async def charge(call: Call, amount: int) -> str:
        return f"{call.get(Client).name} {amount} {call.key} {call.attempt}"

    said = await call_effect(charge, 5, call=FakeCall(key="k", attempt=2))
    assert said == "real 5 k 2"
    assert closed == ["closed"]
    with troth.replaced(Client, Client("fake")):
        assert await call_effect(charge, 5) == "fake 5 a-key 1"
    assert closed == ["closed"]


async def test_a_transaction_runs_in_the_one_that_is_given(troth: Troth) -> None:
    @troth.transaction
    async def add(tx: Tx, n: int) -> int:
        row = await (await tx.execute("SELECT %s + 1", [n])).fetchone()
        assert row is not None
        return int(row[0])

    async with Worker(troth) as world, world.transaction() as tx:
        assert await call_step(add, 1, tx=tx) == 2
    with pytest.raises(UsageError, match="needs tx="):
        await call_step(add, 1)


async def test_the_wrong_caller_says_the_right_one(troth: Troth) -> None:
    @troth.step
    def read() -> int:
        return 1

    @troth.effect(delivery="at_most_once", timeout=5)
    async def send(call: Call) -> None: ...

    with pytest.raises(UsageError, match="use call_step"):
        await call_effect(read)
    with pytest.raises(UsageError, match="call_effect"):
        await call_step(send)
