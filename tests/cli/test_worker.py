"""`troth worker` with processes that really die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import httpx
import psutil
import pytest

from tests.cli import program
from tests.cli.processes import DEADLINE_S, Command, Stage, command
from tests.harness.postgres import wait_until
from troth.base.errors import TrothError

PROGRAM = "tests.cli.program:troth"


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with Stage.open() as opened:
        yield opened


@pytest.fixture
def worker(cell, stage):
    """Start `troth worker` for the test's program."""
    url, schema = cell

    def start(*options: str) -> AbstractAsyncContextManager[Command]:
        environ = {"TROTH_DATABASE_URL": url, "TEST_SCHEMA": schema, "TEST_STAGE": stage.path}
        return command("worker", PROGRAM, "--lease", "1s", *options, **environ)

    return start


@pytest.fixture
async def client(cell):
    async with program.troth.client() as opened:
        yield opened


async def test_a_killed_process_is_replaced_and_its_run_goes_on(worker, client, stage):
    async with worker("--processes", "2") as supervisor:
        said = await supervisor.line("ready")
        assert said.startswith(f"2 worker processes of {PROGRAM} ready")
        before = supervisor.workers()
        assert len(before) == 2

        run = await client.start(program.two_meetings)
        first = await stage.guest()
        os.kill(first.pid, signal.SIGKILL)
        await supervisor.line(
            f"worker process {first.pid} was ended by SIGKILL; another one starts"
        )

        again = await stage.guest()
        assert (again.name, again.pid != first.pid) == ("one", True)
        again.go("one")
        (await stage.guest()).go("two")
        assert await run.result(DEADLINE_S) == ["one", "two"]
        await asyncio.to_thread(
            wait_until, lambda: len(supervisor.workers() - {first.pid}) == 2, "two processes again"
        )
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.end() == 0


async def test_draining_lets_the_step_end_and_hands_the_run_over(worker, client, stage):
    async with worker() as supervisor:
        await supervisor.line("ready")
        run = await client.start(program.two_meetings)
        one = await stage.guest()
        supervisor.signal(signal.SIGTERM)
        await supervisor.line("draining")
        one.go("one")
        assert await supervisor.end() == 0

    async with worker() as supervisor:
        two = await stage.guest()
        assert two.name == "two", "the first step had ended, and is not done again"
        two.go("two")
        assert await run.result(DEADLINE_S) == ["one", "two"]
        supervisor.signal(signal.SIGINT)
        assert await supervisor.end() == 0


async def test_a_second_signal_stops_now_and_a_peer_takes_over(worker, client, stage):
    async with worker() as supervisor:
        await supervisor.line("ready")
        run = await client.start(program.two_meetings)
        first = await stage.guest()
        supervisor.signal(signal.SIGTERM)
        await supervisor.line("draining")
        supervisor.signal(signal.SIGTERM)
        assert await supervisor.end() == 0
        assert not psutil.pid_exists(first.pid)

    async with worker() as supervisor:
        for name in ("one", "two"):
            guest = await stage.guest()
            assert guest.name == name
            guest.go(name)
        assert await run.result(DEADLINE_S) == ["one", "two"]


async def test_workers_do_not_outlive_their_supervisor(worker):
    async with worker() as supervisor:
        await supervisor.line("ready")
        (pid,) = supervisor.workers()
        supervisor.signal(signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not psutil.pid_exists(pid), "the worker ends")


async def test_a_worker_that_is_stopped_alone_is_replaced(worker):
    async with worker() as supervisor:
        await supervisor.line("ready")
        (pid,) = supervisor.workers()
        os.kill(pid, signal.SIGTERM)
        await supervisor.line(f"worker process {pid} ended with exit code 0; another one starts")
        await supervisor.line("joined")


async def test_log_lines_for_programs_name_run_and_step(worker, client):
    async with worker("--log-format", "json") as supervisor:
        await supervisor.line("ready")
        run = await client.start(program.doubtful, 700)
        record = json.loads(await supervisor.line("reset by peer"))
        assert (record["level"], record["run_id"], record["step"]) == (
            "warning", str(run.id), "refund",
        )  # fmt: skip
        where = (record["workflow"], record["attempt"], type(record["worker"]))
        assert where == ("doubtful", 1, int)
        assert record["at"].endswith("+00:00")


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("tests.cli.program", 2, "write MODULE:NAME"),
        ("tests.cli.program:shop", 2, "has no shop; it has tests.cli.program:troth"),
        (
            "tests.cli.program:greet",
            2,
            "is a Workflow, not a Troth; it has tests.cli.program:troth",
        ),
        ("tests.cli.nothing:troth", 2, "there is no module tests.cli.nothing in "),
        ("tests.cli.processes:troth", 2, "no Troth object is defined there"),
        ("this:s", 2, "is a str, not a Troth; no Troth object is defined there"),
    ],
)
async def test_a_wrong_program_is_answered_with_what_there_is(name, code, says):
    async with command("worker", name) as answer:
        assert await answer.end() == code
    assert says in "\n".join(answer.said)
    assert "Traceback" not in "\n".join(answer.said)


async def test_a_schema_that_is_missing(database_url, schema):
    environ = {"TROTH_DATABASE_URL": database_url, "TEST_SCHEMA": schema}
    async with command("worker", PROGRAM, **environ) as answer:
        assert await answer.end() == 1
    assert answer.said == [
        f"troth: There is no schema {schema} here yet: run `troth db migrate --schema {schema}`."
    ]


async def test_a_database_that_is_down():
    async with command("worker", PROGRAM, TROTH_DATABASE_URL="host=127.0.0.1 port=1") as answer:
        assert await answer.end() == 1
    assert answer.said[0].startswith("troth: No connection to PostgreSQL (host 127.0.0.1, port 1")


def test_options_that_cannot_be(capsys):
    from troth.cli.main import run

    for option, says in {
        "--processes": "--processes must be at least 1, not 0",
        "--concurrency": "--concurrency must be at least 1, not 0",
        "--connections": "--connections must be at least 2, not 0",
    }.items():
        assert run(["worker", PROGRAM, option, "0"]) == 2
        assert says in capsys.readouterr().err


def test_an_error_of_the_program_is_its_own(tmp_path, monkeypatch):
    from troth.cli import target

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, text, says in [
        ("divides", "1 / 0", "divides.py:1: ZeroDivisionError: division by zero"),
        ("imports", "import nothing_like_it", "imports.py:1: ModuleNotFoundError"),
        ("unfinished", "def (", "unfinished.py:1: SyntaxError"),
    ]:
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(TrothError, match=says):
            target.find(f"{name}:troth")


async def test_each_process_answers_prometheus_on_a_port_of_its_own(worker, client):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with worker("--processes", "2", "--metrics-port", str(port)) as supervisor:
        await supervisor.line("ready")
        await (await client.start(program.greet, "ada")).result(timeout=20)
        async with httpx.AsyncClient() as http:
            answers = [
                (await http.get(f"http://127.0.0.1:{each}/metrics")).text
                for each in (port, port + 1)
            ]
    assert all('troth_workers{kind="worker"} 2.0' in text for text in answers)
    ended = 'troth_runs_ended_total{state="succeeded",workflow="greet"} 1.0'
    assert sum(ended in text for text in answers) == 1
