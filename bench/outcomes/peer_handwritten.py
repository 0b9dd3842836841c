"""Retries as they are usually written: a loop around the call, here stamina's, with its defaults.

Started again after a crash, as a job queue does that got no acknowledgement: the function runs from its beginning.
"""

from __future__ import annotations

import asyncio
import uuid

import httpx
import stamina

from bench.outcomes.payment import Job, charge, find, not_charged, say


@stamina.retry(on=httpx.HTTPError)
async def without_key(order: str) -> str:
    return await charge(order)


@stamina.retry(on=not_charged)
async def only_what_was_refused(order: str) -> str:
    return await charge(order)


@stamina.retry(on=httpx.HTTPError)
async def looks_first(order: str) -> str:
    return await find(order) or await charge(order)


@stamina.retry(on=httpx.HTTPError)
async def fresh_key(order: str) -> str:
    return await charge(order, key=str(uuid.uuid4()))


async def key_of_the_call(order: str) -> str:
    """One key for all tries; it dies with the process."""
    key = str(uuid.uuid4())
    return await stamina.retry(on=httpx.HTTPError)(charge)(order, key)


@stamina.retry(on=httpx.HTTPError)
async def key_of_the_order(order: str) -> str:
    """The same key for ever, whoever tries."""
    return await charge(order, key=f"charge-{order}")


@stamina.retry(on=httpx.HTTPError)
async def key_of_the_order_and_look(order: str) -> str:
    return await find(order) or await charge(order, key=f"charge-{order}")


VARIANTS = {
    "plain": without_key,
    "careful": only_what_was_refused,
    "look": looks_first,
    "fresh key": fresh_key,
    "key of the call": key_of_the_call,
    "key of the order": key_of_the_order,
    "key and look": key_of_the_order_and_look,
}


async def main() -> None:
    job = Job.received()
    try:
        await VARIANTS[job.variant](job.order)
    except httpx.HTTPError as error:
        say("exception", error)
    else:
        say("succeeded")


if __name__ == "__main__":
    asyncio.run(main())
