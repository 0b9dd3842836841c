"""A worker process of one deployment of examples/approval_flow, for a test to kill.

python -m tests.examples.approval_worker v1 URL SCHEMA
"""

from __future__ import annotations

import asyncio
import signal
import sys
from importlib import import_module

from troth import Troth
from troth.worker.node import NodeOptions


async def main(version: str, url: str, schema: str) -> None:
    troth: Troth = import_module(f"examples.approval_flow.{version}").troth
    troth.url, troth.schema = url, schema
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    # Nobody takes over by himself: the test says when it is dead.
    async with troth.worker(NodeOptions(lease_s=120, connections=2, threads=1)):
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
