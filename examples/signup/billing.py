"""The billing provider, through the official SDK; what its errors mean is decided here."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import stripe
from stripe import StripeClient

from examples.signup.settings import EFFECT_TIMEOUT_S, stripe_key, stripe_url
from troth import Refused

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


@contextmanager
def refusals() -> Iterator[None]:
    """Turn the provider's "no" into a business answer.

    A declined card and an object that the provider will not have (400, 402, 404) are answers. A bad
    API key (401, 403) is our fault, a conflict or a limit (409, 429) passes, and the rest says
    nothing about what happened: those stay exceptions, and troth decides.
    """
    try:
        yield
    except (stripe.CardError, stripe.InvalidRequestError) as error:
        raise Refused(error.user_message or str(error)) from error
