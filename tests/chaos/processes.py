"""Worker processes for tests to ill-treat, and eyes that see what became of the runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import psutil
import psycopg
from psycopg import sql

from tests.chaos.program import SETTINGS, USER_TABLES, Program, Settings, build
from tests.harness.postgres import wait_until

ROOT = Path(__file__).resolve().parents[2]
LEASE_S = 2.0  # where the default would only make a test slow


class Process:
    """One process of `tests.chaos.program`. What it says on stdout is JSON, line by line."""

    def __init__(self, role: str, settings: Settings, log: Path) -> None:
        self.log = log
        self._output = log.with_suffix(".out")
        self._said = 0
        environment = os.environ | {SETTINGS: msgspec.json.encode(settings).decode()}
        with log.open("ab") as errors, self._output.open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.program", role],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
            )
        self.pid = self._child.pid

    def says(self) -> Any:
        """The next line that it says."""
        wait_until(self._has_more, f"process {self.pid} says something (see {self.log})")
        line = self._output.read_text().splitlines()[self._said]
        self._said += 1
        return json.loads(line)

    def _has_more(self) -> bool:
        lines = self._output.read_text().count("\n")
        if lines <= self._said and self._child.poll() is not None:
            raise AssertionError(f"process {self.pid} ended:\n{self.log.read_text()[-4000:]}")
        return lines > self._said

    def tell(self, line: str) -> None:
        """Write a line to its stdin."""
        assert self._child.stdin is not None
        self._child.stdin.write(line.encode() + b"\n")
        self._child.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill9(self) -> None:
        self._child.kill()
        self._child.wait()

    def stop(self) -> None:
        """SIGTERM, and the process ends well."""
        self._child.terminate()
        code = self._child.wait(30)
        assert code == 0, f"ended with {code}:\n{self.log.read_text()[-4000:]}"

    def wait_frozen(self) -> None:
        """Wait until it has stopped itself."""
        wait_until(self.is_frozen, f"process {self.pid} freezes (see {self.log})")

    def is_frozen(self) -> bool:
        return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)

    def resident_mb(self) -> float:
        return float(psutil.Process(self.pid).memory_info().rss) / 1e6

    def remove(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()


class Worker(Process):
    """A worker process that has joined: `id` is its first worker id."""

    id = 0

    def __init__(self, settings: Settings, log: Path) -> None:
        super().__init__("worker", settings, log)

    def wait_joined(self) -> None:
        self.id = int(self.says()["worker"])

    def open_gate(self) -> None:
        self.signal(signal.SIGUSR1)

    def report(self) -> dict[str, int]:
        """Its worker id, number of flushes and number of runs in memory, as of now."""
        self.signal(signal.SIGUSR2)
        answer: dict[str, int] = self.says()
        return answer


class Site:
    """A database with the tables of troth and of the program, a directory, and the processes there."""

    def __init__(self, url: str, schema: str, directory: Path) -> None:
        self.url = url
        self.schema = schema
        self.directory = directory
        self._processes: list[Process] = []
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute(USER_TABLES)

    def settings(self, **changes: Any) -> Settings:
        options = {"lease_s": LEASE_S} | changes.pop("options", {})
        fields = {"url": self.url, "schema": self.schema, "directory": str(self.directory)}
        return Settings(**fields | changes, options=options)

    def program(self, **changes: Any) -> Program:
        """The program, for a client in the process of the test."""
        return build(self.settings(**changes))

    def worker(self, *, url: str | None = None, **changes: Any) -> Worker:
        """A worker process; *changes* to its settings."""
        settings = self.settings(**changes | ({"url": url} if url else {}))
        worker = Worker(settings, self.directory / f"worker-{len(self._processes)}.log")
        self._processes.append(worker)
        worker.wait_joined()
        return worker

    def clients(self, count: int) -> Process:
        """A process with that many clients."""
        log = self.directory / f"clients-{len(self._processes)}.log"
        process = Process("clients", self.settings(clients=count), log)
        self._processes.append(process)
        return process

    def arm(self, point: str) -> None:
        """The next process that reaches this point freezes there."""
        (self.directory / f"stop-{point}").touch()

    def arm_block(self, point: str) -> None:
        """The next thread that reaches this point hangs there, until `unblock`."""
        os.mkfifo(self.directory / f"block-{point}")

    def is_blocking(self, point: str) -> bool:
        return (self.directory / f"blocked-{point}").exists()

    def unblock(self, point: str) -> None:
        (self.directory / f"blocked-{point}").write_bytes(b"")

    def witness(self) -> list[dict[str, Any]]:
        """What really happened outside the database, in order."""
        file = self.directory / "witness"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def calls(self) -> Counter[str]:
        """How often each effect was called, by idempotency key."""
        return Counter(line["key"] for line in self.witness())

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask the database; `{s}` is the schema."""
        statement = sql.SQL(query).format(s=sql.Identifier(self.schema))
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement, parameters).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        return self.rows(query, *parameters)[0][0]

    def ended(self) -> int:
        return int(self.value("SELECT count(*) FROM {s}.run_history"))

    def wait_ended(self, count: int, timeout: float = 30.0) -> None:
        wait_until(lambda: self.ended() >= count, f"{count} runs end", timeout)

    def workers(self) -> set[int]:
        """The ids of the living workers, as the database sees it."""
        return {row[0] for row in self.rows("SELECT id FROM {s}.worker WHERE executes")}

    def wait_dead(self, worker: int, timeout: float = 30.0) -> None:
        """Wait until peers have taken over from a worker, and released all that it had."""
        wait_until(
            lambda: self.value(
                "SELECT NOT EXISTS (SELECT 1 FROM {s}.worker WHERE id = %(w)s)"
                " AND NOT EXISTS (SELECT 1 FROM {s}.worker_gone WHERE id = %(w)s)".replace(
                    "%(w)s", str(worker)
                )
            ),
            f"worker {worker} is taken over",
            timeout,
        )

    def journal(self, run_id: UUID) -> list[tuple[str, int, int, int | None, bytes | None]]:
        """What the journal says of a run, without times: path, kind, attempt, seq, payload."""
        return [
            (path, kind, attempt, seq, None if payload is None else bytes(payload))
            for path, kind, attempt, seq, payload in self.rows(
                "SELECT path, kind, attempt, seq, payload FROM {s}.journal WHERE run_id = %s"
                " ORDER BY path, kind, attempt",
                run_id,
            )
        ]

    def remove(self) -> None:
        for process in self._processes:
            process.remove()


@contextmanager
def site(url: str, schema: str) -> Iterator[Site]:
    """A site in a directory of its own; its processes are gone afterwards, its logs shown if it failed."""
    with tempfile.TemporaryDirectory(prefix="troth-chaos-") as directory:
        made = Site(url, schema, Path(directory))
        try:
            yield made
        finally:
            made.remove()
