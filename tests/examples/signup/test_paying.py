"""An open invoice that somebody pays has no metadata of the request, but an event with its key: it is reconciled by that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from examples.signup.billing import provider
from examples.signup.demo.reconcile import one as reconcile
from examples.signup.plans import replace_card
from examples.signup.program import troth
from tests.examples.provider.process import Process

pytestmark = [
    pytest.mark.timeout(90),
    # The SDK hands form data to httpx in a way that httpx has deprecated.
    pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"),
]

DAY = 24 * 60 * 60
BEHIND, TRIAL = 20, 7
GOOD, FAILS_LATER = "pm_card_visa", "pm_card_chargeCustomerFail"


@pytest.fixture
def billing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    process = Process("examples.signup.provider", tmp_path / "provider.sqlite")
    process.advance(-BEHIND * DAY)
    monkeypatch.setenv("SIGNUP_STRIPE_URL", process.url)
    yield process
    process.close()


@pytest.fixture
async def worker(application: str, billing: Process) -> AsyncIterator[str]:
    async with troth.worker():
        yield application


async def subscribed(url: str, name: str, card: str) -> UUID:
    """The account of somebody who is in a trial, and whose card is charged at its end."""
    client, account = provider().v1, uuid4()
    customer = await client.customers.create_async({"email": f"{name}@example.com"})
    saved = await client.payment_methods.attach_async(card, {"customer": customer.id})
    product = await client.products.create_async({"name": name})
    price = await client.prices.create_async(
        {
            "product": product.id,
            "currency": "eur",
            "unit_amount": 900,
            "recurring": {"interval": "month"},
        }
    )
    made = await client.subscriptions.create_async(
        {
            "customer": customer.id,
            "default_payment_method": saved.id,
            "items": [{"price": price.id}],
            "trial_period_days": TRIAL,
        }
    )
    async with await psycopg.AsyncConnection.connect(url) as tx:
        await tx.execute(
            "INSERT INTO signup.account (id, email, name, plan, customer_id, subscription_id) "
            "VALUES (%s, %s, %s, 'pro', %s, %s)",
            [account, f"{name}@example.com", name, customer.id, made.id],
        )
    return account


async def test_what_we_have_had_paid_is_told_from_what_others_have(
    worker: str, billing: Process
) -> None:
    ada = await subscribed(worker, "ada", FAILS_LATER)
    await subscribed(worker, "bob", FAILS_LATER)
    await subscribed(worker, "eve", GOOD)  # whom the provider charges by itself
    billing.advance((TRIAL + 1) * DAY)
    billing.fault("reset_after", match={"path": "/pay$"}, count=1)
    paying = await troth.start(replace_card, ada, GOOD, key="ada")
    assert await paying.result(timeout=30) == "paid"
    found = await reconcile(worker, "paid")
    assert (found.verdict, found.ours, found.theirs, found.matched) == ("clean", 1, 1, 2)
    assert [rule["fired"] for rule in billing.faults()] == [1], "the answer was lost"

    [owed] = (await provider().v1.invoices.list_async({"status": "open"})).data
    card = await provider().v1.payment_methods.attach_async(GOOD, {"customer": str(owed.customer)})
    await provider().v1.invoices.pay_async(owed.id, {"payment_method": card.id})
    found = await reconcile(worker, "paid")
    [other] = found.breaks
    assert (found.verdict, other.kind, other.minor) == ("breaks", "missing_ours", 900)
