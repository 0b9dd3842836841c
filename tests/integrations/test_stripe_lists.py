"""Stripe's lists as their side, from a real provider process, by the official SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stripe

from tests.examples.provider.process import Process
from tests.reconcile.conftest import Books, books, kinds
from troth.integrations.stripe_lists import KEY, StripeList, charge, refund
from troth.reconcile import Item, Standing, Window

pytestmark = pytest.mark.filterwarnings(  # the SDK hands its body to httpx the old way
    "ignore:Use 'content=:DeprecationWarning"
)
__all__ = ["books"]

DAY = timedelta(days=1)


@pytest.fixture
def provider(tmp_path) -> Iterator[Process]:
    process = Process("examples.signup.provider", tmp_path / "data.sqlite")
    yield process
    assert process.stop() == 0
    process.close()


@pytest.fixture
async def client(provider: Process) -> AsyncIterator[stripe.StripeClient]:
    behind = stripe.HTTPXClient(timeout=10)
    transport = stripe.RequestsClient(timeout=10, async_fallback_client=behind)
    yield stripe.StripeClient(
        "sk_test_x",
        base_addresses={"api": provider.url},
        max_network_retries=0,
        http_client=transport,
    )
    transport.close()
    await behind.close_async()


def pay(client: stripe.StripeClient, key: str, cents: int, card: str = "pm_card_visa") -> str:
    """Pay with the effect's key as the idempotency key and in the metadata; the id of the intent."""
    customer = client.v1.customers.create({"email": f"{key}@example.com"})
    method = client.v1.payment_methods.attach(card, {"customer": customer.id})
    params = {
        "amount": cents, "currency": "eur", "customer": customer.id, "payment_method": method.id,
        "confirm": True, "off_session": True, "metadata": {KEY: key},
    }  # fmt: skip
    return client.v1.payment_intents.create(params, {"idempotency_key": key}).id  # type: ignore[arg-type]


async def test_charges_are_compared_with_what_we_believe(
    client: stripe.StripeClient, books: Books
) -> None:
    """Each key is in the metadata. One charge was made twice, one nobody knows of, one was refunded."""
    now = datetime.now(UTC)
    intents = {n: pay(client, f"k{n}", 1000 + n) for n in range(5)}
    pay(client, "k1-again", 1001)
    client.v1.refunds.create({"payment_intent": intents[3]})
    listed = await client.v1.charges.list_async({"limit": 100})
    again = next(each for each in listed.data if each.metadata[KEY] == "k1-again")
    # Which of two that agree is one too many: the later, and of one second that with the greater id.
    twice = [each for each in listed.data if each.metadata[KEY] in {"k1", "k1-again"}]
    extra = max(twice, key=lambda each: (each.created, each.id))

    def item_of(found: stripe.Charge) -> Item:
        made = charge(found)
        return (
            Item(**{**{f: getattr(made, f) for f in made.__struct_fields__}, "key": "k1"})
            if found.id == again.id
            else made
        )

    books.ours.items = [Item(f"run/{n}", 1000 + n, "EUR", now, f"k{n}") for n in range(4)] + [
        Item("run/lost", 50, "EUR", now, "lost")
    ]
    charges = StripeList("charges", client.v1.charges.list_async, item_of, size=2)
    window = Window(now - DAY, datetime.now(UTC) + timedelta(seconds=2), DAY)
    async with books.pool.connection() as tx:
        from troth.reconcile import store

        number = await store.ask(tx, store.queries(books.schema), "bank", window, "ada")
    assert number is not None
    await books.relay(theirs=charges, grace=timedelta(0)).look(books.pool)
    line = await books.line(number)
    assert line.error is None
    found = await books.breaks()
    assert kinds(found) == {
        "key:k3": "state", "key:k4": "missing_ours", "key:lost": "missing_theirs",
        f"theirs:{extra.id}": "duplicate_theirs",
    }  # fmt: skip
    assert line.theirs is not None
    assert (line.theirs.items, line.theirs.pages, line.theirs.proven) == (6, 3, True)
    assert line.verdict == "breaks"


async def test_refunds_leave_us_and_declined_cards_move_nothing(
    client: stripe.StripeClient,
) -> None:
    intent = pay(client, "k", 700)
    client.v1.refunds.create({"payment_intent": intent, "amount": 200, "metadata": {KEY: "r"}})
    with pytest.raises(stripe.CardError):
        pay(client, "declined", 900, "pm_card_chargeCustomerFail")
    now = datetime.now(UTC)
    window = Window(now - DAY, now + timedelta(hours=1))
    (back,) = (
        await StripeList("refunds", client.v1.refunds.list_async, refund).page(None, window)
    ).items
    assert (back.amount, back.currency, back.kind, back.key) == (-200, "EUR", "refund", "r")
    made = (
        await StripeList("charges", client.v1.charges.list_async, charge).page(None, window)
    ).items
    assert [(each.amount, each.standing) for each in made] == [
        (900, Standing.FAILED), (700, Standing.DONE),
    ]  # fmt: skip
