"""examples/approval_flow: runs of every age end right across two code changes, in virtual time and under kill -9."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.approval_flow import hasty, v1, v2, v3
from examples.approval_flow.__main__ import main
from examples.approval_flow.story import shell
from tests.workflow.conftest import place
from tests.workflow.place import Place
from troth import Troth
from troth.journal.model import Kind
from troth.testing import Worker, recordings, replay
from troth.workflow.replay import ReplayError

__all__ = ["place"]

ROOT = Path(__file__).parents[2]
TOLD = [
    "early: approved by Ada; 500 cents to DE-early; booked as b-1",
    "patient: approved by Cem; screened DE-patient; 500 cents to DE-patient; booked as b-3; told DE-patient of b-3",
    "forgotten: nobody approved",
    "second: approved by Bob; screened DE-second; 500 cents to DE-second; booked as b-2; told DE-second of b-2",
]


async def test_main_tells_the_month(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(v1.troth, "url", database_url)
    await main()
    assert [line.strip() for line in capsys.readouterr().out.splitlines()] == [
        "day 0: version 1",
        "day 10: version 2",
        "troth check hasty: not fit",
        "troth check v3: not fit",
        "patch tell-payee: of 1 runs it is not known whether they need the old branch",
        "troth check v2: fit",
        "patch screen-payee: 1 runs still need the old branch",
        "day 20: version 3",
        "troth check v2: fit",
        "patch screen-payee: no live run needs the old branch: it may be removed",
        "troth check v3: fit",
        "patch tell-payee: no live run needs the old branch: it may be removed",
        "day 29",
        *TOLD,
    ]


async def test_a_hasty_change_is_found_by_check_and_by_replay(
    database_url: str, tmp_path: Path
) -> None:
    async with Worker(v1.troth, database_url=database_url) as world:
        paid, waits = [await world.start(v1.payout, f"DE{n}", 5) for n in (1, 2)]
        await world.send(paid, "approved", "Ada")
        for module, fits in ((hasty, False), (v3, False), (v2, True)):
            name = f"{module.__name__}:troth"
            for command in (("check", name, "--database"), ("replay", name)):
                code, said = await shell(world, *command)
                assert (code == 0) is fits, said
                if not fits:
                    assert "- pay" in said
                    assert "+ screen" in said
        file = tmp_path / "runs.jsonl"
        exported = ("run", "export", str(paid.id), str(waits.id), "-o", str(file))
        assert (await shell(world, *exported))[0] == 0
    # And in a unit test, from then on, without a database.
    replay(v2.troth, *recordings(file))
    for troth in (hasty.troth, v3.troth):
        with pytest.raises(ReplayError, match=r"- pay\n\+ screen"):
            replay(troth, *recordings(file))


# A real worker, and a short wait ---------------------------------------------------------------------------------------


@contextmanager
def worker(version: str, place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process of one deployment; killed with SIGKILL at the end."""
    command = [
        sys.executable,
        "-m",
        "tests.examples.approval_worker",
        version,
        place.url,
        place.schema,
    ]
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()
    for (dead,) in place.rows("SELECT id FROM {s}.worker WHERE executes"):
        place.take_over(dead)


@contextmanager
def elsewhere(troth: Troth, place: Place) -> Iterator[Troth]:
    before = troth.url, troth.schema
    troth.url, troth.schema = place.url, place.schema
    yield troth
    troth.url, troth.schema = before


async def waiting(place: Place, run: Any, path: str) -> None:
    await place.until(
        lambda: place.value(
            "SELECT count(*) FROM {s}.journal WHERE run_id = %s AND path = %s AND kind = %s",
            run.id,
            path,
            int(Kind.WAIT),
        ),
        f"it waits at {path}",
    )


async def test_every_deployment_is_killed_while_runs_wait(place: Place) -> None:
    with elsewhere(v1.troth, place) as troth:
        async with troth.client():
            patient, early = [await troth.start(v1.payout, f"DE{n}", 5) for n in (1, 2)]
            with worker("v1", place):
                await troth.send(early, "approved", "Ada")
                await waiting(place, early, "receive.booked")
                await waiting(place, patient, "receive.approved")
            with worker("v2", place):
                await troth.send(early, "booked", "b-1")
                assert await early.result(timeout=20) == [
                    "approved by Ada",
                    "5 cents to DE2",
                    "booked as b-1",
                ]
                await troth.send(patient, "approved", "Bob")
                await waiting(place, patient, "receive.booked")
            with worker("v3", place):
                await troth.send(patient, "booked", "b-2")
                assert (await patient.result(timeout=20))[1:] == [
                    "screened DE1",
                    "5 cents to DE1",
                    "booked as b-2",
                    "told DE1 of b-2",
                ]
    intents = "SELECT count(*) FROM {s}.journal WHERE path = 'pay' AND kind = %s"
    assert place.value(intents, int(Kind.INTENT)) == 2, "both were paid once"
