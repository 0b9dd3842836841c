"""A cell with runs in every kind of state, and the command line inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from tests.cli import program
from tests.harness.postgres import wait_until
from troth.cli.main import run

Invoke = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cell(migrated, monkeypatch) -> tuple[str, str]:
    """(url, schema) that the test's program uses."""
    url, schema = migrated
    monkeypatch.setattr(program.troth, "url", url)
    monkeypatch.setattr(program.troth, "schema", schema)
    return url, schema


@pytest.fixture
def runs(cell) -> dict[str, str]:
    """The ids of five runs, by their workflows: each has gone as far as it can without anybody's help."""
    return asyncio.run(start_all(cell))


async def start_all(cell) -> dict[str, str]:
    calls = {
        program.greet: ("ada",),
        program.refuse: (),
        program.broken: (),
        program.doubtful: (700,),
        program.listener: (),
    }
    async with program.troth.worker():
        started = {
            workflow.name: await program.troth.start(workflow, *args, key=f"key:{workflow.name}")
            for workflow, args in calls.items()
        }
        wanted = {"succeeded", "failed", "attention", "waiting"}
        await asyncio.to_thread(
            wait_until, lambda: set(states(cell).values()) == wanted, "the runs stand still"
        )
    return {name: str(each.id) for name, each in started.items()}


def states(cell: tuple[str, str]) -> dict[str, str]:
    """Every run's state, by its id."""
    url, schema = cell
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            f"SELECT id::text, state::text FROM {schema}.run "
            f"UNION ALL SELECT id::text, state::text FROM {schema}.run_history"
        )
        return dict(rows.fetchall())


def executed(until: Callable[[], object], what: str) -> None:
    """Have a worker of the test's program until a condition holds."""

    async def work() -> None:
        async with program.troth.worker():
            await asyncio.to_thread(wait_until, until, what)

    asyncio.run(work())


@pytest.fixture
def troth(cell, capsys) -> Invoke:
    """Run `troth ...` on this test's cell; returns exit code, standard output and error."""
    url, schema = cell

    def invoke(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*tokens, "--database-url", url, "--schema", schema])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return invoke
