"""What users write, and what type checkers must accept as it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from troth import (
    BlockingTx,
    Call,
    Done,
    Found,
    Ledger,
    Mapped,
    Missing,
    Money,
    Page,
    Provider,
    Refused,
    Retry,
    Run,
    TimedOut,
    Topic,
    Troth,
    Tx,
    Unknown,
    Workflow,
    blocking,
)
from troth.ledger import Account as BooksAccount
from troth.ledger import (
    Balance,
    Compound,
    Credit,
    Debit,
    Hold,
    Linked,
    PostHold,
    Result,
    Reversal,
    Transfer,
    TransferRefused,
    VoidHold,
)
from troth.workflow.definition import StepDefinition

troth = Troth()
billing = Provider("billing", key_lifetime=timedelta(hours=24))


@dataclass(frozen=True)
class Account:
    id: int


# Decorators with and without parentheses, on `async def` and `def`: calls are coroutines of the result.


@troth.step
async def look_up(number: int, *, strict: bool = False) -> Account:
    return Account(number)


@troth.step
def look_up_blocking(number: int) -> Account:
    return Account(number)


@troth.step(name="named", retry=Retry(attempts=3))
async def look_up_named(number: int) -> Account:
    return Account(number)


@troth.step(fails_on=(KeyError, ValueError))
def look_up_named_blocking(number: int) -> Account:
    return Account(number)


@troth.transaction
async def insert(tx: Tx, email: str) -> Account:
    rows = await tx.execute("INSERT INTO account (email) VALUES (%s) RETURNING id", (email,))
    row = await rows.fetchone()
    return Account(row[0] if row else 0)


@troth.transaction
def insert_blocking(tx: BlockingTx, email: str) -> Account:
    row = tx.execute("INSERT INTO account (email) VALUES (%s) RETURNING id", (email,)).fetchone()
    return Account(row[0] if row else 0)


@troth.transaction(isolation="serializable", fails_on=KeyError)
async def insert_serializable(tx: Tx, email: str) -> Account:
    return Account(0)


@troth.transaction(name="other")
def insert_named_blocking(tx: BlockingTx, email: str) -> Account:
    return Account(0)


@troth.effect(provider=billing, timeout=10)
async def charge(call: Call, account: Account, cents: int) -> str:
    return call.key


@charge.probe
async def find_charge(call: Call, account: Account, cents: int) -> Found[str] | Missing:
    return Found("id") if cents else Missing()


@charge.undo
async def refund(call: Call, charged: str, account: Account, cents: int) -> int:
    return cents


@refund.probe(timeout=3)
def find_refund(call: Call, charged: str, account: Account, cents: int) -> Found[int] | Missing:
    return Missing()


@insert.undo
async def delete(tx: Tx, account: Account, email: str) -> None: ...


@insert_blocking.undo(retry=Retry(attempts=3))
def delete_blocking(tx: BlockingTx, account: Account, email: str) -> None: ...


@troth.effect(delivery="at_most_once", timeout=timedelta(seconds=30))
def send_mail(call: Call, to: str) -> None: ...


@troth.workflow
async def signup(email: str, plan: str) -> Account:
    assert_type(await look_up(1), Account)
    assert_type(await look_up(number=1, strict=True), Account)
    assert_type(await look_up_blocking(1), Account)
    assert_type(await look_up_named(1), Account)
    assert_type(await look_up_named_blocking(number=1), Account)
    account = await insert(email)
    assert_type(account, Account)
    assert_type(await insert_blocking(email), Account)
    assert_type(await insert_serializable(email=email), Account)
    assert_type(await insert_named_blocking(email), Account)
    assert_type(await charge(account, cents=5), str)
    assert_type(await charge.outcome(account, cents=5), Done[str] | Refused | Unknown)
    assert_type(await refund("id", account, 5), int)
    async with troth.saga():
        assert_type(await insert(email), Account)
    await send_mail(email)
    assert_type(await troth.receive("go", int), int)
    assert_type(await troth.receive("go", Account, timeout=5), Account | TimedOut)
    assert_type(await troth.receive("go", Account, timeout=timedelta(days=1)), Account | TimedOut)
    assert_type(await troth.receive("go"), Any)
    await troth.sleep(timedelta(days=1))
    await troth.sleep(0.5)
    assert_type(troth.uuid(), UUID)
    return account


@troth.workflow(name="nothing.at.all", fails_on=KeyError)
async def nothing() -> None: ...


by_position: Workflow[[str, str], Account] = signup
a_step: StepDefinition[[str], None] = send_mail


async def program(tx: Tx, some_id: UUID) -> None:
    async with troth.client() as opened:
        assert_type(opened, Troth)
        run = await troth.start(signup, "ada@example.com", "pro", key="signup:ada", tx=tx)
        assert_type(run, Run[Account])
        assert_type(await run.result(timeout=30), Account)
        assert_type(await run.result(timedelta(minutes=1)), Account)
        assert_type(await (await troth.start(nothing)).result(), None)
        for target in (run, run.id, "signup:ada"):
            await troth.send(target, "go", {"any": "value"})
        assert_type(troth.run(some_id), Run[Any])
        await run.cancel()


# Child runs: calls of workflows, handles, and what they are undone by.


@troth.workflow(timeout=timedelta(days=1))
async def child(number: int) -> Account:
    return Account(number)


@child.undo
async def undo_child(account: Account, number: int) -> None: ...


@troth.workflow
async def parent(number: int) -> Account:
    assert_type(await child(number), Account)
    handle = await troth.start(child, number, detached=True, deadline=timedelta(hours=1))
    assert_type(handle, Run[Account])
    assert_type(await handle.result(), Account)
    if number:
        troth.continue_as(number - 1)
    return await child(number)


undoing: Workflow[[Account, int], None] = undo_child


# Mappings: the items are what the workflow takes, or come in pages of that; the results are what it returns.


@troth.step
async def numbers(cursor: UUID | None) -> Page[int, UUID]:
    return Page([1, 2], cursor, keys=["one", "two"])


@troth.workflow
async def maps(items: list[int]) -> Mapped[Account]:
    mapped = await troth.map(child, items, key=str, on_error="continue", results=True)
    assert_type(mapped, Mapped[Account])
    assert_type(mapped.results, list[Account])
    assert_type(await troth.map(child, numbers, concurrency=10), Mapped[Account])
    return await troth.map(child, (1, 2), key=lambda n: f"account-{n + 1}")


@troth.workflow
def maps_waiting(items: list[int]) -> int:
    mapped = troth.wait(troth.map(child, items))
    assert_type(mapped, Mapped[Account])
    return mapped.total


# `def` workflows: `troth.wait` has the type of what it waits for, and they are started alike.


@troth.workflow
def waits(email: str) -> Account:
    assert_type(troth.wait(look_up(1)), Account)
    both = troth.wait(asyncio.gather(look_up(1), look_up(2)))
    assert_type(both, tuple[Account, Account])
    assert_type(troth.wait(troth.receive("go", int)), int)
    assert_type(troth.wait(troth.sleep(1)), None)
    with troth.saga(), troth.timeout(5) as limit:
        assert_type(limit.expired, bool)
    for number, account in troth.as_completed(look_up(1), look_up(2)):
        assert_type((number, account), tuple[int, Account])
    return Account(1)


@troth.workflow(name="waits_named", fails_on=KeyError)
def waits_named(number: int) -> int:
    return number


async def start_waits(client: blocking.Client) -> None:
    assert_type(await troth.start(waits, "ada@example.com"), Run[Account])
    assert_type(await (await troth.start(waits_named, 1)).result(), int)
    assert_type(client.start(waits, "ada@example.com").result(), Account)


approved = Topic[Account]("approved")
amounts = Topic[int]("amounts")


class Bank:
    async def pay(self, cents: int) -> str:
        return "id"


@troth.resource
async def bank() -> AsyncIterator[Bank]:
    yield Bank()


@troth.effect(delivery="at_most_once", timeout=10)
async def transfer(call: Call, cents: int) -> str:
    assert_type(call.get(Bank), Bank)
    return await troth.get(Bank).pay(cents)


@troth.workflow
async def listens(key: str) -> str:
    assert_type(await troth.receive(approved), Account)
    assert_type(await troth.receive(approved, timeout=5), Account | TimedOut)
    said = await troth.receive_any(approved, amounts, timeout=timedelta(days=1))
    if not isinstance(said, TimedOut):
        assert_type(said.value, Account | int)
    await troth.send(key, amounts, 5, key="once")
    assert_type(await troth.first(look_up(1), transfer(1)), tuple[int, Account | str])
    troth.progress({"done": 1})
    assert_type(troth.patch("named"), bool)
    return await transfer(1)


async def talks(client: blocking.Client) -> None:
    run = await troth.start(listens, "k", deadline=timedelta(days=1))
    await troth.send(run, approved, Account(1), key="once")
    assert_type(await run.progress(), Any)
    async for update in run.watch():
        assert_type(update.state, str)
    blocking_run = client.start(listens, "k")
    client.send(blocking_run, approved, Account(1), key="once")
    for update in blocking_run.watch():
        assert_type(update.reason, str | None)
    with troth.replaced(Bank, Bank()) as fake:
        assert_type(fake, Bank)


books = troth.include(Ledger())


@troth.transaction(fails_on=TransferRefused)
async def keep_books(tx: Tx, invoice: UUID, amount: Money) -> Balance:
    account = await books.accounts.open(
        tx, "customer", currency="EUR", side="credit", limit="debits_must_not_exceed_credits"
    )
    assert_type(account, BooksAccount)
    assert_type(await books.post(tx, Transfer(invoice, "bank", "customer", amount)), Result)
    legs = [Debit("bank", amount), Credit("sales", amount)]
    group = Linked(Compound("c", legs, code="sale"), Hold("h", "bank", "sales", amount))
    assert_type(await books.post_all(tx, [group, PostHold("p", "h")]), list[Result])
    assert_type((await books.try_post(tx, Reversal("r", invoice))).outcome.is_posted, bool)
    async with books.poster() as poster:
        assert_type(await poster.try_post(VoidHold("v", "h")), Result)
    return await books.balance(tx, "customer")


@troth.transaction
def keep_books_blocking(tx: BlockingTx, amount: Money) -> int | None:
    posted = books.post_blocking(tx, Transfer("t", debit="bank", credit="sales", amount=amount))
    return posted.seq
