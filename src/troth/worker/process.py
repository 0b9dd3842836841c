"""A worker process from the inside: it works until it is told to stop, then lets go of its runs and ends.

Its parent holds the other end of a socket, the control. It carries one line each way, what to do and *ready*; its end
of file says that the parent is gone, however it went, so that no worker is left behind without anybody to stop it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from troth.worker.node import NodeOptions

log = logging.getLogger("troth.worker")

_LINE_LIMIT = 1 << 20


class Program(Protocol):
    """What can be worked for: a `Troth`."""

    def worker(
        self, options: NodeOptions | None = None, /
    ) -> AbstractAsyncContextManager[object]: ...


def read_order(control: socket.socket) -> bytes:
    """The line that the parent sends first. Raises `EOFError` if it went away instead. Blocks."""
    order = bytearray()
    while not order.endswith(b"\n"):
        received = control.recv(4096)
        if not received or len(order) > _LINE_LIMIT:
            raise EOFError
        order += received
    return bytes(order[:-1])


def spare_collector() -> None:
    """What is imported by now is never garbage: do not look at it again and again."""
    gc.collect()
    gc.freeze()


async def work(
    program: Program, options: NodeOptions, control: socket.socket, ready: bytes
) -> None:
    """Execute runs until SIGTERM, SIGINT or the end of the parent; *ready* is told to the parent when that begins.

    On the way out, steps that are running end (for as long as the options allow) and all other runs are handed over.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for kind in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(kind, stop.set)
    control.setblocking(False)
    spare_collector()
    loop.add_reader(control, stop.set)  # the parent says no second line: this is its end
    try:
        async with program.worker(options):
            await loop.sock_sendall(control, ready + b"\n")
            await stop.wait()
            log.info("draining: steps that are running end, all other runs are handed over")
    finally:
        loop.remove_reader(control)


def work_here(program: Program, options: NodeOptions | None = None) -> None:
    """Execute runs in this process until SIGTERM or SIGINT; then running steps end, and the rest is handed over. Blocks."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for kind in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(kind, stop.set)
        async with program.worker(options):
            log.info("working; Ctrl-C or SIGTERM stops")
            await stop.wait()

    asyncio.run(until_stopped())
