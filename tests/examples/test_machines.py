"""The example of the page on machines, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "machines" / "subscription.py"


def test_events_come_twice_late_and_early(database_url: str) -> None:
    url = create_database(database_url, "machines_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "evt_2 payment_failed: too early, it is incomplete",
        "evt_1 activate: done, it is active",
        "evt_2 payment_failed: done, it is past_due",
        "evt_1 activate: again, it is past_due",
        "evt_0 activate: late, it is past_due",
        "observed canceled, over cancel",
        "evt_5 activate: never, it is canceled",
        "5 past_due -> canceled sweep:40",
        "4 past_due -> past_due evt_0",
        "3 active -> past_due evt_2",
        "2 incomplete -> active evt_1",
        "1 None -> incomplete signup:ada",
    ]
