"""The example of the page on transactions of other libraries, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "transactions.py"


def test_what_is_left_goes_down_with_each_order(database_url: str) -> None:
    url = create_database(database_url, f"transactions_{uuid.uuid4().hex[:8]}")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    one, none, refused = ran.stdout.splitlines()
    assert (one, none) == ("1 left", "0 left")
    assert "SoldOutError" in refused
    assert "lamp" in refused
