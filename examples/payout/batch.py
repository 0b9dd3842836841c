"""A batch of payments to many payees: each is a run, known by batch and payee, and an effect at a bank with idempotency keys.

python -m examples.payout.bank books.sqlite 7777
BANK_PORT=7777 troth worker examples.payout.batch:troth
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from troth import Call, Mapped, Provider, Refused, Retry, Troth

troth = Troth()  # TROTH_DATABASE_URL, or an embedded PostgreSQL under ./.troth/
bank = Provider("bank", key_lifetime=timedelta(hours=24))


@dataclass(frozen=True)
class Payment:
    batch: str
    payee: int
    cents: int


@dataclass(frozen=True)
class BankClient:
    port: int

    async def pay(self, key: str, payment: Payment) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            asked = {"key": key, "payee": payment.payee, "cents": payment.cents}
            writer.write(json.dumps(asked).encode() + b"\n")
            answer: dict[str, str] = json.loads(await reader.readline())
        finally:
            writer.close()
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["paid"]


@troth.resource
async def bank_client() -> AsyncIterator[BankClient]:
    yield BankClient(int(os.environ["BANK_PORT"]))


@troth.effect(
    provider=bank,
    timeout=1,
    retry=Retry(attempts=10, first=timedelta(milliseconds=200)),
    stands=True,  # money that was paid out stays paid
)
async def pay(call: Call, payment: Payment) -> str:
    return await call.get(BankClient).pay(call.key, payment)


@troth.workflow
async def pay_out(payment: Payment) -> str:
    return await pay(payment)


@troth.workflow
async def batch(name: str, payees: int) -> Mapped[str]:
    """Started again, by whatever mistake, it pays nobody again: the payments have the names of batch and payee."""
    payments = [Payment(name, payee, 100 + payee) for payee in range(payees)]
    return await troth.map(
        pay_out,
        payments,
        key=lambda payment: f"payout/{payment.batch}/{payment.payee}",
        concurrency=100,
        on_error="continue",
    )
