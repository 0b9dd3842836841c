"""The example of the page on access, as a reader runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLE = Path(__file__).parents[2] / "examples" / "access" / "shop.py"


def test_each_answer_is_what_the_policies_say(database_url: str) -> None:
    url = create_database(database_url, "access_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "the address or the password is wrong",
        "changed to 20 seats",
        "denied: default",
        "denied: forbid frozen-stays",
        "machine, Account::read: permit",
        "machine, Plan::change: scope",
        "there is no such session, or it has ended: log in again",
        "(5,) decisions on record",
    ]
