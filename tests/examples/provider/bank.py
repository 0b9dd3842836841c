"""A bank that is somebody else's program (mock-bank), as a process of its own, with one account of ours.

What it sends is put into `out`, a directory, too.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

ACCOUNT = "SIGNUP"
LISTENS = re.compile(r"listening on (http://[0-9.:]+)/")


class Bank:
    """Its data outlives a kill; `start` again listens on the same port. Its clock is *behind* by so many days."""

    def __init__(self, directory: Path, *, behind: int = 0) -> None:
        self._directory = directory
        self.out = directory / "out"
        self.out.mkdir()
        self._clock = datetime.now(UTC) - timedelta(days=behind)
        self._port = 0
        self.start()
        self.http = httpx.Client(base_url=self.url, timeout=30)
        account = {"id": ACCOUNT, "iban": "DE89370400440532013000", "currency": "EUR", "balance": 0}
        self.post("/_mock/accounts", account)

    def start(self) -> None:
        data = ["--db", str(self._directory / "bank.sqlite")]
        clock = ["--clock", f"{self._clock:%Y-%m-%dT%H:%M}"]
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "mockbank",
                "--port",
                str(self._port),
                *data,
                *clock,
                "--pickup-dir",
                self.out,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        said = LISTENS.search(self._process.stderr.readline())
        assert said is not None
        self.url = said[1]
        self._port = int(self.url.rpartition(":")[2])
        self._log = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)
        self._log.wait(10)
        assert self._process.stderr is not None
        self._process.stderr.close()

    def stand_still(self) -> None:
        """It takes connections and requests, and answers nothing until it goes on: then it does what it was asked."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.http.close()
        self.kill()

    # -- what it can be asked --------------------------------------------------------------------

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body)
        return self.http.post(path, content=content).raise_for_status().json()

    def get(self, path: str) -> Any:
        return self.http.get(path).raise_for_status().json()

    def behaves(self, **fields: Any) -> None:
        """`behaviour="statement-gap"`, `closed=True`, …"""
        self.http.patch(f"/_mock/accounts/{ACCOUNT}", content=json.dumps(fields)).raise_for_status()

    def days_pass(self, days: int) -> None:
        self.post(f"/_mock/advance?days={days}")

    def credits(self) -> list[dict[str, Any]]:
        """What has come in, the newest first."""
        return list(self.get("/_mock/credits"))

    def payments(self) -> list[dict[str, Any]]:
        """What it was ordered to pay, and what it has decided, the newest first."""
        return list(self.get("/_mock/payments"))

    def orders(self) -> list[int]:
        """How it has answered orders: the HTTP status of each."""
        return [each["status"] for each in self.get("/_mock/requests?path=/payments")]

    def statements(self) -> list[str]:
        """The documents, the oldest first."""
        issued = self.get(f"/_mock/accounts/{ACCOUNT}/statements")
        return [self.http.get(f"/_mock/mailbox/{each['message_id']}").text for each in issued]
