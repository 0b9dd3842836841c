"""A program with a limited queue, whose processes race and are killed: `python -m tests.worker.program URL SCHEMA DIRECTORY`.

What its steps do they write down in one file for all processes (the witness), line by line: appends are atomic, so the
order of the lines is an order of what happened.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from troth import Troth
from troth.worker.node import NodeOptions
from troth.workflow.queue import Queue

CONCURRENCY, PER_PARTITION = 5, 2
GATE = "gate"  # while this file is there, steps that have begun do not end
LEASE_S = 1.0


def build(url: str, schema: str, directory: Path) -> Troth:
    """The program."""
    troth = Troth(url, schema=schema)
    queue = Queue("races", concurrency=CONCURRENCY, per_partition=PER_PARTITION)

    @troth.step
    def body(tenant: str) -> None:
        write(directory, f"begin {os.getpid()} {tenant}")
        while (directory / GATE).exists():
            signal.sigtimedwait((), 0.01)  # wait without a busy loop
        write(directory, f"end {os.getpid()} {tenant}")

    @troth.workflow(queue=queue)
    async def race(tenant: str) -> None:
        await body(tenant)

    return troth


def write(directory: Path, line: str) -> None:
    file = os.open(directory / "witness", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


async def work(troth: Troth) -> None:
    """A worker until SIGTERM; says when it has joined."""
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with troth.worker(NodeOptions(lease_s=LEASE_S, threads=8, connections=2)):
        sys.stdout.write("joined\n")
        sys.stdout.flush()
        await stopping.wait()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(work(build(sys.argv[1], sys.argv[2], Path(sys.argv[3]))))
