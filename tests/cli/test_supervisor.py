"""The supervisor with processes that are told how to behave."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.postgres import wait_until
from troth.base.backoff import Retry
from troth.worker.supervisor import Child, Supervisor

# Behaves as the next line of a file says: an exit code, or "work" until SIGTERM; "deaf" works on even then.
PROCESS = """
import pathlib, signal, socket, sys
plan, control = pathlib.Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2]))
assert control.recv(100) == b"the order\\n"
first, _, rest = plan.read_text().partition("\\n")
plan.write_text(rest)
if first not in ("work", "deaf"):
    sys.exit(int(first))
signal.signal(signal.SIGTERM, signal.SIG_IGN if first == "deaf" else lambda *_: sys.exit(0))
control.sendall(b"hello\\n")
while True:
    signal.pause()
"""
SOON = Retry(
    attempts=sys.maxsize, first=timedelta(milliseconds=1), longest=timedelta(milliseconds=2)
)


class Told:
    """What a supervisor said: an event and a list."""

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.ready = asyncio.Event()

    def __call__(self, said: bytes) -> None:
        self.said.append(said)
        self.ready.set()


def supervisor(tmp_path: Path, plan: str, told: Told, processes: int = 1) -> Supervisor:
    (tmp_path / "plan").write_text(plan)
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "plan")]
    return Supervisor(command, b"the order", processes, ready=told, restart=SOON)


@pytest.fixture
async def told() -> Told:
    return Told()


@pytest.mark.parametrize("code", [1, 2])
async def test_the_first_process_tells_whether_to_begin(tmp_path, told, code):
    assert await supervisor(tmp_path, f"{code}\nwork", told, processes=3).run() == code
    assert told.said == []
    assert (tmp_path / "plan").read_text() == "work", "no other one was started"


async def test_processes_that_fail_later_are_tried_until_they_work(tmp_path, told, caplog):
    watched = supervisor(tmp_path, "work\n3\n4\nwork\n", told, processes=2)
    running = asyncio.create_task(watched.run())
    async with asyncio.timeout(30):
        await told.ready.wait()
    assert told.said == [b"hello"]
    assert [record.args[0].split(" ", 1)[1] for record in caplog.records] == [
        "ended with exit code 3",
        "ended with exit code 4",
    ]
    watched.stop()
    assert await running == 0
    assert told.said == [b"hello"]


async def test_a_second_stop_kills(tmp_path, told):
    watched = supervisor(tmp_path, "deaf\n", told)
    running = asyncio.create_task(watched.run())
    async with asyncio.timeout(30):
        await told.ready.wait()
        watched.stop()
        watched.stop()
        assert await running == 0


async def test_stopped_before_it_has_begun(tmp_path, told):
    watched = supervisor(tmp_path, "work\n", told)
    watched.stop()
    async with asyncio.timeout(30):
        assert await watched.run() == 0
    assert told.said == []


async def test_a_machine_without_room_for_a_process(tmp_path, told, caplog, monkeypatch):
    watched = supervisor(tmp_path, "work\nwork\n", told)
    spawn = Child.spawn
    refusals = iter([OSError("no room"), OSError("no room")])
    running = asyncio.create_task(watched.run())
    async with asyncio.timeout(30):
        await told.ready.wait()

        async def refuse(command, order):
            if refusal := next(refusals, None):
                raise refusal
            return await spawn(command, order)

        monkeypatch.setattr(Child, "spawn", refuse)
        (child,) = watched._children
        child._send(signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: len(caplog.records) == 3, "it has been tried")
    assert [record.args[0] for record in caplog.records][1:] == ["cannot be started: no room"] * 2
    assert caplog.records[0].levelno == logging.WARNING
    watched.stop()
    assert await running == 0
