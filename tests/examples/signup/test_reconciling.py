"""The books against the provider's balance and the bank's statements: clean to the cent, and then what is planted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from examples.signup.billing import provider
from examples.signup.books import Charge, Happening, Invoice, book, claim_on, ledger, on_its_way
from examples.signup.movements import (
    fetch_charge,
    fetch_payout,
    id_of,
    refund_made,
)
from examples.signup.reconciling import RECONCILIATIONS
from examples.signup.statements import arrival, read
from tests.examples.provider.bank import Bank
from tests.examples.provider.process import Process
from tests.harness.postgres import wait_until
from troth import Money
from troth.reconcile import Window, breaks_store, store
from troth.reconcile.relay import ReconcileRelay
from troth.store.connect import AsyncPool, pool_async

pytestmark = [
    pytest.mark.timeout(120),
    # The SDK hands form data to httpx in a way that httpx has deprecated.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

DAY = timedelta(days=1)
BEHIND = 9  # days that the others' clocks are behind, so that time can pass


@dataclass
class World:
    """Provider, bank and books, and the hands of a worker."""

    provider: Process
    bank: Bank
    pool: AsyncPool
    customer: str = ""

    async def charge(self, amount: int) -> str:
        """The intent of a charge, which the provider has made, and nobody has booked yet."""
        if not self.customer:
            self.customer = (await provider().v1.customers.create_async({})).id
        intent = await provider().v1.payment_intents.create_async(
            {
                "amount": amount,
                "currency": "eur",
                "customer": self.customer,
                "payment_method": "pm_card_visa",
                "confirm": True,
            }
        )
        return str(intent.id)

    async def book_charge(self, intent: str) -> None:
        made = await provider().v1.payment_intents.retrieve_async(intent)
        charge = await fetch_charge(id_of(made.latest_charge))
        assert charge is not None
        claim = Invoice(f"in_{charge.id}", charge.customer, charge.amount, charge.at)
        await self.book(claim, charge)

    async def book(self, *happenings: Happening) -> None:
        async with self.pool.connection() as tx, tx.transaction():
            await book(tx, *happenings)

    async def refund(self, intent: str) -> None:
        made = await provider().v1.refunds.create_async({"payment_intent": intent})
        await self.book(await refund_made(made.id))

    async def pay_out(self) -> None:
        """The night of the payout, which is booked; and all the days until now."""
        self.bank.days_pass(2)
        self.provider.advance(2 * 24 * 3600)
        wait_until(lambda: self.provider.wires()["done"], "the wire")
        for payout in (await provider().v1.payouts.list_async({})).data:
            await self.book(await fetch_payout(payout.id))
        self.bank.days_pass(BEHIND - 2)
        self.provider.advance((BEHIND - 2) * 24 * 3600)

    async def read_statements(self) -> None:
        for document in self.bank.statements():
            await self.book(*(arrival(line) for line in read("one", document).items))

    async def run(self, name: str) -> tuple[str | None, dict[str, tuple[str, int]]]:
        """What a run comes to: its verdict, and the breaks that are open, by subject: kind and money."""
        await self.fold()
        [part] = [each for each in RECONCILIATIONS if each.name == name]
        [relay] = part.relays
        assert isinstance(relay, ReconcileRelay)
        q = store.queries("troth")
        async with self.pool.connection() as tx:
            now = datetime.now(UTC)
            number = await store.ask(tx, q, name, Window(now - 14 * DAY, now, DAY), "ada")
            assert number is not None
        for _ in range(10):
            await relay.look(self.pool)
            async with self.pool.connection() as tx:
                [line] = await store.runs(tx, q, run=number)
                if line.ended_at is not None:
                    found = await breaks_store.breaks(tx, breaks_store.queries("troth"), name)
                    break
        assert line.error is None, line
        standing = {
            each.subject: (each.kind.value, each.minor)
            for each in found
            if each.state.value == "open"
        }
        return line.verdict, standing

    async def fold(self) -> None:
        async with self.pool.connection() as tx:
            while await ledger.fold(tx):
                pass


@pytest.fixture
def bank(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    bank = Bank(tmp_path, behind=BEHIND)
    monkeypatch.setenv("SIGNUP_BANK_URL", bank.url)
    monkeypatch.setenv("SIGNUP_STATEMENTS", str(bank.out))
    yield bank
    bank.close()


@pytest.fixture
def billing(tmp_path, bank: Bank, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    data = tmp_path / "provider.sqlite"
    process = Process("examples.signup.provider", data, more=["--bank", bank.url])
    process.advance(-BEHIND * 24 * 3600)
    monkeypatch.setenv("SIGNUP_STRIPE_URL", process.url)
    yield process
    process.close()


@pytest.fixture
async def world(application: str, billing: Process, bank: Bank) -> AsyncIterator[World]:
    pool = pool_async(application, 1, 4)
    await pool.open()
    yield World(billing, bank, pool)
    await pool.close()


async def test_what_agrees_is_clean_and_what_is_planted_is_found(world: World) -> None:
    first, second = await world.charge(4900), await world.charge(900)
    await world.book_charge(first)
    await world.book_charge(second)
    await world.refund(second)
    unheard = await world.charge(900)
    await world.pay_out()
    await world.read_statements()
    assert await world.run("bank") == ("clean", {})
    verdict, found = await world.run("balance")
    [(kind, minor)] = found.values()
    assert (verdict, kind, minor) == ("breaks", "missing_ours", 861)

    await world.book_charge(unheard)
    assert await world.run("balance") == ("clean", {}), "it was booked after all"

    at, fee = datetime.now(UTC) - 5 * DAY, Money(39, "EUR")
    made_up = Invoice("in_made_up", world.customer, Money(900, "EUR"), at)
    await world.book(made_up, Charge("ch_made_up", world.customer, made_up.amount, fee, at))
    assert await world.run("balance") == ("breaks", {"key:ch_made_up": ("missing_theirs", 861)})


async def test_a_statement_that_lacks_a_line_is_named_and_the_payout_is_missed(
    world: World,
) -> None:
    await world.book_charge(await world.charge(4900))
    world.bank.behaves(behaviour="statement-gap")
    await world.pay_out()
    await world.read_statements()
    verdict, found = await world.run("bank")

    assert verdict == "unproven", "what is absent from such a feed is not judged"
    kinds = {subject.rpartition(":")[0]: each for subject, each in found.items()}
    assert kinds == {
        "statement:theirs": ("statement_arithmetic", 4801),
        "feed:theirs": ("stale_source", 4801),
    }
    async with world.pool.connection() as tx:
        [payout] = world.provider.truth("payout")
        way = await ledger.balance(tx, on_its_way(payout["id"]))
        assert way.posted == Money(4801, "EUR")
        assert not (await ledger.balance(tx, claim_on(world.customer))).posted
