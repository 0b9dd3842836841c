"""A server under test: a real process with its data in a file, which can be killed and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from tests.harness.postgres import wait_until

ROOT = Path(__file__).parents[3]


class Process:
    """`python -m module --data file`, on ports that stay the same over restarts."""

    def __init__(
        self, module: str, data: Path, http: str = "port", *, more: Sequence[str] = ()
    ) -> None:
        self._more = more
        self._module = module
        self._data = data
        self._http = http
        self.ports: dict[str, int] = {}
        self.start()
        self.control = httpx.Client(base_url=self.url, verify=False)

    def start(self) -> None:
        options = [f"--{name.replace('_', '-')}={port}" for name, port in self.ports.items()]
        self._process = subprocess.Popen(
            [sys.executable, "-m", self._module, f"--data={self._data}", *self._more, *options],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdout is not None
        self.ports = json.loads(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[self._http]}"

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal, wait, and return the exit status (negative: died by a signal)."""
        self._process.send_signal(number)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait(10)

    def close(self) -> None:
        self.control.close()
        if self._process.poll() is None:
            self.stop(signal.SIGKILL)

    # -- the controls ----------------------------------------------------------------------------

    def fault(self, kind: str, **rule: Any) -> None:
        self.control.post("/_faults", json={"kind": kind, **rule}).raise_for_status()

    def faults(self) -> list[dict[str, Any]]:
        return self.control.get("/_faults").json()

    def until_fired(self) -> None:
        """Return once the first rule struck; within ten seconds, or fail."""
        wait_until(lambda: self.faults()[0]["fired"], "a strike of the first fault", timeout=10)

    def behave(self) -> None:
        self.control.delete("/_faults").raise_for_status()

    def advance(self, seconds: int) -> None:
        self.control.post("/_clock", json={"advance": seconds}).raise_for_status()

    def deliver(self, **rules: Any) -> None:
        """How webhooks misbehave from now on; without rules they do not."""
        self.control.post("/_deliveries", json=rules).raise_for_status()

    def flush(self, **how: Any) -> dict[str, int]:
        """Send the webhooks that are held; how many were sent, and how many taken."""
        answer = self.control.post("/_deliveries/flush", json=how, timeout=60)
        return answer.raise_for_status().json()

    def wires(self) -> dict[str, int]:
        """How many wires to the bank are done, are waiting, and of these were tried."""
        return self.control.get("/_wires").raise_for_status().json()

    def deliveries(self) -> dict[str, Any]:
        return self.control.get("/_deliveries").raise_for_status().json()

    def truth(self, kind: str, **metadata: str) -> list[dict[str, Any]]:
        """The provider's rows of a type that have this metadata."""
        truth = self.control.get("/_truth", params={"type": kind}).json()
        rows = truth["objects"][kind]["rows"]
        return [row for row in rows if row["metadata"].items() >= metadata.items()]

    def requests(self, did: str, told: str) -> int:
        """How many requests ended so, over all endpoints."""
        requests = self.control.get("/_truth").json()["requests"]
        return sum(one["count"] for one in requests if (one["did"], one["told"]) == (did, told))
