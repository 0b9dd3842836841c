"""Real processes of the command line, and the stage on which their steps meet the test."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.house.tree import ROOT

DEADLINE_S = 40.0


@dataclass
class Guest:
    """A step that stands on the stage and waits."""

    name: str
    pid: int
    _writer: asyncio.StreamWriter

    def go(self, answer: str = "done") -> None:
        """Let it end."""
        self._writer.write(f"{answer}\n".encode())


class Stage:
    """Where steps arrive."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._arrived: asyncio.Queue[Guest] = asyncio.Queue()
        self._writers: list[asyncio.StreamWriter] = []

    async def guest(self) -> Guest:
        """The next step that arrives."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._arrived.get()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        name, pid = (await reader.readline()).decode().split()
        self._arrived.put_nowait(Guest(name, int(pid), writer))

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Stage]:
        with TemporaryDirectory(prefix="troth-stage-") as directory:
            stage = cls(f"{directory}/stage")
            server = await asyncio.start_unix_server(stage._meet, stage.path)
            try:
                yield stage
            finally:
                server.close()
                for writer in stage._writers:
                    writer.close()
                await server.wait_closed()


class Command:
    """A running `troth ...`, whose standard error is read line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid
        self.said: list[str] = []

    async def line(self, containing: str) -> str:
        """The next line that contains a text."""
        assert self.process.stderr is not None
        try:
            async with asyncio.timeout(DEADLINE_S):
                async for raw in self.process.stderr:
                    line = raw.decode().rstrip("\n")
                    self.said.append(line)
                    if containing in line:
                        return line
        except TimeoutError:
            pass
        raise AssertionError(f"it did not say {containing!r}, but:\n" + "\n".join(self.said))

    async def end(self) -> int:
        """Its exit code, when it has ended; what it still said is kept."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            self.said += (await self.process.stderr.read()).decode().splitlines()
            return await self.process.wait()

    def workers(self) -> set[int]:
        """The processes below it."""
        return {child.pid for child in psutil.Process(self.pid).children()}

    def signal(self, kind: int) -> None:
        """Send it a signal, and nobody else."""
        self.process.send_signal(kind)


@asynccontextmanager
async def command(*arguments: str, cwd: Path = ROOT, **environ: str) -> AsyncIterator[Command]:
    """`troth ...` in a process of its own; whatever is left of it in the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from troth.cli.main import main; main()", *arguments),
        cwd=cwd,
        env={**os.environ, **environ},
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            family = [*psutil.Process(process.pid).children(recursive=True)]
            process.kill()
            for child in family:
                try:
                    child.kill()
                except psutil.NoSuchProcess:
                    continue
        await process.communicate()
