"""The processes that are killed while they undo: victims, forked off one another, and their successor.

    python -m tests.chaos.undo_program

What to do is JSON in one environment variable. A victim executes one saga, and stops itself (SIGSTOP) at one commit of
the undoing. It is forked from a process that has imported everything, so that many cost little.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec
import psycopg

from tests.harness.postgres import wait_until
from tests.workflow.undo_saga import Case, Commits, Program, World
from troth import Troth
from troth.worker.node import NodeOptions

SETTINGS = "TROTH_TEST_UNDO"
LEFT = "SELECT 1 FROM ledger WHERE saga = %s AND what = 'write' AND name = 'left again'"
TIMEOUT_S = 0.3
OPTIONS = NodeOptions(lease_s=1.0, connections=1, threads=1)


class Place(NamedTuple):
    """Where a victim stops: before (`kept` is False) or after a commit of the undoing, counted from 1."""

    at: int
    kept: bool

    @property
    def saga(self) -> str:
        """The saga that is stopped there."""
        return f"{'after' if self.kept else 'before'}-{self.at}"


class Settings(msgspec.Struct, frozen=True):
    """What a test tells these processes. A successor executes all sagas, and stops nowhere."""

    url: str
    schema: str
    world: str
    places: list[Place]
    successor: bool = False


async def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


async def work(settings: Settings, places: list[Place], victim: Place | None) -> None:
    """Execute the sagas of these places until somebody ends this process."""
    world = World(Path(settings.world))
    troth = Troth(settings.url, schema=settings.schema)
    program = Program(troth, world, [place.saga for place in places], TIMEOUT_S)

    async def other_branch(case: Case) -> None:
        """The other branch has come to its end, so that all sagas have the same to undo."""

        def has_ended() -> bool:
            with psycopg.connect(settings.url, autocommit=True) as session:
                return session.execute(LEFT, (case.mark,)).fetchone() is not None

        await asyncio.to_thread(wait_until, has_ended, f"the left branch of {case.mark} ends")

    program.hold = other_branch
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with troth.worker(OPTIONS):
        if victim is not None:
            Commits(program, troth.node, victim.at, stop, kept=victim.kept)
        await ended.wait()
    world.close()


def fork_victims(settings: Settings) -> None:
    """Fork one process for each place, say their ids, and wait for their ends."""
    victims: list[int] = []
    for place in settings.places:
        pid = os.fork()
        if pid == 0:
            asyncio.run(work(settings, [place], place))
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
    if settings.successor:
        asyncio.run(work(settings, settings.places, None))
    else:
        fork_victims(settings)
    sys.exit(0)


if __name__ == "__main__":
    main()
