"""The example of the page on queues, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "queues.py"


def test_the_small_and_the_urgent_do_not_wait_for_the_big(database_url: str) -> None:
    url = create_database(database_url, "queues_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    order = ran.stdout.splitlines()
    assert sorted(order) == sorted([f"big {n}" for n in range(20)] + ["small 1", "urgent 1"])
    assert order.index("small 1") < 8
    assert order.index("urgent 1") < 4
