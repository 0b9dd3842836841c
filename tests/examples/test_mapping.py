"""The example of the page on mappings, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "mapping.py"


def test_every_reader_gets_a_letter_or_is_told_of(database_url: str) -> None:
    url = create_database(database_url, "mapping_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "['sent to 1', 'sent to 2', 'sent to 3']",
        "2498 of 2500",
        "reader 999 has no address",
        "reader 1999 has no address",
    ]
