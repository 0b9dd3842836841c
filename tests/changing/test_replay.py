"""200 recorded runs of version 1 against version 2: with a patch, without it, and in production."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.changing import programs
from tests.workflow.place import QUICK, Place, soon
from troth import RunFailedError, Troth
from troth.cli.main import run as command
from troth.testing import recordings, replay
from troth.workflow.replay import ReplayError

RUNS = 200
WAITING = [n for n in range(RUNS) if n % 2 and n % 10 != 9]

Shell = Callable[..., tuple[int, str]]


def at(troth: Troth, place: Place) -> Troth:
    troth.url, troth.schema = place.url, place.schema
    return troth


@pytest.fixture
def ids(place: Place) -> dict[int, UUID]:
    """The runs, by order: half of them have ended, the others wait."""

    async def begin() -> dict[int, UUID]:
        troth = at(programs.v1, place)
        async with troth.worker(QUICK):
            runs = [await troth.start(troth.workflows["checkout"], n) for n in range(RUNS)]
            waiting = "SELECT count(*) FROM {s}.run WHERE state = 'waiting'"
            await place.until(
                lambda: (
                    place.value(waiting) == len(WAITING)
                    and place.value("SELECT count(*) FROM {s}.run") == len(WAITING)
                ),
                "all wait or have ended",
            )
        return {n: run.id for n, run in enumerate(runs)}

    return asyncio.run(begin())


@pytest.fixture
def shell(place: Place, capsys: pytest.CaptureFixture[str]) -> Shell:
    def invoke(*tokens: str) -> tuple[int, str]:
        capsys.readouterr()
        code = command([*tokens, "--database-url", place.url, "--schema", place.schema])
        said = capsys.readouterr()
        return code, said.out + said.err

    return invoke


def replayed(shell: Shell, name: str, *more: str) -> tuple[int, list[dict[str, Any]]]:
    code, out = shell("replay", f"tests.changing.programs:{name}", "-o", "json", *more)
    return code, json.loads(out)


def test_with_a_patch_all_are_clean(ids: dict[int, UUID], shell: Shell) -> None:
    for name in ("v1", "patched"):
        code, found = replayed(shell, name)
        assert (code, len(found)) == (0, RUNS), found[:1]
    answers = [each["patches"] for each in found]
    assert answers == [{"reserve-first": False}] * RUNS


def test_without_it_each_is_found_before_deployment_with_a_difference(
    ids: dict[int, UUID], shell: Shell
) -> None:
    code, found = replayed(shell, "unpatched")
    assert code == 1
    assert not any(each["clean"] for each in found)
    assert len(found) == RUNS
    # Each of them, in its own words: what it has recorded, and what the code asked for in its place.
    assert {each["run"] for each in found} == {str(run) for run in ids.values()}
    assert all(each["diff"][:3] == ["  price", "- charge", "+ reserve"] for each in found)
    waiting = next(each for each in found if UUID(each["run"]) == ids[1])
    assert waiting["diff"] == [
        "  price",
        "- charge",
        "+ reserve",
        "  … then the journal has receive.packed",
    ]
    code, out = shell("replay", "tests.changing.programs:unpatched", "--run", str(ids[1]))
    assert code == 1
    assert "the journal goes on with charge, which the code did not call" in out
    assert "    - charge\n    + reserve\n" in out
    assert "1 runs replayed" in out


def test_an_ended_run_must_end_as_it_did(ids: dict[int, UUID], shell: Shell) -> None:
    code, found = replayed(shell, "other_result", "--state", "succeeded", "--payloads")
    assert code == 1
    assert found[0]["diff"][-2].startswith("- (the run ended): succeeded: [")
    assert '"thanks"' in found[0]["diff"][-1]
    assert replayed(shell, "other_result", "--state", "waiting")[0] == 0
    assert replayed(shell, "other_result", "--state", "failed")[0] == 0


def test_exported_runs_are_replayed_without_a_database_redacted_or_not(
    ids: dict[int, UUID], shell: Shell, tmp_path: Path
) -> None:
    for redacted in ([], ["--redact"]):
        # In a redacted run the order is 0, which takes another way at `if order % 2`.
        chosen = [str(ids[n]) for n in ((0, 9) if redacted else (0, 9, 1))]
        file = tmp_path / f"runs{len(redacted)}.jsonl"
        assert shell("run", "export", *chosen, *redacted, "-o", str(file)) == (0, "")
        text = file.read_text()
        assert ("ch_0" in text) is not bool(redacted)
        assert ("no money" in text) is not bool(redacted)
        runs = recordings(file)
        assert [run.state for run in runs] == ["succeeded", "failed", "waiting"][: len(chosen)]
        replay(programs.v1, *runs)
        replay(programs.patched, *runs)
        for run in runs:
            with pytest.raises(ReplayError, match=r"- charge\n\+ reserve"):
                replay(programs.unpatched, run)
        assert command(["replay", "tests.changing.programs:v1", str(file)]) == 0
        assert command(["replay", "tests.changing.programs:unpatched", str(file)]) == 1


def test_what_is_no_recording_is_said(tmp_path: Path, shell: Shell, ids: dict[int, UUID]) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"troth": 7}\n')
    code, out = shell("replay", "tests.changing.programs:v1", str(file))
    assert code == 2
    assert "bad.jsonl, line 1: no recorded run of format 1: it has format 7" in out
    assert shell("run", "export", str(UUID(int=1)))[0] == 1


async def test_in_production_they_are_parked_and_go_on_after_the_fix(
    place: Place, shell: Shell
) -> None:
    v1, wrong, right = (
        at(each, place) for each in (programs.v1, programs.unpatched, programs.patched)
    )
    async with v1.worker(QUICK):
        runs = {n: await v1.start(v1.workflows["checkout"], n) for n in range(RUNS)}
        await place.until(
            lambda: (
                place.value("SELECT count(*) FROM {s}.run WHERE state <> 'waiting'") == 0
                and place.value("SELECT count(*) FROM {s}.run") == len(WAITING)
            ),
            "all wait or have ended",
        )
    async with wrong.worker(QUICK):
        for n in WAITING:
            await wrong.send(runs[n].id, "packed", f"box_{n}")
        await place.until(
            lambda: (
                place.value("SELECT count(*) FROM {s}.run WHERE state = 'attention'")
                == len(WAITING)
            ),
            "all are parked",
        )
        for n in WAITING:
            reason, detail = await place.attention(runs[n])
            assert reason == "code_changed"
            assert [line[:2] for line in detail["diff"][:3]] == [
                [" ", "price"],
                ["-", "charge"],
                ["+", "reserve"],
            ]
    # Before the fix is deployed: it would do for all of them.
    code, found = await asyncio.to_thread(replayed, shell, "patched", "--state", "attention")
    assert (code, len(found)) == (0, len(WAITING)), found[:1]
    for n in WAITING:
        place.resume(runs[n].id)
    async with right.worker(QUICK):
        for n in range(RUNS):
            run = right.run(runs[n].id)
            if n % 10 == 9:
                with pytest.raises(RunFailedError):
                    await soon(run.result())
            else:
                box = [f"box_{n}"] if n % 2 else []
                assert await soon(run.result()) == [f"ch_{n}", *box, f"sh_{n}"]
        new = await right.start(right.workflows["checkout"], 2)
        assert await soon(new.result()) == ["rs_2", "ch_2", "sh_2"]
    charges = "SELECT count(*) FROM {s}.journal WHERE path = 'charge' AND kind = 1"
    assert place.value(charges) == RUNS + 1, "nobody was charged twice"
