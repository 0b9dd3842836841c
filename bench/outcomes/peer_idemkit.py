"""idemkit: its decorator for function calls, with the PostgreSQL backend, and a caller that retries.

What it uses, from its README: `@idempotent` with `key_fields`; the schema made by `idemkit init-pg`; a caller that tries
again, also on `IdempotencyConflict` ("retry with bounded backoff"); `cache_exceptions`, which replays an error instead of
running the function again; `lease_ttl_seconds`; "pass the idempotency key downstream"; and `reconciliation_handler`, by
which it says that record and reality may disagree.
"""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import httpx
import stamina
from idemkit import IdempotencyConflict, MethodConfig, PostgresBackend, idempotent
from idemkit.backends.postgres import init_pg
from idemkit.contrib.reconciliation import reconciliation_handler

from bench.outcomes.payment import (
    LEASE_S,
    LONG_LEASE_S,
    Job,
    MayHaveCharged,
    charge,
    may_have_charged,
    say,
)

flagged: list[Any] = []


def config(lease_s: float, **settings: Any) -> MethodConfig:
    return MethodConfig(
        key_fields=["order"],
        lease_ttl_seconds=lease_s,
        wait_timeout_seconds=1.0,
        event_handlers=(reconciliation_handler(flagged.append),),
        **settings,
    )


def decorated(backend: PostgresBackend) -> dict[str, Any]:
    @idempotent(backend=backend, config=config(LEASE_S))
    async def plain(*, order: str) -> str:
        return await charge(order)

    # It keeps the claim of a dead process for a day, and replays errors that may stand for a charge.
    @idempotent(backend=backend, config=config(LONG_LEASE_S, cache_exceptions=(MayHaveCharged,)))
    async def careful(*, order: str) -> str:
        try:
            return await charge(order)
        except httpx.HTTPError as error:
            if may_have_charged(error):
                raise MayHaveCharged(repr(error)) from error
            raise

    @idempotent(backend=backend, config=config(LEASE_S))
    async def keyed(*, order: str) -> str:
        return await charge(order, key=f"charge-{order}")

    return {"plain": plain, "careful": careful, "key": keyed}


async def main() -> None:
    job = Job.received()
    await init_pg(job.database)
    async with PostgresBackend.from_url(job.database) as backend:
        once = decorated(backend)[job.variant]
        passing = (httpx.HTTPError, IdempotencyConflict)
        try:
            async for attempt in stamina.retry_context(on=passing, wait_max=1.0):
                with attempt:
                    await once(order=job.order)
        except IdempotencyConflict as error:
            say("in progress", error, flagged=bool(flagged))
        except (httpx.HTTPError, MayHaveCharged) as error:
            say("exception", error, flagged=bool(flagged))
        else:
            say("succeeded", flagged=bool(flagged))


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="idemkit: tool .* has no scope")
    asyncio.run(main())
