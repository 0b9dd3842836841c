"""Workers of the two programs that map, in processes of their own: `python -m tests.examples.mapping_processes MODULE`."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from tests.house.tree import ROOT
from troth.worker.node import NodeOptions

OPTIONS = NodeOptions(lease_s=1.0, connections=4)


async def work(module: str) -> None:
    """Execute what there is until this process is killed."""
    async with importlib.import_module(module).troth.worker(OPTIONS):
        await asyncio.Event().wait()


@contextmanager
def process(*command: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`python -m …`; it is killed with the block, if it was not before."""
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    with ExitStack() as stack:
        assert started.stdout is not None
        stack.enter_context(started.stdout)
        stack.callback(started.wait)
        stack.callback(started.kill)
        yield started


def worker(
    module: str, url: str, **environment: str
) -> AbstractContextManager[subprocess.Popen[str]]:
    """A worker of a program."""
    return process(
        "tests.examples.mapping_processes", module, TROTH_DATABASE_URL=url, **environment
    )


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
