"""Keeps a number of worker processes alive: starts them, replaces the dead, and stops all of them in good order.

It runs no code of the program that it supervises, so nothing that a worker does can take it down. A worker that is
killed loses nothing: its peers take its runs over. The first process is a scout: only when it is ready do the others
start, and if it cannot even begin, the reason is told once and nothing is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Self

from troth.base.backoff import Retry

log = logging.getLogger("troth.worker")

# Waits before a process is started again; they grow while it dies before it is ready, or soon after.
RESTART = Retry(attempts=sys.maxsize, first=timedelta(seconds=0.5), longest=timedelta(seconds=30))
_SETTLED_S = 60.0  # a process that lived this long had not failed to start
_MOST_FAILURES = 20  # more of them do not make the wait longer


class Child:
    """One worker process, from the outside."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self.pid = process.pid

    @classmethod
    async def spawn(cls, command: Sequence[str], order: bytes) -> Self:
        """Start *command* with the number of its end of the control as the last argument, and tell it the *order*."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # A session of its own: Ctrl-C reaches this process alone, which then stops the others.
                process = await asyncio.create_subprocess_exec(
                    *command,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        child = cls(process, ours)
        with contextlib.suppress(OSError):  # it has ended already; whoever waits for it will see
            await asyncio.get_running_loop().sock_sendall(ours, order + b"\n")
        return child

    async def ready(self) -> bytes | None:
        """What it said when it began to work; None if it ended before."""
        loop = asyncio.get_running_loop()
        said = bytearray()
        with contextlib.suppress(ConnectionError):
            while not said.endswith(b"\n"):
                received = await loop.sock_recv(self._control, 4096)
                if not received:
                    return None
                said += received
            return bytes(said[:-1])
        return None

    async def wait(self) -> int:
        """Its exit code when it has ended; negative: the signal that ended it."""
        code = await self._process.wait()
        self._control.close()
        return code

    def drain(self) -> None:
        """Let it finish the steps that are running, hand over its runs and end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End it now; peers take its runs over after its lease."""
        self._send(signal.SIGKILL)

    def _send(self, kind: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(kind)


class Supervisor:
    """Runs *processes* copies of a command. `run` once, in the event loop in which it was made."""

    def __init__(
        self,
        command: Sequence[str],
        order: bytes,
        processes: int,
        *,
        ready: Callable[[bytes], None],
        restart: Retry = RESTART,
    ) -> None:
        """*ready(said)* is called once, when all of them work, with what the first one said."""
        self._command = command
        self._order = order
        self._processes = processes
        self._ready = ready
        self._restart = restart
        self._children: set[Child] = set()
        self._stopping = asyncio.Event()
        self._killing = False
        self._starting = processes

    async def run(self) -> int:
        """Until stopped: 0; or the exit code of the first process, if that never became ready."""
        scout = await self._spawn()
        said = await scout.ready()
        if said is None:
            code = await self._end_of(scout)
            return 0 if self._stopping.is_set() else abs(code) or 1
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(scout, said))
            for _ in range(self._processes - 1):
                group.create_task(self._keep())
        return 0

    def stop(self) -> None:
        """Drain; called a second time, kill."""
        self._killing = self._stopping.is_set()
        self._stopping.set()
        for child in self._children:
            self._tell_to_stop(child)

    async def _keep(self, child: Child | None = None, said: bytes | None = None) -> None:
        """Have one process, whatever becomes of it, until stopped."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            try:
                if child is None:
                    child = await self._spawn()
                    said = await child.ready()
                if said is not None:
                    self._joined(said)
                fate = f"{child.pid} {_how(await self._end_of(child))}"
            except OSError as error:  # no memory, or no more processes: it may pass
                fate = f"cannot be started: {error}"
            if self._stopping.is_set():
                return
            child = None
            failures = 1 if loop.time() - began > _SETTLED_S else min(failures + 1, _MOST_FAILURES)
            wait_s = self._restart.wait_s(failures) or 0.0
            log.warning("worker process %s; another one starts in %.1f s", fate, wait_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._stopping.wait()
                return

    def _joined(self, said: bytes) -> None:
        self._starting -= 1
        if self._starting == 0:
            self._ready(said)

    async def _spawn(self) -> Child:
        child = await Child.spawn(self._command, self._order)
        self._children.add(child)
        if self._stopping.is_set():
            self._tell_to_stop(child)
        return child

    async def _end_of(self, child: Child) -> int:
        code = await child.wait()
        self._children.discard(child)
        return code

    def _tell_to_stop(self, child: Child) -> None:
        if self._killing:
            child.kill()
        else:
            child.drain()


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


@contextlib.contextmanager
def on_stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """While inside, SIGTERM and SIGINT call *stop*, each time, instead of ending this process."""
    loop = asyncio.get_running_loop()
    kinds = (signal.SIGTERM, signal.SIGINT)
    for kind in kinds:
        loop.add_signal_handler(kind, stop)
    try:
        yield
    finally:
        for kind in kinds:
            loop.remove_signal_handler(kind)
