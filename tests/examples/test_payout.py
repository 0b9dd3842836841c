"""A payout batch whose worker is killed while the bank has paid and not answered: none is paid twice, and none is lost."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from pathlib import Path

import pytest

from examples.payout import batch as program
from tests.examples.mapping_processes import process, worker
from tests.harness.postgres import create_database, wait_until
from troth import Mapped
from troth.store.migrate import migrate

UNDER_WAY = (
    20  # payments that the bank has made and not answered; a stream of a mapping has 25 at once
)


@pytest.mark.parametrize(
    "payees", [250, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_none_is_paid_twice_and_none_is_lost(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payees: int
) -> None:
    url = create_database(database_url, f"payout_{payees}")
    migrate(url, "troth")
    monkeypatch.setattr(program.troth, "url", url)
    books, hang_after = tmp_path / "books.sqlite", payees // 2

    def count(query: str) -> int:
        with sqlite3.connect(books) as reader:
            return int(reader.execute(query).fetchone()[0])

    with process("examples.payout.bank", str(books), "0", str(hang_after)) as bank:
        assert bank.stdout is not None
        port = (await asyncio.to_thread(bank.stdout.readline)).strip()
        async with program.troth.client():
            with worker("examples.payout.batch", url, BANK_PORT=port) as victim:
                run = await program.troth.start(program.batch, "may", payees)
                await asyncio.to_thread(
                    wait_until,
                    lambda: count("SELECT count(*) FROM request") >= hang_after + UNDER_WAY,
                    "the bank hangs",
                    300,
                )
                victim.kill()
            bank.send_signal(signal.SIGUSR1)
            with worker("examples.payout.batch", url, BANK_PORT=port):
                mapped = await run.result(timeout=300)
                asked = count("SELECT count(*) FROM request")
                again = await program.troth.start(program.batch, "may", payees)
                assert await again.result(timeout=300) == mapped
    refused = (payees + 986) // 1000
    assert mapped == Mapped(payees, payees - refused, refused, mapped.failures)
    assert [failure.number for failure in mapped.failures] == list(range(13, payees, 1000))
    assert mapped.failures[0].key == "payout/may/13"
    assert count("SELECT count(*) FROM payment") == payees - refused
    assert count("SELECT count(DISTINCT payee) FROM payment") == payees - refused
    assert asked >= payees + UNDER_WAY, "what was under way was asked for again, with its keys"
    assert count("SELECT count(*) FROM request") == asked, "the second batch asked for nothing"
