"""The processes of a matrix: edges, servers of other people, and workers to kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

import msgspec

from tests.harness.postgres import wait_until
from tests.matrix.program import SETTINGS, Settings, Ways

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A process that says its ports as one line of JSON when it is ready."""

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._pipe(self._process.stdin).close()
        self._pipe(self._process.stdout).close()

    def says(self) -> Any:
        """The next line that it says."""
        line = self._pipe(self._process.stdout).readline()
        assert line, f"a process ended:\n{self.log.read_text()[-4000:]}"
        return json.loads(line)

    def tell(self, command: object) -> Any:
        """A command, and the answer."""
        stdin = self._pipe(self._process.stdin)
        stdin.write(json.dumps(command) + "\n")
        stdin.flush()
        return self.says()

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class EdgeProcess(Child):
    """The fault edge before one server."""

    def __init__(self, protocol: str, port: int, log: Path) -> None:
        super().__init__([sys.executable, "-m", "tests.matrix.edge", protocol, f"--to={port}"], log)
        self.ways = msgspec.convert(self.says(), Ways)

    def aim(self, fault: str, mark: str, begins: str, until: str = "") -> None:
        """The next request that begins so and carries the mark meets the fault."""
        self.tell({"aim": {"mark": mark, "begins": begins, "fault": fault, "until": until}})

    def open_door(self) -> None:
        self.tell({"open": True})

    def come_to_rest(self) -> None:
        """Deliver what is held, and wait until nothing is on its way."""
        self.tell({"release": True})
        wait_until(lambda: self.report()["busy"] == 0, "the wire is empty")

    def report(self) -> dict[str, Any]:
        """Which marks have struck, which are held, and how many requests are on their way."""
        report: dict[str, Any] = self.tell({})
        return report


class Worker(Child):
    """A worker of the program."""

    def __init__(self, settings: Settings, log: Path) -> None:
        super().__init__(
            [sys.executable, "-m", "tests.matrix.program"],
            log,
            {SETTINGS: msgspec.json.encode(settings).decode()},
        )

    def wait_killed(self) -> None:
        """Wait until it has killed itself in the middle of its effects."""
        code = self._process.wait(60)
        assert code == -signal.SIGKILL, f"ended with {code}:\n{self.log.read_text()[-4000:]}"
