"""The example of the page on reconciliation, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "reconcile" / "payments.py"


def test_a_lost_answer_is_settled_and_a_second_charge_is_found(database_url: str) -> None:
    url = create_database(database_url, "reconcile_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, *rest = ran.stdout.splitlines()
    assert first == "unlucky: ch_3"
    (found,) = rest
    assert found.startswith("duplicate_theirs: 19.99 EUR: they have 2 items for the key ")
    assert found.endswith("; ch_4 is one too many")
