"""The example of the pages on the ledger, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "ledger" / "shop.py"


def test_a_shop_keeps_its_books(database_url: str) -> None:
    url = create_database(database_url, "ledger_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "payment: created",
        "again: exists",
        "order 1: created",
        "order 2: exceeds_credits",
        "ada has 100.00 EUR, 30.00 EUR of it free",
        "EUR: 10000 = 10000",
        "order 2, again: id_already_failed",
        "refund: created",
        "ada has 50.00 EUR, 50.00 EUR of it free",
        "EUR: 19000 = 19000",
    ]
