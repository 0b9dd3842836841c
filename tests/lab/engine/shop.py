"""A small program on troth, for the lab: a charge with a key, and what it means when it cannot be asked for again."""

from __future__ import annotations

from datetime import timedelta

import httpx

from troth import Call, Provider, Retry, Troth

API = "https://api.bank.test"
MINUTE = timedelta(minutes=1)

troth = Troth()
bank = Provider("bank", key_lifetime=timedelta(hours=24), lands_within=MINUTE)


@troth.effect(provider=bank, timeout=10.0, retry=Retry(attempts=2))
async def charge(call: Call, amount: str) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{API}/charges", json={"amount": amount}, headers={"Idempotency-Key": call.key}
        )
    answer.raise_for_status()
    return str(answer.json()["id"])


@troth.workflow
async def pay(amount: str) -> str:
    return await charge(amount)
