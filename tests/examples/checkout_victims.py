"""Workers of examples/checkout that kill themselves with SIGKILL around a chosen commit, and cancel at another.

    python -m tests.examples.checkout_victims

What to do is JSON in one environment variable. Each victim executes one order, under a name of its own; they are forked
off one process that has imported everything, so that many cost little. When all have come to their ends, so does it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from itertools import count
from typing import Any
from uuid import UUID

import msgspec

from examples.checkout import shop
from troth import RunEndedError, Troth
from troth.journal.model import Batch, Reply
from troth.worker.node import NodeOptions

SETTINGS = "TROTH_CHECKOUT_VICTIMS"
AT_ONCE = 10
OPTIONS = NodeOptions(
    lease_s=120, connections=1, threads=1
)  # nobody takes over before the test does


class Victim(msgspec.Struct, frozen=True):
    """One order, and what befalls it. Commits count from 1; 0 is never."""

    kill_at: int = 0
    kept: bool = False  # is it killed after that commit, rather than before?
    cancel_at: int = 0  # just before that commit
    by: str = ""  # who cancels: "customer" or "shop"
    article: str = "lamp"
    card: str = "visa"

    @property
    def name(self) -> str:
        side = "after" if self.kept else "before"
        return f"{self.article}-{self.card}-{self.by}.{self.cancel_at}-{side}.{self.kill_at}"


class Settings(msgspec.Struct, frozen=True):
    """What the test tells: where, and which runs."""

    url: str
    schema: str
    runs: list[tuple[Victim, UUID]]


def named(victims: Iterable[Victim]) -> dict[str, Any]:
    """Nothing but the checkouts of these victims may be executed by this process."""
    body, answers = shop.checkout.function, shop.checkout.fails_on
    made = {v.name: shop.troth.workflow(name=v.name, fails_on=answers)(body) for v in victims}
    del shop.troth.workflows[shop.checkout.name]
    return made


class Commits:
    """Counts what one worker commits for its run, flushes and step transactions, and does what is to be done there."""

    def __init__(self, victim: Victim, run: UUID, caller: Troth) -> None:
        self._victim = victim
        self._run = run
        self._caller = caller
        self._numbers = count(1)
        node = shop.troth.node
        transactor = node.engine.performer._transactor  # type: ignore[attr-defined]
        flush, attempt, note = node.writer._flush, transactor._attempt, shop._note
        open_number = 0

        async def flushed(batch: Batch) -> Reply:
            if not (batch.entries or batch.undoing or batch.ends or batch.releases):
                return await flush(batch)
            number = await self._before()
            reply = await flush(batch)
            self._after(number)
            return reply

        async def noted(*given: Any) -> None:  # the last statement of a step transaction
            nonlocal open_number
            await note(*given)
            open_number = await self._before()

        async def attempted(*given: Any) -> Any:
            nonlocal open_number
            value = await attempt(*given)
            number, open_number = open_number, 0
            self._after(number)
            return value

        node.writer._flush = flushed  # type: ignore[method-assign]
        transactor._attempt = attempted
        shop._note = noted

    async def _before(self) -> int:
        number, victim = next(self._numbers), self._victim
        if number == victim.cancel_at:
            try:
                if victim.by == "shop":
                    await self._caller.run(self._run).cancel()
                else:
                    await self._caller.send(self._run, shop.cancelled, "no more", key="cancel")
            except RunEndedError:
                pass  # too late, and it is said
        if number == victim.kill_at and not victim.kept:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    def _after(self, number: int) -> None:
        if number == self._victim.kill_at and self._victim.kept:
            os.kill(os.getpid(), signal.SIGKILL)


async def work(settings: Settings, victim: Victim, run: UUID) -> None:
    """Execute one order until it ends, or needs somebody; or until the commit at which this process is killed."""
    named([victim])
    shop.troth.url, shop.troth.schema = settings.url, settings.schema
    # Somebody else cancels: a client with connections of its own.
    caller = Troth(settings.url, schema=settings.schema)
    async with caller.client(), shop.troth.worker(OPTIONS):
        Commits(victim, run, caller)
        async for update in shop.troth.run(run).watch():
            if update.state == "attention":
                break


def main() -> None:
    settings = msgspec.json.decode(os.environ[SETTINGS], type=Settings)
    for begin in range(0, len(settings.runs), AT_ONCE):
        children = []
        for victim, run in settings.runs[begin : begin + AT_ONCE]:
            pid = os.fork()
            if pid == 0:
                asyncio.run(work(settings, victim, run))
                os._exit(0)
            children.append(pid)
        for pid in children:
            _, status = os.waitpid(pid, 0)
            code = os.waitstatus_to_exitcode(status)
            sys.stdout.write(f"{code}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
