"""The wallet as its developers test it: one request after the other, nothing fails, and both versions pass."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncSession

from examples.wallet import as_usual, corrected, database
from examples.wallet.database import Account, Base, Deposit

EVENT = {"reference": "d-1"}
ORDER = {"source": "ada", "target": "bob", "amount": 300}


@pytest.fixture(params=[as_usual, corrected], ids=["as usual", "corrected"])
async def wallet(request, database_url, monkeypatch):
    """A client of one version, with two accounts and a deposit in a database of its own."""
    given = conninfo_to_dict(database_url)
    url = URL.create(
        "postgresql+asyncpg",
        given["user"],
        given.get("password"),
        database=given["dbname"],
        query={"host": str(given["host"]), "port": str(given["port"])},
    )
    monkeypatch.setenv("WALLET_DATABASE_URL", url.render_as_string(hide_password=False))
    await database.create_tables()
    async with AsyncSession(database.engine()) as session:
        session.add_all([Account(id="ada", balance=1000), Account(id="bob", balance=0)])
        await session.flush()
        session.add(Deposit(reference="d-1", account="ada", amount=5000, status="pending"))
        await session.commit()

    async def arrived(reference: str) -> bool:
        return True

    monkeypatch.setattr(request.param, "has_arrived", arrived)
    yield client(request.param.app)
    async with database.engine().begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
    await database.engine().dispose()


def client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://wallet")


async def balances() -> dict[str, int]:
    async with AsyncSession(database.engine()) as session:
        return {name: (await session.get_one(Account, name)).balance for name in ("ada", "bob")}


async def move(wallet: httpx.AsyncClient, amount: int, key: str) -> int:
    answer = await wallet.post(
        "/transfers", json=ORDER | {"amount": amount}, headers={"Idempotency-Key": key}
    )
    return answer.status_code


async def test_a_deposit_that_is_reported_and_asked_for_is_credited_once(wallet):
    assert (await wallet.post("/webhooks/bank", json=EVENT)).json() == {"status": "credited"}
    assert (await wallet.post("/webhooks/bank", json=EVENT)).status_code == 200
    assert (await wallet.get("/deposits/d-1")).json() == {"status": "credited"}
    assert await balances() == {"ada": 6000, "bob": 0}


async def test_asking_credits_what_the_bank_has(wallet):
    assert (await wallet.get("/deposits/d-1")).json() == {"status": "credited"}
    assert await balances() == {"ada": 6000, "bob": 0}
    assert (await wallet.get("/deposits/d-2")).status_code == 404
    assert (await wallet.post("/webhooks/bank", json={"reference": "d-2"})).status_code == 404


async def test_money_moves_and_nobody_overdraws(wallet):
    assert await move(wallet, 300, "k-1") == 200
    assert await move(wallet, 800, "k-2") == 402
    assert await balances() == {"ada": 700, "bob": 300}


@pytest.mark.parametrize("wallet", [corrected], ids=["corrected"], indirect=True)
async def test_a_key_moves_money_once(wallet):
    assert await move(wallet, 300, "k-1") == 200
    assert await move(wallet, 300, "k-1") == 200
    assert await move(wallet, 301, "k-1") == 422
    assert await balances() == {"ada": 700, "bob": 300}
