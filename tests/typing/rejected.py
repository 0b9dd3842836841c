"""What type checkers must reject. The markers say with which of mypy's codes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import assert_type

from troth import (
    Call,
    Found,
    Ledger,
    Mapped,
    Missing,
    Money,
    Page,
    Provider,
    Run,
    Topic,
    Troth,
    Tx,
    blocking,
)  # fmt: skip
from troth.ledger import Compound, Debit, Linked, PostHold, Transfer

troth = Troth()
billing = Provider("billing", key_lifetime=timedelta(hours=24))


@troth.step
async def double(number: int) -> int:
    return number * 2


@troth.transaction
async def insert(tx: Tx, email: str) -> int:
    return 1


@troth.effect(provider=billing, timeout=10)
def charge(call: Call, cents: int) -> str:
    return "id"


@troth.workflow
async def signup(email: str, plan: int) -> str:
    await double("two")  # E: [arg-type]
    await double()  # E: [call-arg]
    await double(1, 2)  # E: [call-arg]
    await double(nummer=1)  # E: [call-arg]
    await insert(1)  # E: [arg-type]
    await insert(None, "ada@example.com")  # E: [call-arg]
    await charge("5")  # E: [arg-type]
    await charge(5, call=None)  # E: [call-arg]
    text: str = await double(1)  # E: [assignment]
    number: int = await charge(1)  # E: [assignment]
    message: int = await troth.receive("go", int, timeout=5)  # E: [assignment]
    other: str = await troth.receive("go", int)  # E: [arg-type]
    await troth.sleep("a while")  # E: [arg-type]
    return text + str(number + message) + other


@troth.workflow
def waits(email: str) -> int:
    number: int = troth.wait(charge(1))  # E: [assignment]
    return number + double(1)  # E: [operator]


@troth.transaction  # E: [arg-type]
async def no_tx(email: str) -> int:
    return 1


@troth.transaction(isolation="snapshot")  # E: [call-overload]
async def unknown_level(tx: Tx) -> int:
    return 1


@troth.effect(provider=billing, timeout=10)  # E: [arg-type]
async def no_call(cents: int) -> str:
    return "id"


@troth.effect(provider=billing)  # E: [call-arg]
async def no_timeout(call: Call) -> str:
    return "id"


@troth.effect(delivery="exactly_once", timeout=1)  # E: [arg-type]
async def not_on_offer(call: Call) -> str:
    return "id"


@troth.effect(provider=billing, timeout=10)
async def pay(call: Call, cents: int) -> str:
    return "id"


@pay.probe  # E: [arg-type]
async def finds_another_type(call: Call, cents: int) -> Found[int] | Missing:
    return Found(cents)


@pay.probe  # E: [arg-type]
async def asks_about_other_arguments(call: Call, cents: str) -> Found[str] | Missing:
    return Missing()


@signup.undo  # E: [arg-type]
async def undoes_another_run(done: int, email: str, plan: int) -> None: ...


@troth.workflow
async def parent() -> None:
    await signup("ada@example.com")  # E: [call-arg]
    await signup("ada@example.com", "pro")  # E: [arg-type]
    _wrong: int = await signup("ada@example.com", 1)  # E: [assignment]


@troth.step
async def words(cursor: str | None) -> Page[str, str]:
    return Page([], 1)  # E: [arg-type]


@troth.workflow
async def letter(number: int) -> str:
    return "sent"


@troth.workflow
async def maps() -> None:
    await troth.map(letter, ["a"])  # E: [arg-type]
    await troth.map(letter, words)  # E: [arg-type]
    await troth.map(signup, ["ada@example.com"])  # E: [arg-type]
    await troth.map(letter, [1], on_error="ignore")  # E: [call-overload]
    await troth.map(letter, [1], key=5)  # E: [call-overload]
    _mapped: Mapped[int] = await troth.map(letter, [1])  # E: [arg-type]


@pay.undo  # E: [arg-type]
async def undoes_another_result(call: Call, charged: int, cents: int) -> None: ...


@pay.undo  # E: [arg-type]
async def forgets_the_arguments(call: Call, charged: str) -> None: ...


async def program(other_troth: Troth) -> None:
    await troth.start(signup, "ada@example.com")  # E: [arg-type]
    await troth.start(signup, "ada@example.com", "pro")  # E: [arg-type]
    await troth.start(signup, 1, 1)  # E: [arg-type]
    await troth.start(signup, "ada@example.com", 1, key=1)  # E: [arg-type]
    await troth.start(signup, "ada@example.com", 1, at="tomorrow")  # E: [arg-type]
    await troth.start(lambda: 1)  # E: [arg-type]
    run = await troth.start(signup, "ada@example.com", 1)
    assert_type(run, Run[int])  # E: [assert-type]
    number: int = await run.result()  # E: [assignment]
    await run.result("soon")  # E: [arg-type]
    await troth.start(signup, "ada@example.com", 1, deadline=5)  # E: [arg-type]
    await troth.send(5, "go")  # E: [call-overload]
    assert number


approved = Topic[str]("approved")


@troth.workflow
async def listens() -> int:
    heard: int = await troth.receive(approved)  # E: [arg-type]
    limited: str = await troth.receive(approved, timeout=5)  # E: [assignment]
    await troth.send("key", approved, 5)  # E: [misc]
    await troth.receive(approved, timeout="soon")  # E: [call-overload]
    return len(limited) + heard


@troth.resource
async def bank() -> AsyncIterator[Provider]:
    yield billing


@troth.effect(delivery="at_most_once", timeout=5)
async def asks(call: Call) -> int:
    return call.get(Provider)  # E: [return-value]


def talks(client: blocking.Client) -> None:
    client.send("key", approved, 5)  # E: [misc]
    client.start(listens, 1)  # E: [arg-type]
    troth.effect(delivery="once", timeout=5)  # E: [arg-type]
    troth.effect(delivery="at_most_once")  # E: [call-arg]
    troth.step(retry=3)  # E: [call-overload]
    troth.workflow(queue="mail")  # E: [call-overload]


books = troth.include(Ledger())


@troth.transaction
async def keeps_books(tx: Tx, amount: Money) -> str:
    await books.post(tx, Transfer("t", "bank", "sales", 5))  # E: [arg-type]
    await books.post(tx, Transfer("t", "bank", "sales"))  # E: [call-arg]
    await books.post(tx, Linked())  # E: [arg-type]
    await books.post(Transfer("t", "bank", "sales", amount))  # E: [call-arg]
    await books.post(tx, Compound("c", [Debit("bank", 5)]))  # E: [arg-type]
    await books.accounts.open(tx, "bank", currency="EUR", side="left")  # E: [arg-type]
    opening = books.accounts.open
    await opening(tx, "bank", currency="EUR", side="debit", limit="some")  # E: [arg-type]
    await books.post_all(tx, [PostHold("p", "h", 5)])  # E: [arg-type]
    return await books.balance(tx, "bank")  # E: [return-value]
