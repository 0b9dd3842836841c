"""The example of the page on child runs, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "families.py"


def test_what_was_booked_is_taken_back(database_url: str) -> None:
    url = create_database(database_url, "families_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line for line in ran.stdout.splitlines() if line != "how was it?"]
    assert said == [
        "booked a parcel to Ada",
        "booked a parcel to Bob",
        "['booking-Ada', 'booking-Bob']",
        "booked a parcel to Cay",
        "took booking-Cay back",
        "the parcel to Dan is too heavy",
        "lift-off",
    ]
