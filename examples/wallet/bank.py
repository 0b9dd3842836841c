"""The bank, as the application sees it: a payment is asked for by its reference."""

from __future__ import annotations

import httpx
from pydantic import BaseModel

API = "https://api.bank.example"


class Event(BaseModel):
    """What the bank posts to us when a payment has arrived."""

    reference: str


class Order(BaseModel):
    """What a customer posts to move money."""

    source: str
    target: str
    amount: int  # cents


async def has_arrived(reference: str) -> bool:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{API}/payments/{reference}", timeout=10)
    answer.raise_for_status()
    return bool(answer.json()["status"] == "paid")
