"""The example that shows the whole language, as a reader runs it."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg

from tests.harness.postgres import create_database
from troth.store.migrate import migrate

PROGRAM = Path(__file__).parents[2] / "examples" / "language.py"


def test_it_prints_a_result_and_a_business_answer(database_url: str) -> None:
    name = f"language_{uuid.uuid4().hex[:12]}"
    url = create_database(database_url, name)
    migrate(url, "troth")
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        env=os.environ | {"TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "booked with key …/book_parcel in attempt 1, for 52.9200 USD",
        "__main__.OutOfStock unicorn",
    ]
