"""The billing provider, through the official SDK."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import stripe
from stripe import StripeClient

from examples.signup.settings import EFFECT_TIMEOUT_S, stripe_key, stripe_url

_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, StripeClient] = WeakKeyDictionary()


def provider() -> StripeClient:
    """The client of the running event loop. It does not retry: troth does, and writes it down."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        _clients[loop] = StripeClient(
            stripe_key(),
            base_addresses={"api": stripe_url()},
            http_client=stripe.HTTPXClient(timeout=EFFECT_TIMEOUT_S),
            max_network_retries=0,
        )
    return _clients[loop]


UNDONE = "undone"
"""What the provider is told with that which takes back what we have done."""


@contextmanager
def missing_is_fine() -> Iterator[None]:
    """For a DELETE, which Stripe repeats without a key: what is not there any more needs no deleting."""
    try:
        yield
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise


async def give_back(customer: str, key: str) -> None:
    """Refund what this customer was charged, once."""
    payments = await provider().v1.payment_intents.list_async({"customer": customer, "limit": 100})
    for payment in payments.data:
        if payment.status == "succeeded":
            await provider().v1.refunds.create_async(
                {"payment_intent": payment.id, "metadata": {UNDONE: key}},
                {"idempotency_key": f"{key}:{payment.id}"},
            )
