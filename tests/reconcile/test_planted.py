"""Breaks of every kind, planted one in 10,000: all are found, each as what it is, and none is invented."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.reconcile.planted import PLANTS, planted


def reconcile(cell: tuple[str, str], count: int, timeout: float) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.reconcile.planted_program", *cell, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, object] = json.loads(done.stdout)
    return found


def all_counted(found: dict[str, object]) -> bool:
    """Is every item in exactly one of the counts?"""
    counts: dict[str, int] = found["counts"]  # type: ignore[assignment]
    ways = ("by_key", "by_rule", "broken", "void", "unproven", "beyond")
    return sum(counts[way] for way in ways) == found["items"]


def test_all_planted_breaks_of_20_000_are_found(migrated: tuple[str, str]) -> None:
    found = reconcile(migrated, 20_000, 100)
    assert found["verdict"] == "breaks", found["error"]
    assert found["breaks"] == planted(20_000)
    assert all_counted(found), found["counts"]
    assert len(planted(20_000)) == 2 * (len(PLANTS) - 2)  # two of the plants are no breaks


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_million_a_side(migrated: tuple[str, str], record_property) -> None:
    """Seconds and memory are printed; the bounds are loose, since machines differ."""
    small = reconcile(migrated, 20_000, 100)
    found = reconcile(migrated, 1_000_000, 800)
    print({name: found[name] for name in ("seconds", "peak_mb", "before_mb", "counts")})  # noqa: T201
    record_property("seconds", found["seconds"])
    record_property("peak_mb", found["peak_mb"])
    assert found["breaks"] == planted(1_000_000)
    assert all_counted(found), found["counts"]
    assert found["peak_mb"] < small["peak_mb"] + 60  # type: ignore[operator]
    assert found["seconds"] < 600  # type: ignore[operator]
