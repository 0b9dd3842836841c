"""examples/checkout: every order is paid and shipped, or not paid and its stock is back, whoever dies and cancels when."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from examples.checkout import shop
from examples.checkout.outside import Outside
from tests.examples.checkout_victims import SETTINGS, Settings, Victim
from tests.harness.postgres import create_database
from tests.workflow.place import QUICK, Place
from troth.store.migrate import migrate

ROOT = Path(__file__).parents[2]
PIECES = 10_000
COMMITS = 14  # more than an order has: the last victims come to their ends
SIDES = (False, True)
ENDED = {"succeeded", "failed", "cancelled"}


@pytest.fixture
def place(migrated: tuple[str, str]) -> Place:
    return Place(*migrated)


def test_main_shows_every_way(database_url: str, tmp_path: Path) -> None:
    url = create_database(database_url, "checkout_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, "-m", "examples.checkout"],
        cwd=ROOT,
        env={**os.environ, "TROTH_DATABASE_URL": url, "CHECKOUT_OUTSIDE": str(tmp_path / "outside")},
        capture_output=True,
        text=True,
        check=True,
    )
    told = [line.strip() for line in ran.stdout.splitlines()]
    sent = "stock [-1], outside {'charge': 1, 'mail': 1, 'parcel': 1}"
    given_back = "stock [-1, 1], outside {'charge': 1, 'refund': 1}"
    assert told == [
        "all is well: sent as parcel", sent,
        "the answer is lost: sent as parcel", sent,
        "the card is declined: not sent: the card was declined: insufficient funds", "stock [-1, 1], outside {}",
        "it is sold out: not sent: unicorn", "stock [], outside {}",
        "nobody carries it: not sent: the carrier does not take fireworks", given_back,
        "the customer cancels: not sent: found it cheaper", given_back,
        "the shop cancels: not sent: called off", given_back,
    ]  # fmt: skip


async def all_ended(place: Place, tmp_path: Path, victims: Sequence[Victim]) -> dict[Victim, int]:
    pass
