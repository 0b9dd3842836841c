"""`troth check`: everything at once, and beside the runs that are alive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.changing import programs
from tests.changing.test_replay import RUNS, WAITING, ids, shell
from tests.workflow.place import Place
from troth.cli.main import run as command

__all__ = ["ids", "shell"]

Shell = Callable[..., tuple[int, str]]


def test_all_that_is_wrong_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", "tests.changing.faulty:troth", "-o", "json"]) == 1
    problems = json.loads(capsys.readouterr().out)["problems"]
    for part in (
        "socket.socket cannot be stored",
        "silent",
        "two steps named twice",
        "without_rules",
        "time.time",
        "time.monotonic",
    ):
        assert sum(part in problem for problem in problems) == 1, (part, problems)
    assert len(problems) == 6


def test_a_program_without_faults_is_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["check", "tests.changing.programs:patched"]) == 0
    assert command(["check", "examples.quickstart:troth"]) == 0
    assert "Nothing is wrong" in capsys.readouterr().out


def told(shell: Shell, name: str) -> tuple[int, dict[str, Any]]:
    code, out = shell("check", f"tests.changing.programs:{name}", "--database", "-o", "json")
    return code, json.loads(out)


def test_beside_live_runs(ids: dict[int, Any], shell: Shell, place: Place) -> None:
    code, found = told(shell, "unpatched")
    assert (code, len(found["differences"])) == (1, len(WAITING))
    out = shell("check", "tests.changing.programs:unpatched", "--database")[1]
    assert f"- {len(WAITING)} of {len(WAITING)} live runs: the journal goes on with charge" in out
    assert "    - charge\n    + reserve\n" in out

    code, found = told(shell, "patched")
    assert code == 0
    assert found["patches"] == {"reserve-first": f"{len(WAITING)} runs still need the old branch"}
    asyncio.run(finish(place, ids))
    code, found = told(shell, "patched")
    assert found["patches"] == {
        "reserve-first": "no live run needs the old branch: it may be removed"
    }


def test_runs_that_nobody_takes(ids: dict[int, Any], shell: Shell) -> None:
    code, out = shell("check", "examples.quickstart:troth", "--database")
    assert code == 1
    told = f"- the program has no workflow checkout, and {len(WAITING)} runs of it are alive"
    assert told in out


async def finish(place: Place, ids: dict[int, Any]) -> None:
    troth = programs.patched
    troth.url, troth.schema = place.url, place.schema
    async with troth.worker():
        for n in WAITING:
            await troth.send(ids[n], "packed", "box")
        await place.until(
            lambda: place.value("SELECT count(*) FROM {s}.run_history") == RUNS, "all have ended"
        )
