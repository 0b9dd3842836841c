"""The processes that are killed while a run and its children are under way: victims, bystanders, and a successor.

    python -m tests.chaos.family_program

What to do is JSON in one environment variable. A victim executes the parent, the children, or both, of one family, and
stops itself (SIGSTOP) at one of its flushes. A bystander executes the rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from typing import Any, NamedTuple

import msgspec

from troth import Refused, Troth, Tx
from troth.journal.model import Batch, Reply
from troth.worker.node import Node, NodeOptions
from troth.workflow.definition import Workflow

SETTINGS = "TROTH_TEST_FAMILY"
TABLES = (
    "CREATE TABLE IF NOT EXISTS booked (family text NOT NULL, n integer NOT NULL); TRUNCATE booked"
)
OPTIONS = NodeOptions(lease_s=1.0, connections=1, threads=1)
ROLES = ("outer", "inner", "idle")


class Place(NamedTuple):
    """Where a victim stops: before (`kept` is False) or after its flush number *at*."""

    at: int
    kept: bool

    @property
    def family(self) -> str:
        return f"{'after' if self.kept else 'before'}-{self.at}"


class Settings(msgspec.Struct, frozen=True):
    """What a test tells these processes. *roles*: what they execute; *stopping*: they are victims."""

    url: str
    schema: str
    places: list[Place]
    roles: list[str]
    stopping: bool


def build(settings: Settings, families: list[str]) -> tuple[Troth, dict[str, Workflow[[int], Any]]]:
    """The program of these families, and their parents."""
    troth = Troth(settings.url, schema=settings.schema)

    @troth.transaction
    async def book(tx: Tx, family: str, n: int) -> int:
        await tx.execute("INSERT INTO booked (family, n) VALUES (%s, %s)", (family, n))
        return n

    def family(name: str) -> Workflow[[int], Any]:
        @troth.workflow(name=f"inner.{name}")
        async def inner(n: int, first: bool) -> int:
            if first:
                return troth.continue_as(n, False)
            return await book(name, n)

        @troth.workflow(name=f"idle.{name}")
        async def idle() -> None:
            await troth.receive("never")

        @troth.workflow(name=f"outer.{name}")
        async def outer(n: int) -> None:
            booked = await inner(n, True)
            handle = await troth.start(inner, n + 1, True, key=name)
            await troth.start(idle)
            raise Refused(booked + await handle.result())

        return outer

    return troth, {name: family(name) for name in families}


async def work(settings: Settings, families: list[str], victim: Place | None) -> None:
    """Execute what these roles have to do until somebody ends this process."""
    troth, _ = build(settings, families)
    every = troth.workflows
    troth.workflows = {
        name: flow for name, flow in every.items() if name.split(".")[0] in settings.roles
    }
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with troth.worker(OPTIONS):
        troth.workflows = every  # its code knows all of them; its worker takes its own
        if victim is not None:
            stop_at(troth.node, victim)
        await ended.wait()


def stop_at(node: Node, place: Place) -> None:
    """Stop this process at that flush about any run."""
    flush, count = node.writer._flush, 0

    async def held(batch: Batch) -> Reply:
        nonlocal count
        count += bool(batch.runs())
        if count == place.at and batch.runs():
            if place.kept:
                await flush(batch)
            os.kill(os.getpid(), signal.SIGSTOP)
        return await flush(batch)

    node.writer._flush = held  # type: ignore[method-assign]


def fork_victims(settings: Settings) -> None:
    """Fork one process for each place, say their ids, and wait for their ends."""
    victims: list[int] = []
    for place in settings.places:
        pid = os.fork()
        if pid == 0:
            asyncio.run(work(settings, [place.family], place))
            os._exit(0)
        victims.append(pid)
    sys.stdout.write(json.dumps(victims) + "\n")
    sys.stdout.flush()
    for pid in victims:
        os.waitpid(pid, 0)


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
    )
    settings = msgspec.json.decode(os.environ[SETTINGS], type=Settings)
    if settings.stopping:
        fork_victims(settings)
    else:
        asyncio.run(work(settings, [place.family for place in settings.places], None))
    sys.exit(0)


if __name__ == "__main__":
    main()
