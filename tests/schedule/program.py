"""A process that fires schedules, and stops before its commit if told so: `python -m tests.schedule.program URL SCHEMA [hold]`."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime

from troth import Troth
from troth.schedule import Schedules, store

COUNT = 200


def build(url: str, schema: str) -> tuple[Troth, Schedules]:
    """Some schedules, each with the number that its runs get, and a workflow that never runs here."""
    troth = Troth(url, schema=schema)
    schedules = troth.include(Schedules(troth))

    @troth.workflow
    async def tick(n: int) -> None: ...

    for n in range(COUNT):
        schedules.declare(f"s{n}", tick, "0 0 1 1 *", args=numbered(n), overlap="allow")
    return troth, schedules


def numbered(n: int):
    def args(_at: datetime) -> tuple[int]:
        return (n,)

    return args


async def work(url: str, schema: str, *, hold: bool) -> None:
    """Relay until killed; with *hold*, stop for ever between the writing of a firing and its commit."""
    from troth.worker.relays import Relays

    _, schedules = build(url, schema)
    if hold:
        move = store.move

        async def moved_and_not_committed(*args) -> None:
            await move(*args)
            sys.stdout.write("held\n")
            sys.stdout.flush()
            await asyncio.Event().wait()

        store.move = moved_and_not_committed
    relays = Relays(url, list(schedules.relays))
    await relays.open()
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], hold="hold" in sys.argv))
