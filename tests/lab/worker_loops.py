"""Loops over a table of jobs, as they are written by hand with asyncpg: SELECT … FOR UPDATE SKIP LOCKED, and what is done about a worker
that dies. Nothing here knows the lab."""

from __future__ import annotations

import asyncio

import asyncpg
import httpx

JOBS = """
CREATE TABLE jobs (id int PRIMARY KEY, state text NOT NULL DEFAULT 'ready', leased timestamptz, runs int NOT NULL DEFAULT 0);
INSERT INTO jobs (id) VALUES (1);
"""
DSN = "postgresql:///jobs"
CLAIM = """
UPDATE jobs SET state = 'running' WHERE id = (
    SELECT id FROM jobs WHERE state = 'ready' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id
"""
LEASE = """
UPDATE jobs SET state = 'running', leased = now() + interval '5 minutes' WHERE id = (
    SELECT id FROM jobs WHERE state = 'ready' OR (state = 'running' AND leased < now())
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING id
"""


async def charge(job: int, *, keyed: bool) -> None:
    headers = {"Idempotency-Key": f"job-{job}"} if keyed else {}
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            "https://api.stripe.com/v1/charges", data={"reference": str(job)}, headers=headers
        )
        answer.raise_for_status()


async def claim_commit_work() -> None:
    """The claim is durable, and so is being stuck."""
    db = await asyncpg.connect(DSN)
    while True:
        job = await db.fetchval(CLAIM)
        if job is None:
            await asyncio.sleep(1)
            continue
        await charge(job, keyed=True)
        await db.execute("UPDATE jobs SET state = 'done' WHERE id = $1", job)


async def done_before_it_is_done() -> None:
    """No job is ever stuck. Some are lost."""
    db = await asyncpg.connect(DSN)
    while True:
        job = await db.fetchval(CLAIM.replace("'running'", "'done'"))
        if job is None:
            await asyncio.sleep(1)
            continue
        await charge(job, keyed=True)


async def work_under_a_lease() -> None:
    """A lease that ends lets another worker take over. The first may still be at work, or was a moment ago."""
    db = await asyncpg.connect(DSN)
    while True:
        job = await db.fetchval(LEASE)
        if job is None:
            await asyncio.sleep(1)
            continue
        await charge(job, keyed=False)
        await db.execute("UPDATE jobs SET state = 'done' WHERE id = $1", job)


async def work_under_a_lease_with_a_key() -> None:
    """Whoever comes second does what is done already."""
    db = await asyncpg.connect(DSN)
    while True:
        job = await db.fetchval(LEASE)
        if job is None:
            await asyncio.sleep(1)
            continue
        await charge(job, keyed=True)
        await db.execute("UPDATE jobs SET state = 'done' WHERE id = $1", job)


async def look_then_claim() -> None:
    """Without a lock: two workers find the same job."""
    db = await asyncpg.connect(DSN)
    job = await db.fetchval("SELECT id FROM jobs WHERE state = 'ready' ORDER BY id LIMIT 1")
    if job is not None:
        await db.execute("UPDATE jobs SET state = 'running' WHERE id = $1", job)
        await db.execute("UPDATE jobs SET runs = runs + 1, state = 'done' WHERE id = $1", job)
    await db.close()


async def work_in_the_transaction_of_the_claim() -> None:
    """The lock is the claim: it ends with the worker, and so does what it did."""
    db = await asyncpg.connect(DSN)
    while True:
        async with db.transaction():
            job = await db.fetchval(
                "SELECT id FROM jobs WHERE state = 'ready' ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            if job is not None:
                await db.execute(
                    "UPDATE jobs SET runs = runs + 1, state = 'done' WHERE id = $1", job
                )
        if job is None:
            await asyncio.sleep(1)


async def wait_for_a_notification() -> None:
    db = await asyncpg.connect(DSN)
    await db.add_listener("jobs", lambda *_: None)
