"""The examples of the pages on effects and on sagas, as a reader runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

EXAMPLES = Path(__file__).parents[2] / "examples"


def lines_of(example: str, database_url: str) -> list[str]:
    url = create_database(database_url, f"{example}_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{example}.py")],
        env={**os.environ, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


def test_a_lost_answer_is_asked_for(database_url: str) -> None:
    assert lines_of("effects", database_url) == [
        "to ada: charge-1",
        "paid by charge-1",
        "not paid: the account is blocked",
        "charged 1 time",
    ]


def test_a_trip_is_booked_or_not_at_all(database_url: str) -> None:
    assert lines_of("sagas", database_url) == [
        "booked flight",
        "booked hotel",
        "cancelled the reservation of hotel",
        "cancelled the reservation of flight",
        "there is no car left",
        "booked flight",
        "booked a van",
        "booked flight",
        "cancelled the reservation of flight",
        "booked flight",
        "booked a bus",
        "['a van', 'there is no car left', 'a bus']",
    ]
