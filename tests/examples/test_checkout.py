"""examples/checkout: every order is paid and shipped, or not paid and its stock is back, whoever dies and cancels when."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import UUID, uuid4

import msgspec
import pytest

from examples.checkout import shop
from examples.checkout.outside import Outside
from tests.examples.checkout_victims import SETTINGS, Settings, Victim, named
from tests.harness.postgres import create_database
from tests.workflow.place import QUICK, Place
from troth.store.migrate import migrate

ROOT = Path(__file__).parents[2]
PIECES = 10_000
COMMITS = 14  # more than an order has: the last victims come to their ends
SIDES = (False, True)


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


# Deaths ---------------------------------------------------------------------------------------------------------------


class Shop:
    """A database with the shop in it, an outside, and the orders that are checked out there."""

    def __init__(self, place: Place, file: Path) -> None:
        self.place = place
        self.outside = Outside(file)
        self.exit_codes: list[int] = []

    async def check_out(self, victims: Sequence[Victim]) -> dict[Victim, UUID]:
        """All orders, each by a worker that dies where it is said; then by a successor, until each has ended."""
        checkouts = named(victims)
        troth = shop.troth
        async with troth.client():
            runs: dict[Victim, UUID] = {}
            for victim in victims:
                order = shop.Order(victim.name, victim.article, victim.card)
                run = await troth.start(checkouts[victim.name], order)
                await troth.send(run, shop.packed, "Pat", key="packed")
                runs[victim] = run.id
        settings = Settings(self.place.url, self.place.schema, list(runs.items()))
        died = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.examples.checkout_victims",
            cwd=ROOT,
            env=os.environ | {SETTINGS: msgspec.json.encode(settings).decode()},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        said, _ = await died.communicate()
        self.exit_codes = [int(line) for line in said.splitlines()]
        assert len(self.exit_codes) == len(victims)
        assert set(self.exit_codes) <= {0, -signal.SIGKILL}
        for (worker,) in self.place.rows("SELECT id FROM {s}.worker"):
            self.place.take_over(worker)
        async with troth.worker(QUICK):
            await self.place.until(
                lambda: not self.place.value(
                    "SELECT count(*) FROM {s}.run WHERE state <> 'attention'"
                ),
                "every order has ended, or somebody is asked",
            )
        return runs

    def verdict(self, victim: Victim, run: UUID) -> str:
        """What became of an order: it must be one of these, and nothing between."""
        moves = [
            change
            for (change,) in self.place.rows(
                "SELECT change FROM stock_move WHERE order_id = %s ORDER BY n", victim.name
            )
        ]
        counted = self.outside.counted(victim.name)
        state = self.place.state(run)
        if counted["parcel"]:
            assert (moves, counted["charge"], counted["refund"]) == ([-1], 1, 0), (victim, counted)
            assert counted["parcel"] == 1, victim
            if state == "attention":
                assert not counted["mail"]
                return "sent, and somebody is asked"
            assert (state, counted["mail"]) == ("succeeded", 1), victim
            return "sent"
        assert moves in ([], [-1, 1]), (victim, moves)
        assert counted["charge"] == counted["refund"] <= 1, (victim, counted)
        assert not counted["mail"]
        assert state in {"failed", "cancelled"}, (victim, state)
        return state

    def verdicts(self, runs: dict[Victim, UUID]) -> Counter[str]:
        """How many orders ended how, and that the shelves agree."""
        found = Counter(self.verdict(victim, run) for victim, run in runs.items())
        gone = sum(count for verdict, count in found.items() if verdict.startswith("sent"))
        left = self.place.value("SELECT sum(pieces) FROM stock")
        assert PIECES * 2 - left == gone
        return found


@pytest.fixture
def killed(
    request: pytest.FixtureRequest,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Shop]:
    url = create_database(database_url, f"checkout_{uuid4().hex[:8]}")
    migrate(url, "troth")
    monkeypatch.setenv("CHECKOUT_OUTSIDE", str(tmp_path / "outside"))
    monkeypatch.setattr(shop.troth, "url", url)
    place = Place(url, "troth")
    for statement in shop.SCHEMA.split(";"):
        if statement.strip():
            place.rows(statement)
    for article in ("lamp", "fireworks"):
        place.rows("INSERT INTO stock VALUES (%s, %s)", article, PIECES)
    before = dict(shop.troth.workflows)
    yield Shop(place, tmp_path / "outside")
    shop.troth.workflows.clear()
    shop.troth.workflows.update(before)
    place.close()


async def test_killed_at_every_commit(killed: Shop) -> None:
    orders = [("lamp", "visa"), ("lamp", "declined"), ("fireworks", "visa"), ("unicorn", "visa")]
    victims = [
        Victim(at, kept, article=article, card=card)
        for article, card in orders
        for at in range(1, COMMITS + 1)
        for kept in SIDES
        if (article, card) == orders[0] or at % 3 == 0
    ]
    runs = await killed.check_out(victims)
    verdicts = {victim: killed.verdict(victim, run) for victim, run in runs.items()}
    killed.verdicts(runs)
    for victim, verdict in verdicts.items():
        assert verdict == ("sent" if (victim.article, victim.card) == orders[0] else "failed")
    of_the_first = list(zip(victims, killed.exit_codes, strict=True))[: 2 * COMMITS]
    reached = {victim.kill_at for victim, code in of_the_first if code}
    print(sorted(reached))


async def test_cancelled_and_killed(killed: Shop) -> None:
    victims = [
        Victim(at + 1 if by == "shop" else 0, cancel_at=at, by=by)
        for at in range(1, COMMITS)
        for by in ("shop", "customer")
    ]
    runs = await killed.check_out(victims)
    print(killed.verdicts(runs))
    print({victim.name: killed.verdict(victim, run) for victim, run in runs.items()})
