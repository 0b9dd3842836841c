"""The wallet as it is usually written: read, look, change the object, commit. Every line of it looks right."""

from __future__ import annotations

from fastapi import FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession

from examples.wallet.bank import Event, Order, has_arrived
from examples.wallet.database import Account, Deposit, Session

app = FastAPI()


async def credit(session: AsyncSession, deposit: Deposit) -> None:
    account = await session.get_one(Account, deposit.account)
    account.balance += deposit.amount
    deposit.status = "credited"
    await session.commit()


@app.post("/webhooks/bank")
async def payment_arrived(event: Event, session: Session) -> dict[str, str]:
    deposit = await session.get(Deposit, event.reference)
    if deposit is None:
        raise HTTPException(404, "no such deposit")
    if deposit.status == "pending":  # the bank may say it twice
        await credit(session, deposit)
    return {"status": "credited"}


@app.get("/deposits/{reference}")
async def look(reference: str, session: Session) -> dict[str, str]:
    deposit = await session.get(Deposit, reference)
    if deposit is None:
        raise HTTPException(404, "no such deposit")
    if deposit.status == "pending" and await has_arrived(reference):
        await credit(session, deposit)
    return {"status": deposit.status}


@app.post("/transfers")
async def transfer(order: Order, session: Session) -> dict[str, str]:
    source = await session.get(Account, order.source)
    target = await session.get(Account, order.target)
    if source is None or target is None:
        raise HTTPException(404, "no such account")
    if source.balance < order.amount:
        raise HTTPException(402, "not enough money")
    source.balance -= order.amount
    target.balance += order.amount
    await session.commit()
    return {"status": "moved"}
