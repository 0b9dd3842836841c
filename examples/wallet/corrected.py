"""The same wallet, corrected in three ways.

* Who credits a deposit is decided by one statement: `UPDATE … WHERE status = 'pending'` changes a row once.
* Balances are changed where they are, not read, computed and written; money leaves only an account that has it.
* A transfer has a key, which the customer sends and sends again: it is moved once, however often it is asked for.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, Header, HTTPException
from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from examples.wallet.bank import Event, Order, has_arrived
from examples.wallet.database import Account, Deposit, Session, Transfer

app = FastAPI()


async def credit(session: AsyncSession, reference: str) -> None:
    """Credit a deposit, unless somebody has done it."""
    claimed = await session.execute(
        update(Deposit)
        .where(Deposit.reference == reference, Deposit.status == "pending")
        .values(status="credited")
        .returning(Deposit.account, Deposit.amount)
    )
    row = claimed.one_or_none()
    if row is not None:
        await add(session, row.account, row.amount)
    await session.commit()


async def add(session: AsyncSession, account: str, amount: int) -> None:
    await session.execute(
        update(Account).where(Account.id == account).values(balance=Account.balance + amount)
    )


@app.post("/webhooks/bank")
async def payment_arrived(event: Event, session: Session) -> dict[str, str]:
    if await session.get(Deposit, event.reference) is None:
        raise HTTPException(404, "no such deposit")
    await credit(session, event.reference)
    return {"status": "credited"}


@app.get("/deposits/{reference}")
async def look(reference: str, session: Session) -> dict[str, str]:
    deposit = await session.get(Deposit, reference)
    if deposit is None:
        raise HTTPException(404, "no such deposit")
    if deposit.status == "pending" and await has_arrived(reference):
        await credit(session, reference)
        return {"status": "credited"}
    return {"status": deposit.status}


@app.post("/transfers")
async def transfer(
    order: Order, session: Session, idempotency_key: Annotated[str, Header()]
) -> dict[str, str]:
    new = await session.execute(
        insert(Transfer)
        .values(key=idempotency_key, **order.model_dump())
        .on_conflict_do_nothing()
        .returning(Transfer.key)
    )
    if new.one_or_none() is None:
        known = await session.get_one(Transfer, idempotency_key)
        if (known.source, known.target, known.amount) != (order.source, order.target, order.amount):
            raise HTTPException(422, "this key belongs to another transfer")
        return {"status": "moved"}  # when it was asked for the first time
    # In one order whatever the direction, or two transfers could wait for each other
    for account in sorted({order.source, order.target}):
        await session.get(Account, account, with_for_update=True)
    taken = await session.execute(
        update(Account)
        .where(Account.id == order.source, Account.balance >= order.amount)
        .values(balance=Account.balance - order.amount)
        .returning(Account.id)
    )
    if taken.one_or_none() is None:
        raise HTTPException(
            402, "not enough money"
        )  # the session is closed, and nothing has happened
    await add(session, order.target, order.amount)
    await session.commit()
    return {"status": "moved"}
