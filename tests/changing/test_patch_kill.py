"""kill -9 before and after every flush around patches: what a run answered once, it did."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.changing.kill_program import TABLE, build
from tests.workflow.place import QUICK, Place
from troth.base import codec

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = 4


async def child(place: Place, code: str, n: int, side: str, run: str) -> int:
    """Its exit code: -9 if it was killed, 0 if the run ended first."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.changing.kill_program",
        place.url, place.schema, code, str(n), side, run,
        cwd=ROOT, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()


async def killed_everywhere(place: Place, code: str) -> list[str]:
    """The keys of runs whose workers were killed, one before and one after each flush, until no flush was left."""
    place.rows(TABLE.replace("{schema}", "{s}"))
    killed: list[str] = []
    n = 1
    while True:
        points = [(n + i, side) for i in range(AT_ONCE // 2) for side in ("before", "after")]
        keys = [str(uuid4()) for _ in points]
        codes = await asyncio.gather(
            *(child(place, code, *point, key) for point, key in zip(points, keys, strict=True))
        )
        assert set(codes) <= {0, -9}
        killed += [key for key, code in zip(keys, codes, strict=True) if code == -9]
        if 0 in codes:
            return killed
        n += AT_ONCE // 2


@pytest.mark.parametrize("code", [pytest.param("old", marks=pytest.mark.slow), "new"])
async def test_a_run_does_what_it_answered_however_its_worker_dies(place: Place, code: str) -> None:
    killed = await killed_everywhere(place, code)
    begun = {
        row[0]: row[1] for row in place.rows("SELECT key, id FROM {s}.run WHERE key IS NOT NULL")
    }
    assert len(begun) >= len(killed) - 4, "all but those that died before their start was durable"
    troth, _ = build(place.url, place.schema, patched=True)
    for (worker,) in place.rows("SELECT id FROM {s}.worker"):
        place.take_over(worker)
    async with troth.worker(QUICK):
        await place.until(
            lambda: place.value("SELECT count(*) FROM {s}.run WHERE state <> 'attention'") == 0,
            "all runs have ended, or need attention",
        )
    assert place.rows("SELECT reason, detail FROM {s}.run") == []

    for key, run_id in begun.items():
        outcome = place.value("SELECT outcome FROM {s}.run_history WHERE id = %s", run_id)
        told = codec.decode(bytes(outcome))
        committed = [row[0] for row in place.rows("SELECT name FROM {s}.did WHERE run = %s", key)]
        assert sorted(committed) == sorted(set(told) - {"a", "e", "new1", "new2", "old2"}), told
        answers = dict(
            place.rows("SELECT path, ok FROM {s}.journal WHERE run_id = %s AND kind = 8", run_id)
        )
        for number, name in enumerate(("zero", "one", "two", "three")):
            assert (f"new{number}" in told) is answers[f"!patch/{name}"], (told, answers)
            assert (f"new{number}" in told) is not (f"old{number}" in told)
