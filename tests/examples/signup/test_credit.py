"""A customer's credit is paid out once, whatever the bank does: the workflow with a worker in this process, and a real bank."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from pydantic import ValidationError

from examples.signup import credit, statements
from examples.signup.api import PayoutRequest
from examples.signup.bank import Payee, order
from examples.signup.books import (
    BANK,
    GOODWILL,
    Disbursement,
    Grant,
    available_credit,
    book,
    credit_of,
    ledger,
    on_its_way,
)
from examples.signup.credit import pay_out_credit
from examples.signup.demo.reconcile import one as reconcile
from examples.signup.program import troth
from examples.signup.statements import read_statements
from tests.examples.provider.bank import Bank
from tests.harness.postgres import wait_until
from troth import Money, RunFailedError

pytestmark = pytest.mark.timeout(90)

ABROAD, CLOSED = "FR1420041010050500013M02606", "NL84MOCK0000000003"
FIVE, THREE = Money(500, "EUR"), Money(300, "EUR")
MINE = credit_of("cus_ada")


@pytest.fixture
def bank(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    bank = Bank(tmp_path, behind=12)  # so that time can pass
    monkeypatch.setenv("SIGNUP_BANK_URL", bank.url)
    monkeypatch.setenv("SIGNUP_STATEMENTS", str(bank.out))
    yield bank
    bank.go_on()
    bank.close()


@dataclass
class Ada:
    """Somebody who is owed 5.00."""

    account: UUID
    url: str

    async def asks_for(self, amount: Money, iban: str = ABROAD, key: str = "form-1") -> Any:
        return await troth.start(pay_out_credit, self.account, amount, iban, key=key)

    async def balances(self) -> dict[str, int]:
        """Of all accounts that are not at zero."""
        async with await psycopg.AsyncConnection.connect(self.url) as tx:
            codes = [each.code for each in await ledger.accounts.under(tx, limit=1000)]
            found = await ledger.balances(tx, codes)
        return {code: one.posted.minor for code, one in found.items() if one.posted}

    def mails(self) -> list[str]:
        """What she is told by mail."""
        with psycopg.connect(self.url) as tx:
            return [each for (each,) in tx.execute("SELECT type FROM troth.outbox_message")]

    async def available(self) -> Money:
        async with await psycopg.AsyncConnection.connect(self.url) as tx:
            return await available_credit(tx, "cus_ada")


@pytest.fixture
async def ada(application: str, bank: Bank) -> AsyncIterator[Ada]:
    account = uuid4()
    async with await psycopg.AsyncConnection.connect(application) as tx:
        await tx.execute(
            "INSERT INTO signup.account (id, email, name, plan, customer_id, subscription_id) "
            "VALUES (%s, 'ada@example.com', 'Ada & Sons', 'pro', 'cus_ada', 'sub_ada')",
            [account],
        )
        await book(tx, Grant("outage", "cus_ada", FIVE))
    async with troth.worker():
        yield Ada(account, application)


async def read(bank: Bank, days: int) -> None:
    """The bank's days pass, and its statements are read."""
    bank.days_pass(days)
    run = await troth.start(read_statements, key=f"read:{uuid4()}")
    await run.result(timeout=30)


def delivered_again(bank: Bank) -> None:
    """Each statement a second time, under another name."""
    for each in list(bank.out.glob("camt.053*-SIGNUP-*.xml")):
        each.with_suffix(".again.xml").write_bytes(each.read_bytes())


async def until(condition: Callable[[], object], what: str) -> None:
    await asyncio.to_thread(wait_until, condition, what)


@pytest.mark.parametrize(
    ("amount", "iban", "field"),
    [
        ("5.00", "FR14 2004 1010 0505 0001 3M02 607", "iban"),  # the last digit is another
        ("5.00", "FR41 2004 1010 0505 0001 3M02 606", "iban"),  # two are exchanged
        ("5.00", "", "iban"),
        ("5.00", "4242 4242 4242 4242", "iban"),
        ("0.00", ABROAD, "amount"),
        ("-5.00", ABROAD, "amount"),
        ("5.001", ABROAD, "amount"),
        ("5,00", ABROAD, "amount"),
        ("1e3", ABROAD, "amount"),
    ],
)
def test_what_no_bank_could_pay_is_not_asked_for(amount: str, iban: str, field: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        PayoutRequest(amount=amount, iban=iban)
    assert [error["loc"] for error in wrong.value.errors()] == [(field,)]


def test_an_iban_may_be_written_in_groups() -> None:
    asked = PayoutRequest(amount="5.00", iban=" fr14 2004 1010 0505 0001 3m02 606")
    assert asked.iban == ABROAD


async def test_what_is_owed_is_paid_once_and_no_more(ada: Ada, bank: Bank) -> None:
    """The same click three times is one payment; more than is left is refused, whoever asks."""
    runs = [await ada.asks_for(THREE) for _ in range(3)]
    assert [await run.result(timeout=30) for run in runs] == ["sent"] * 3
    greedy = await ada.asks_for(THREE, key="form-2")
    with pytest.raises(RunFailedError, match=r"your credit is less than 3\.00 EUR"):
        await greedy.result(timeout=30)

    [paid] = bank.payments()
    assert (paid["amount"], paid["creditor_name"]) == (300, "Ada & Sons")
    assert (paid["creditor_iban"], paid["status"]) == (ABROAD, "accepted")
    way = on_its_way(paid["end_to_end_id"])
    assert await ada.balances() == {GOODWILL: 500, MINE: 200, way: -300}
    await read(bank, 5)
    assert await ada.balances() == {GOODWILL: 500, MINE: 200, BANK: -300}
    delivered_again(bank)
    await read(bank, 0)
    assert await ada.balances() == {GOODWILL: 500, MINE: 200, BANK: -300}, "and once, too"


@pytest.mark.slow  # the gate has the demo, in which the bank does not answer
async def test_an_order_whose_answer_is_lost_is_given_again_and_paid_once(
    ada: Ada, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bank stands still, and executes later what it did not answer; the credit is nobody else's meanwhile."""
    monkeypatch.setattr("examples.signup.bank.EFFECT_TIMEOUT_S", 1.0)
    bank.stand_still()
    first = await ada.asks_for(THREE)
    tried = "SELECT count(*) FROM troth.journal WHERE path = 'send_payment' AND kind = 4"

    def lost() -> bool:
        with psycopg.connect(ada.url) as tx:
            [count] = tx.execute(tried).fetchone() or [0]
        return bool(count)

    await until(lost, "an attempt without an answer")
    assert await ada.available() == Money(200, "EUR")
    second = await ada.asks_for(THREE, key="form-2")
    with pytest.raises(RunFailedError, match="your credit is less"):
        await second.result(timeout=30)
    bank.go_on()
    assert await first.result(timeout=60) == "sent"

    assert len(bank.payments()) == 1
    assert 422 in bank.orders(), "it came a second time, and the bank knew it"
    assert (await ada.balances())[MINE] == 200


@pytest.mark.slow
async def test_what_the_bank_refuses_is_owed_as_before(ada: Ada, bank: Bank) -> None:
    run = await ada.asks_for(THREE, CLOSED)
    with pytest.raises(RunFailedError, match="is closed"):
        await run.result(timeout=30)
    assert await ada.balances() == {GOODWILL: 500, MINE: 500}
    assert await ada.available() == FIVE

    again = await ada.asks_for(FIVE, key="form-2")
    assert await again.result(timeout=30) == "sent"


@pytest.mark.slow
async def test_a_refusal_whose_answer_is_lost_is_a_refusal(ada: Ada, bank: Bank) -> None:
    """The order is there already, as an attempt that nobody knows of would have left it."""
    real = credit.pay

    async def twice(made: Disbursement, payee: Payee) -> str:
        bank.http.post("/payments", content=order(made, payee))
        return await real(made, payee)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(credit, "pay", twice)
        run = await ada.asks_for(THREE, CLOSED)
        with pytest.raises(RunFailedError, match="is closed"):
            await run.result(timeout=30)
    assert bank.orders().count(422) == 1
    assert await ada.available() == FIVE


@pytest.mark.slow  # the gate has the demo, in which one comes back
async def test_what_comes_back_is_owed_again(ada: Ada, bank: Bank) -> None:
    """Days later, and told by a statement alone; which comes twice."""
    bank.behaves(behaviour="return-later", parameters={"days": 1})
    await (await ada.asks_for(FIVE)).result(timeout=30)
    assert await ada.available() == Money(0, "EUR")
    await read(bank, 9)
    assert await ada.balances() == {GOODWILL: 500, MINE: 500}
    found = await reconcile(ada.url, "bank")
    assert (found.verdict, found.ours, found.theirs, found.repeated) == ("clean", 2, 2, 0)
    assert ada.mails() == ["credit.returned"]

    delivered_again(bank)
    await read(bank, 0)
    assert await ada.balances() == {GOODWILL: 500, MINE: 500}
    found = await reconcile(ada.url, "bank")
    assert (found.verdict, found.theirs, found.repeated) == ("clean", 2, 2)
    assert ada.mails() == ["credit.returned"], "she is told once"


@pytest.mark.slow
async def test_a_return_that_nobody_has_booked_is_found(
    ada: Ada, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a statement that does not come is missed, before anything in it is."""

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(statements, "came_back", nothing)
    bank.days_pass(3)  # so that there is a statement before
    bank.behaves(behaviour="return-later", parameters={"days": 1})
    await (await ada.asks_for(FIVE)).result(timeout=30)
    await read(bank, 9)
    [paid] = bank.payments()
    found = await reconcile(ada.url, "bank")
    assert [(each.kind, each.minor) for each in found.breaks] == [("missing_ours", 500)]
    assert (await ada.balances())[on_its_way(paid["end_to_end_id"])] == -500

    entries = [each for each in bank.out.iterdir() if "<Ntry>" in each.read_text()]
    late = next(
        each
        for each in entries
        if each.name.startswith("camt.053") and "RRTN" not in each.read_text()
    )
    late.rename(bank.out / "elsewhere")
    missed = await reconcile(ada.url, "bank")
    assert missed.verdict == "unproven"
    assert "statement_arithmetic" in {each.kind for each in missed.breaks}
