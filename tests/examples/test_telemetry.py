"""The example of the page on telemetry, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.harness.postgres import create_database
from tests.house.tree import ROOT
from troth.store.migrate import migrate


def test_a_program_tells_what_it_does(database_url: str) -> None:
    url = create_database(database_url, "telemetry_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, "-m", "examples.telemetry.shop"],
        cwd=ROOT,
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = ran.stdout.splitlines()
    spans = sorted(line.split(maxsplit=1)[1] for line in lines if line.startswith("span"))
    assert spans == [
        "POST /orders", "effect confirm", "end checkout", "run checkout", "start checkout",
    ]  # fmt: skip
    assert "result order 7 is confirmed, traced: True" in lines
    assert 'metric troth_runs_ended_total{state="succeeded",workflow="checkout"} 1.0' in lines, (
        ran.stdout
    )
