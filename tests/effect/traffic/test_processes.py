"""Several processes, one of them killed in the middle of its calls: the limits hold all the same."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.effect.traffic.calling import AT_ONCE, IN_FLIGHT_S, LIMIT, PER_S
from tests.harness.cell import until
from tests.harness.traffic import most_in_any

ROOT = Path(__file__).resolve().parents[3]


class Call(NamedTuple):
    begun: float
    ended: float


class Process:
    def __init__(self, url: str, schema: str, worker: int, output: Path) -> None:
        self.output = output
        self.worker = worker
        with output.open("wb") as stdout:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "tests.effect.traffic.calling", url, schema, str(worker)],
                cwd=ROOT,
                stdout=stdout,
            )

    def kill(self) -> float:
        """Kill it; the time at which it was certainly dead."""
        self._child.kill()
        self._child.wait()
        return time.monotonic()

    @property
    def begun(self) -> int:
        return self.output.read_text().count("begin")

    def calls(self, never_ended_s: float) -> list[Call]:
        """Those that never ended are taken to end then."""
        calls: list[Call] = []
        under_way: dict[str, float] = {}
        for line in self.output.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                what, permit, at = line.split()
                if what == "begin":
                    under_way[permit] = float(at)
                else:
                    calls.append(Call(under_way.pop(permit), float(at)))
        return calls + [Call(begun, never_ended_s) for begun in under_way.values()]


def most_at_once(calls: list[Call]) -> int:
    steps = sorted([(c.begun, 1) for c in calls] + [(c.ended, -1) for c in calls])
    now = most = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


async def test_rate_and_concurrency_hold_over_processes_and_a_kill(cell, tmp_path):
    processes = [
        Process(cell.url, cell.schema, await cell.member(), tmp_path / f"{n}.txt") for n in range(3)
    ]
    try:

        async def each_has_called():
            return all(process.begun >= 5 for process in processes)

        async def victim_is_calling():
            lines = processes[0].output.read_text()
            return lines.count("begin") > lines.count("end")

        async def others_went_on():
            return sum(process.begun for process in processes[1:]) >= before + 60

        await until(each_has_called, "each process has called")
        await until(victim_is_calling, "the victim is calling")
        killed = processes[0].kill()
        await cell.rows("SELECT {}.takeover(%s, NULL)", processes[0].worker)
        before = sum(process.begun for process in processes[1:])
        await until(others_went_on, "the others go on")
    finally:
        ended = [process.kill() for process in processes]

    calls = processes[0].calls(never_ended_s=killed + IN_FLIGHT_S)
    for process, end in zip(processes[1:], ended[1:], strict=True):
        calls += process.calls(never_ended_s=end)
    assert len(calls) > 75
    assert most_in_any(PER_S, [call.begun for call in calls]) <= LIMIT
    assert most_at_once(calls) <= AT_ONCE
