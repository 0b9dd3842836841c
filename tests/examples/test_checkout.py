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
PATIENCE_S = 500
COMMITS = 9  # more than an order has: the last victims come to their ends
FEWEST = 7  # commits of an order that is sent, if as much as possible shares one
SIDES = (False, True)


def test_main_shows_every_way(database_url: str, tmp_path: Path) -> None:
    url = create_database(database_url, "checkout_example")
    migrate(url, "troth")
    ran = subprocess.run(
        [sys.executable, "-m", "examples.checkout"],
        cwd=ROOT,
        env={
            **os.environ,
            "TROTH_DATABASE_URL": url,
            "CHECKOUT_OUTSIDE": str(tmp_path / "outside"),
        },
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
            start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(PATIENCE_S):
                said, _ = await died.communicate()
        except BaseException:
            os.killpg(died.pid, signal.SIGKILL)  # nobody survives the test
            raise
        self.exit_codes = [int(line) for line in said.splitlines()]
        assert len(self.exit_codes) == len(victims)
        assert set(self.exit_codes) <= {0, -signal.SIGKILL}
        for (worker,) in self.place.rows("SELECT id FROM {s}.worker"):
            self.place.take_over(worker)
        async with troth.worker(QUICK):
            await self.place.until(
                lambda: (
                    not self.place.value("SELECT count(*) FROM {s}.run WHERE state <> 'attention'")
                ),
                "every order has ended, or asks somebody",
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
        gone = sum(count for verdict, count in found.items() if verdict == "sent")
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


SENT = [Victim(at, kept) for at in range(1, COMMITS + 1) for kept in SIDES]


def assert_every_commit_was_met(shop: Shop, victims: Sequence[Victim], order: set[Victim]) -> None:
    """Those that were to die late came to their ends, so no commit is left out; the others died."""
    killed = {
        victim.kill_at
        for victim, code in zip(victims, shop.exit_codes, strict=True)
        if code and victim in order
    }
    assert killed == set(range(1, max(killed) + 1))
    assert FEWEST <= max(killed) < COMMITS


async def test_killed_and_cancelled_at_every_commit(killed: Shop) -> None:
    sent = [victim for victim in SENT if not victim.kept or victim.kill_at % 3 == 0]
    cancelled = [
        Victim(at + 1 if at % 2 else 0, cancel_at=at, by=by)
        for at in range(1, FEWEST)
        for by in ("shop", "customer")
    ]
    runs = await killed.check_out([*sent, *cancelled])
    killed.verdicts(runs)
    assert_every_commit_was_met(killed, [*sent, *cancelled], set(sent))
    for victim in sent:
        assert killed.verdict(victim, runs[victim]) == "sent"
    ends = Counter(killed.verdict(victim, runs[victim]) for victim in cancelled)
    assert ends["cancelled"] >= 2, ends
    assert ends["failed"] >= 2, ends


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("by", ["", "shop", "customer"])
async def test_whoever_dies_and_cancels_when(killed: Shop, by: str) -> None:
    orders = [("lamp", "visa"), ("lamp", "declined"), ("fireworks", "visa"), ("unicorn", "visa")]
    victims = [
        Victim(at, kept, cancel_at, by, article, card)
        for article, card in orders[: 2 if by else None]
        for cancel_at in (range(1, COMMITS, 1) if by else [0])
        for at in range(max(1, cancel_at), COMMITS + 1)
        for kept in SIDES
    ]
    runs = await killed.check_out(victims)
    verdicts = killed.verdicts(runs)
    if not by:
        assert_every_commit_was_met(killed, victims, set(SENT))
        assert set(verdicts) == {"sent", "failed"}
