"""The workflow with a worker in this process, a real provider and a real mailbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import stripe

from examples.signup.billing import provider as client
from examples.signup.books import FEES, REFUNDS, SALES, STRIPE, ledger
from examples.signup.plans import withdraw
from examples.signup.progress import progress_of
from examples.signup.workflow import EmailTaken, signup, troth
from tests.examples.provider.process import Process
from tests.harness.postgres import wait_until
from troth import Refused, RunCancelledError, RunFailedError

# The SDK hands form data to httpx in a way that httpx has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

EMAIL = "ada@example.com"


@pytest.fixture
def billing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    process = Process("examples.signup.provider", tmp_path / "provider.sqlite")
    monkeypatch.setenv("SIGNUP_STRIPE_URL", process.url)
    yield process
    process.close()


@pytest.fixture
def mailbox(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    process = Process("examples.signup.mailbox", tmp_path / "mailbox.sqlite", "http_port")
    monkeypatch.setenv("SIGNUP_SMTP_PORT", str(process.ports["smtp_port"]))
    yield process
    process.close()


@pytest.fixture
async def worker(application: str, billing: Process, mailbox: Process) -> AsyncIterator[str]:
    """The URL of the database that a worker works for."""
    async with troth.worker():
        yield application


async def sell(plan: str) -> None:
    product = await client().v1.products.create_async({"name": plan})
    price: stripe.params.PriceCreateParams = {
        "product": product.id,
        "currency": "eur",
        "unit_amount": 900,
        "recurring": {"interval": "month"},
        "lookup_key": plan,
    }
    await client().v1.prices.create_async(price)


def row(url: str, query: str) -> tuple[Any, ...]:
    with psycopg.connect(url) as connection:
        found = connection.execute(query).fetchone()
    assert found is not None
    return found


async def test_a_signup(worker: str, billing: Process, mailbox: Process) -> None:
    await sell("pro")
    run = await troth.start(signup, EMAIL, "Ada", "pro", key="form-1")
    account = await run.result(timeout=20)

    [customer] = billing.truth("customer", account=str(account.id))
    [trial] = billing.truth("subscription", account=str(account.id))
    assert trial["object"]["status"] == "trialing"
    assert trial["object"]["customer"] == customer["id"]
    recorded = row(worker, "SELECT id, customer_id, subscription_id FROM signup.account")
    assert recorded == (account.id, customer["id"], trial["id"])
    [mail] = mailbox.control.get("/messages", params={"to": EMAIL}).json()
    assert mail["subject"] == "Welcome, Ada"

    async with await psycopg.AsyncConnection.connect(worker) as tx:
        progress = await progress_of(tx, run.id)
    assert progress is not None
    assert (progress.state, progress.account, progress.problem) == ("succeeded", account.id, None)
    assert progress.money == "untouched", "a trial asks nobody for money"
    assert progress.done == [
        "create_account",
        "provision_defaults",
        "find_price",
        "create_customer",
        "save_card",
        "subscribe",
        "record_billing",
        "send_welcome",
    ]

    back = await troth.start(withdraw, account.id, key="back")
    with pytest.raises(RunFailedError, match="the subscription is trialing"):
        await back.result(timeout=20)
    assert billing.truth("balance_transaction") == [], "a trial has nothing to give back"


async def test_without_a_trial_the_card_is_charged_once(worker: str, billing: Process) -> None:
    """Also if the answer to it is lost; and who declines is not charged, and says so."""
    await sell("pro")
    billing.fault("reset_after", match={"path": "^/v1/subscriptions$"}, count=1)
    paid = await troth.start(signup, EMAIL, "Ada", "pro", "pm_card_visa", False, key="form-1")
    await paid.result(timeout=30)
    declines = "pm_card_chargeCustomerFail"
    other = await troth.start(
        signup, "eve@example.com", "Eve", "pro", declines, False, key="form-2"
    )
    with pytest.raises(RunFailedError, match="declined"):
        await other.result(timeout=30)

    taken = [one["object"] for one in billing.truth("charge")]
    assert [one["amount"] for one in taken if one["status"] == "succeeded"] == [900]
    async with await psycopg.AsyncConnection.connect(worker) as tx:
        known = [await progress_of(tx, run.id) for run in (paid, other)]
        assert await booked(tx) == {STRIPE: 861, FEES: 39, SALES: 900}, "by the signup itself"
    assert [one.money for one in known if one] == ["charged", "untouched"]
    assert row(worker, "SELECT count(*) FROM signup.account WHERE closed_at IS NULL") == (1,)


async def booked(tx: psycopg.AsyncConnection) -> dict[str, int]:
    """What is in the books, on the normal side of each account that is not at zero."""
    codes = [account.code for account in await ledger.accounts.under(tx)]
    found = await ledger.balances(tx, codes)
    return {code: one.posted.minor for code, one in found.items() if one.posted}


async def test_who_takes_it_back_gets_the_money_once(worker: str, billing: Process) -> None:
    """The answer to the refund is lost; it is in the books once, and asking again is refused."""
    await sell("pro")
    started = await troth.start(signup, EMAIL, "Ada", "pro", "pm_card_visa", False, key="form-1")
    account = await started.result(timeout=30)
    billing.fault("reset_after", match={"path": "^/v1/refunds$"}, count=1)
    back = await troth.start(withdraw, account.id, key="back")
    assert await back.result(timeout=30) == "refunded"

    [refund] = billing.truth("refund")
    assert refund["object"]["amount"] == 900
    [one] = billing.truth("subscription")
    assert one["object"]["status"] == "canceled"
    async with await psycopg.AsyncConnection.connect(worker) as tx:
        assert await booked(tx) == {STRIPE: -39, FEES: 39, SALES: 900, REFUNDS: 900}
    again = await troth.start(withdraw, account.id, key="again")
    with pytest.raises(RunFailedError, match="the subscription is canceled"):
        await again.result(timeout=20)


async def test_a_refusal_of_the_provider_closes_the_account(worker: str, billing: Process) -> None:
    """Nobody sells the plan, so the trial is refused; later, the same person may sign up."""
    run = await troth.start(signup, EMAIL, "Ada", "pro", key="form-1")

    with pytest.raises(RunFailedError, match="not for sale") as failed:
        await run.result(timeout=20)

    assert isinstance(failed.value.__cause__, Refused)
    assert row(worker, "SELECT closed_at IS NOT NULL FROM signup.account") == (True,)
    assert row(worker, "SELECT count(*) FROM signup.workspace") == (0,)
    assert billing.truth("customer") == []
    async with await psycopg.AsyncConnection.connect(worker) as tx:
        progress = await progress_of(tx, run.id)
    assert progress is not None
    assert (progress.state, progress.problem) == ("failed", "the plan pro is not for sale")

    await sell("pro")
    again = await troth.start(signup, EMAIL, "Ada", "pro", key="form-2")
    await again.result(timeout=20)
    assert row(worker, "SELECT count(*) FROM signup.account WHERE closed_at IS NULL") == (1,)


async def test_a_declined_card_undoes_the_signup(worker: str, billing: Process) -> None:
    await sell("pro")
    billing.fault("reset_after", match={"method": "DELETE"}, count=1)
    run = await troth.start(signup, EMAIL, "Ada", "pro", "pm_card_chargeDeclined", key="form-1")

    with pytest.raises(RunFailedError, match="Your card was declined"):
        await run.result(timeout=30)

    assert row(worker, "SELECT closed_at IS NOT NULL FROM signup.account") == (True,)
    [customer] = billing.truth("customer")
    assert customer["deleted"]
    assert billing.truth("subscription") == []
    assert [rule["fired"] for rule in billing.faults()] == [1], "the deletion was found out about"


async def test_a_cancelled_signup_ends_its_trial(
    worker: str, billing: Process, mailbox: Process
) -> None:
    """The mail server is away, so everything else is there when the person changes their mind."""
    await sell("pro")
    mailbox.stop()
    run = await troth.start(signup, EMAIL, "Ada", "pro", key="form-1")
    billed = "SELECT count(subscription_id) FROM signup.account"
    await asyncio.to_thread(wait_until, lambda: row(worker, billed) == (1,), "a recorded trial")
    await run.cancel()

    with pytest.raises(RunCancelledError):
        await run.result(timeout=30)

    [trial] = billing.truth("subscription")
    assert trial["object"]["status"] == "canceled"
    [customer] = billing.truth("customer")
    assert customer["deleted"]
    assert row(worker, "SELECT closed_at IS NOT NULL FROM signup.account") == (True,)


async def test_an_address_is_taken_once(worker: str, billing: Process) -> None:
    await sell("pro")
    await (await troth.start(signup, EMAIL, "Ada", "pro", key="form-1")).result(timeout=20)
    second = await troth.start(signup, EMAIL, "Eve", "pro", key="form-2")

    with pytest.raises(RunFailedError) as failed:
        await second.result(timeout=20)

    assert isinstance(failed.value.__cause__, EmailTaken)
    assert row(worker, "SELECT count(*) FROM signup.account") == (1,)
    assert len(billing.truth("customer")) == 1


async def test_a_lost_answer_of_the_provider_makes_no_second_customer(
    worker: str, billing: Process
) -> None:
    await sell("pro")
    billing.fault("reset_after", match={"path": "^/v1/customers$"}, count=1)
    billing.fault("http500_after", match={"path": "^/v1/subscriptions$"}, count=1)
    run = await troth.start(signup, EMAIL, "Ada", "pro", key="form-1")
    await run.result(timeout=30)

    assert [rule["fired"] for rule in billing.faults()] == [1, 1]
    assert len(billing.truth("customer")) == 1
    assert len(billing.truth("subscription")) == 1
