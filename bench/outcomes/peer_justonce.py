"""justonce: its decorator, with the PostgreSQL store, and a caller that retries.

What it uses, from its README: `@idempotent` with `operation_key`; `return_result=True` to see what the record says; a
caller that tries again later on `OperationInFlightError`; `retry_on_failure=False`, which burns the key when the effect
raises; `ttl_seconds`, after which the claim of a dead process may be taken over; `unresolved()`, what it knows not to know.
"""

from __future__ import annotations

import httpx
import justonce
import stamina
from justonce.stores.postgres import PostgresStore

from bench.outcomes.payment import (
    LEASE_S,
    LONG_LEASE_S,
    Job,
    charge_blocking,
    not_charged,
    say,
)


def key_of(order: str) -> str:
    return justonce.operation_key("charge", order)


@justonce.idempotent(key=key_of, return_result=True)
def plain(order: str) -> str:
    return charge_blocking(order)


# It knows no exception that may be retried once keys are burnt: those are retried inside.
@justonce.idempotent(key=key_of, return_result=True, retry_on_failure=False)
@stamina.retry(on=not_charged)
def careful(order: str) -> str:
    return charge_blocking(order)


@justonce.idempotent(key=key_of, return_result=True)
def keyed(order: str) -> str:
    return charge_blocking(order, key=key_of(order))


VARIANTS = {"plain": (plain, LEASE_S), "careful": (careful, LONG_LEASE_S), "key": (keyed, LEASE_S)}


def main() -> None:
    job = Job.received()
    once, ttl_s = VARIANTS[job.variant]
    engine = justonce.configure(PostgresStore(job.database), ttl_seconds=ttl_s)
    passing = (httpx.HTTPError, justonce.OperationInFlightError)
    patient = stamina.retry(on=passing, wait_max=1.0)
    try:
        result = patient(once)(job.order)
    except justonce.OperationInFlightError as error:
        say("in progress", error, flagged=bool(engine.unresolved()))
    except httpx.HTTPError as error:
        record = engine.store.lookup(key_of(job.order))
        say(record.state.value if record else "exception", error, flagged=bool(engine.unresolved()))
    else:
        say(result.record.state.value, flagged=bool(engine.unresolved()))


if __name__ == "__main__":
    main()
