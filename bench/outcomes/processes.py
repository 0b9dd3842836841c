"""The provider and the programs: real processes, which can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil

from bench.outcomes.payment import JOB, Job

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Return as soon as it is true. Raises `TimeoutError` after two minutes."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S:g} s in vain until {what}")
        time.sleep(0.02)


class NotStagedError(Exception):
    """What should have happened to the charge did not happen: the cell says nothing."""


class CardProvider:
    """The example's provider: it counts what it did, whatever anybody was told."""

    def __init__(self, directory: Path) -> None:
        self._data = directory / "provider.sqlite"
        self._port = 0
        self.start()

    def start(self) -> None:
        """On the same port as before, with the same data."""
        self._child = subprocess.Popen(
            [
                *(sys.executable, "-m", "examples.signup.provider"),
                *("--port", str(self._port), "--data", str(self._data)),
            ],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdout is not None
        self._port = json.loads(self._child.stdout.readline())["port"]

    def stop(self) -> None:
        """Nobody listens on its port when this returns."""
        self._child.terminate()
        self._child.wait(PATIENCE_S)
        assert self._child.stdout is not None
        self._child.stdout.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def misbehave_once(self, kind: str, **more: float) -> None:
        """The next charge gets this fault."""
        match = {"method": "POST", "path": "payment_intents"}
        rule = {"kind": kind, "count": 1, "match": match, **more}
        httpx.post(f"{self.url}/_faults", json=rule).raise_for_status()

    def struck(self) -> bool:
        """Has every fault that was asked for happened?"""
        rules = httpx.get(f"{self.url}/_faults").json()
        return all(rule["fired"] == rule["count"] for rule in rules)

    def behave(self) -> None:
        httpx.delete(f"{self.url}/_faults").raise_for_status()

    def advance(self, seconds: float) -> None:
        """Its clock moves on."""
        httpx.post(f"{self.url}/_clock", json={"advance": int(seconds)}).raise_for_status()

    def charges(self, order: str) -> int:
        """How often the card was charged for this order."""
        truth = httpx.get(f"{self.url}/_truth", params={"type": "charge"}).json()
        rows = truth["objects"]["charge"]["rows"]
        return sum(row["metadata"].get("order") == order and row["object"]["paid"] for row in rows)


@dataclasses.dataclass(frozen=True)
class Said:
    """The last word of a process about the charge."""

    says: str
    why: str
    flagged: bool


class Program:
    """One process of a system's program. What it says on stdout is kept in a file, and what it complains of in another."""

    def __init__(self, module: str, job: Job) -> None:
        name = f"{job.order}-{secrets.token_hex(4)}"
        self._output = Path(job.directory, f"{name}.out")
        self._log = Path(job.directory, f"{name}.log")
        with self._output.open("w") as output, self._log.open("w") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env=os.environ | {JOB: json.dumps(dataclasses.asdict(job))},
                stdout=output,
                stderr=log,
            )

    def wait_frozen(self) -> None:
        """Until it has stopped itself, at the place that was armed. Raises `NotStagedError` if it ends before."""
        wait_until(self._frozen, "the program stops itself")

    def _frozen(self) -> bool:
        if self._child.poll() is not None:
            raise NotStagedError(f"it ended before that place:\n{self._log.read_text()}")
        return bool(psutil.Process(self._child.pid).status() == psutil.STATUS_STOPPED)

    def wake(self) -> None:
        self._child.send_signal(signal.SIGCONT)

    def kill9(self) -> None:
        self._child.kill()
        self._child.wait()

    def ends_within(self, seconds: float) -> bool:
        """Wait for its end, but not longer than that."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        return self._child.poll() is not None

    def said(self) -> Said:
        """Wait until it has ended; its word. Raises `RuntimeError` with its log if it gave none."""
        status = self._child.wait(PATIENCE_S)
        for line in reversed(self._output.read_text().splitlines()):
            if line.startswith('{"says"'):
                return Said(**json.loads(line))
        raise RuntimeError(f"the program ended with {status}, silent:\n{self._log.read_text()}")

    def remove(self) -> None:
        if self._child.poll() is None:
            self.kill9()
