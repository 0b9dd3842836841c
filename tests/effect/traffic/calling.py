"""A process that calls a provider for as long as it lives, and says when each call begins and ends.

`python -m tests.effect.traffic.calling URL SCHEMA WORKER`; the times are of the clock that all processes share.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from datetime import timedelta

from tests.harness.traffic import Caller
from troth.effect.model import Breaker, Provider, Rate

LIMIT, PER_S, AT_ONCE, IN_FLIGHT_S = 40, 1.0, 3, 1.0
PROVIDER = Provider(
    "shared",
    rate=Rate(LIMIT, per=timedelta(seconds=PER_S)),
    breaker=Breaker(),
    concurrency=AT_ONCE,
)
RUNS = 10


async def call(caller: Caller) -> None:
    while True:
        permit = await caller.permitted(PROVIDER, in_flight_s=IN_FLIGHT_S)
        say("begin", permit)
        await asyncio.sleep(random.uniform(0.005, 0.06))
        say("end", permit)
        caller.back(permit)


def say(what: str, permit: object) -> None:
    sys.stdout.write(f"{what} {id(permit)} {time.monotonic()}\n")
    sys.stdout.flush()


async def main(url: str, schema: str, worker: str) -> None:
    caller = Caller(url, schema, int(worker))
    await asyncio.gather(*(call(caller) for _ in range(RUNS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
