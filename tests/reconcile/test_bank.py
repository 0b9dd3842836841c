"""Statements of a bank that is somebody else's program, in a process of its own: what it lists, leaves out, returns and repeats."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.harness.postgres import wait_until
from tests.reconcile.conftest import Books, kinds
from troth.reconcile import Item, OneToOne
from troth.reconcile.sources.bai import Bai2
from troth.reconcile.sources.camt import Camt053

TODAY = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0)
MONDAY = TODAY - timedelta(
    days=TODAY.weekday() + 14
)  # of the week before last: no weekend comes between
SHOP = "ACME"
SOMEBODY = "NL91ABNA0417164300"


class Bank:
    """The process, and its mailbox as files."""

    name = "the bank's mailbox"

    def __init__(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = taken.getsockname()[1]
        command = [
            sys.executable, "-m", "mockbank", "--port", str(self.port), "--clock", f"{MONDAY:%Y-%m-%dT%H:%M}",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._is_up, "the bank is open")
        self.kind = "camt.053"
        self.twice = False

    def _is_up(self) -> bool:
        try:
            return bool(self.call("GET", "/_mock/health"))
        except OSError:
            return False

    def call(self, method: str, path: str, body: object = None) -> Any:
        data = (
            body
            if isinstance(body, bytes)
            else (None if body is None else json.dumps(body).encode())
        )
        asked = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, method=method)
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    # As files ---------------------------------------------------------------------------------------------------------

    def _letters(self) -> dict[str, str]:
        listed = self.call("GET", f"/_mock/mailbox?type={self.kind}&leave")
        found = {
            f"{each['id']:05}": each["body"] for each in listed if each["account"] == self.account
        }
        if self.twice:
            found |= {f"{name}-again": body for name, body in found.items()}
        return dict(sorted(found.items()))

    account = SHOP

    async def names(self) -> list[str]:
        return list(await asyncio.to_thread(self._letters))

    async def read(self, name: str) -> bytes:
        return (await asyncio.to_thread(self._letters))[name].encode()

    # What happens -----------------------------------------------------------------------------------------------------

    def pay(self, message: str, *payments: tuple[str, int]) -> None:
        """Send a payment file: end-to-end ids, and cents."""
        (shop,) = [each for each in self.call("GET", "/_mock/accounts") if each["id"] == SHOP]
        total = f"{sum(cents for _, cents in payments) / 100:.2f}"
        transfers = "".join(
            f"""<CdtTrfTxInf><PmtId><EndToEndId>{key}</EndToEndId></PmtId><Amt><InstdAmt Ccy="EUR">{cents / 100:.2f}</InstdAmt>
            </Amt><Cdtr><Nm>Somebody</Nm></Cdtr><CdtrAcct><Id><IBAN>{SOMEBODY}</IBAN></Id></CdtrAcct></CdtTrfTxInf>"""
            for key, cents in payments
        )
        file = f"""<?xml version="1.0"?><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"><CstmrCdtTrfInitn>
            <GrpHdr><MsgId>{message}</MsgId><CreDtTm>2026-11-02T09:00:00</CreDtTm><NbOfTxs>{len(payments)}</NbOfTxs>
            <CtrlSum>{total}</CtrlSum><InitgPty><Nm>Shop</Nm></InitgPty></GrpHdr><PmtInf><PmtInfId>{message}-1</PmtInfId>
            <PmtMtd>TRF</PmtMtd><NbOfTxs>{len(payments)}</NbOfTxs><CtrlSum>{total}</CtrlSum>
            <ReqdExctnDt><Dt>{self.call("GET", "/_mock/state")["clock"]["now"][:10]}</Dt></ReqdExctnDt>
            <Dbtr><Nm>Shop</Nm></Dbtr><DbtrAcct><Id><IBAN>{shop["iban"]}</IBAN></Id></DbtrAcct><DbtrAgt><FinInstnId>
            <BICFI>{shop["bic"]}</BICFI></FinInstnId></DbtrAgt>{transfers}</PmtInf></CstmrCdtTrfInitn></Document>"""
        answer = self.call("POST", "/payments", file.encode())
        assert answer["accepted"] == len(payments), answer

    def tomorrow(self, days: int = 1) -> None:
        self.call("POST", f"/_mock/advance?days={days}")


@pytest.fixture
def bank() -> Iterator[Bank]:
    opened = Bank()
    yield opened
    opened.process.kill()
    opened.process.wait()


def sent(key: str, cents: int, day: int = 0) -> Item:
    return Item(f"run/{key}", -cents, "EUR", MONDAY + timedelta(days=day), key, kind="payment")


async def test_payments_and_a_payout_are_in_the_statements(books: Books, bank: Bank) -> None:
    bank.pay("M1", ("run-1/pay", 1000), ("run-2/pay", 2050))
    bank.tomorrow()
    bank.pay("M2", ("run-3/pay", 99))
    credit = {
        "account": SHOP, "amount": 70_000, "currency": "EUR", "debtor": {"name": "Paybank"}, "reference": "RF18539007547034",
        "value_date": f"{MONDAY + timedelta(days=1):%Y-%m-%d}",
    }  # fmt: skip
    bank.call("POST", "/_mock/credits", credit)
    bank.tomorrow()
    books.ours.items = [
        sent("run-1/pay", 1000), sent("run-2/pay", 2050), sent("run-3/pay", 99, 1),
        Item("po_1", 70_000, "EUR", MONDAY + timedelta(days=1), reference="RF18539007547034"),
    ]  # fmt: skip
    line = await books.run(
        theirs=Camt053(bank, keyed=True), grace=timedelta(days=20),
        rules=[OneToOne("payout", 1, on=("reference",), days=3)],
    )  # fmt: skip
    assert line.verdict == "clean", (line.error, await books.breaks())
    assert line.counts is not None
    assert (line.counts["by_key"], line.counts["by_rule"]) == (6, 2)
    assert line.theirs is not None
    assert line.theirs.sums == {"EUR": 70_000 - 1000 - 2050 - 99}


async def test_a_payment_that_the_statement_leaves_out_is_found(books: Books, bank: Bank) -> None:
    bank.call("PATCH", f"/_mock/accounts/{SHOP}", {"behaviour": "statement-gap"})
    bank.pay("M1", ("run-1/pay", 1000), ("run-2/pay", 2050))
    bank.tomorrow()
    books.ours.items = [sent("run-1/pay", 1000), sent("run-2/pay", 2050)]
    line = await books.run(theirs=Camt053(bank, keyed=True), grace=timedelta(days=20))
    assert line.verdict == "unproven"
    (found,) = await books.breaks()
    assert found.kind == "statement_arithmetic"
    assert found.minor in {1000, 2050}
    assert "is just run/run-" in found.note


async def test_a_payment_that_comes_back_is_a_movement_that_we_do_not_have(
    books: Books, bank: Bank
) -> None:
    bank.call("PATCH", f"/_mock/accounts/{SHOP}", {"behaviour": "return-later"})
    bank.pay("M1", ("run-1/pay", 1000))
    bank.tomorrow(7)
    books.ours.items = [sent("run-1/pay", 1000)]
    line = await books.run(
        theirs=Camt053(bank, keyed=True), grace=timedelta(hours=1), until=TODAY.weekday() + 8
    )
    assert line.counts is not None
    assert line.counts["by_key"] == 2, (line, await books.breaks())
    (found,) = [each for each in await books.breaks() if each.kind == "missing_ours"]
    (back,) = found.theirs
    assert (back.amount, back.kind, back.reference, back.key) == (1000, "return", "run-1/pay", None)


async def test_a_statement_that_is_sent_twice_counts_once(books: Books, bank: Bank) -> None:
    bank.pay("M1", ("run-1/pay", 1000))
    bank.tomorrow()
    bank.twice = True
    books.ours.items = [sent("run-1/pay", 1000)]
    line = await books.run(theirs=Camt053(bank, keyed=True), grace=timedelta(days=20))
    assert line.verdict == "clean", await books.breaks()
    assert line.theirs is not None
    assert (line.theirs.items, line.theirs.repeated) == (1, 1)


async def test_a_bai2_statement_of_another_hand_is_read(books: Books, bank: Bank) -> None:
    account = {
        "id": "US", "name": "US shop", "iban": SOMEBODY, "bic": "MOCKNL2A", "currency": "USD", "balance": 100_000,
        "format": "nacha", "account_number": "0123456789",
    }  # fmt: skip
    credit = {
        "account": "US", "amount": 12_345, "currency": "USD", "debtor": {"name": "Paybank"}, "reference": "PO1",
        "value_date": f"{MONDAY:%Y-%m-%d}",
    }  # fmt: skip
    bank.call("POST", "/_mock/accounts", account)
    bank.call("POST", "/_mock/credits", credit)
    bank.tomorrow()
    bank.kind, bank.account = "bai2.statement", "US"
    books.ours.items = [Item("po_1", 12_345, "USD", MONDAY, reference="PO1")]
    line = await books.run(
        theirs=Bai2(bank),
        grace=timedelta(days=20),
        rules=[OneToOne("payout", 1, on=("reference",), days=3)],
    )
    assert line.verdict == "clean", (line.error, kinds(await books.breaks()))
    assert line.theirs is not None
    assert line.theirs.sums == {"USD": 12_345}
