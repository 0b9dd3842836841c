"""The example of the page on events that come in, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "inbox" / "subscriptions.py"


def test_a_subscription_follows_its_events(database_url: str) -> None:
    url = create_database(database_url, "inbox_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.splitlines() == [
        "evt_2 new 202",
        "evt_2 duplicate 200",
        "the subscription is past_due",
    ]
