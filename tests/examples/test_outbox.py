"""The example of the page on events out, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "outbox" / "invoices.py"


def test_an_event_arrives_although_the_customer_was_broken(database_url: str) -> None:
    url = create_database(database_url, "outbox_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "the customer is broken",
        "invoice.paid {'id': 'in_1'} new",
    ]
