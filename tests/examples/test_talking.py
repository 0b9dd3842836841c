"""The example of talking to runs, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "talking" / "talking.py"


def test_two_are_paid_and_one_is_rejected(database_url: str) -> None:
    url = create_database(database_url, "talking_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "waits for a decision", "paid 100", "paid 50", "rejected: too small", "150",
    ]  # fmt: skip
