"""The example of the page on schedules, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "schedules" / "reports.py"


def test_a_customer_gets_the_report_when_somebody_asks(database_url: str) -> None:
    url = create_database(database_url, "schedules_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == ["the report for c1 is on its way"]
    with psycopg.connect(url) as tx:
        (cron, tz, overlap), *others = tx.execute("SELECT cron, tz, overlap FROM troth.schedule")
        assert (cron, tz, overlap, others) == ("0 3 * * *", "Europe/Berlin", "skip", [])
