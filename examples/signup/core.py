"""What all parts of the program share: the `Troth` they belong to, the billing provider, and an account."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from examples.signup.billing import provider
from troth import Money, Provider, Refused, Retry, Troth
from troth.integrations.stripe_money import from_stripe

troth = Troth()

# What Stripe's documentation promises: a key is recognised for at least 24 hours. The other figure is ours.
stripe = Provider("stripe", key_lifetime=timedelta(hours=24), lands_within=timedelta(minutes=2))

TRIAL_DAYS = 14
SEATS = {"starter": 3, "pro": 25}


@dataclass(frozen=True)
class Account:
    id: UUID
    email: str
    name: str
    plan: str


LOOK = Retry(attempts=10, first=timedelta(milliseconds=200))
"""For what may be asked again."""


@dataclass(frozen=True)
class Price:
    """What a plan costs, and what the provider calls it."""

    id: str
    amount: Money


@troth.step(retry=LOOK)
async def find_price(plan: str) -> Price:
    prices = await provider().v1.prices.list_async({"lookup_keys": [plan], "active": True})
    if not prices.data:
        raise Refused(f"the plan {plan} is not for sale")
    [found, *_] = prices.data
    return Price(found.id, from_stripe(found.unit_amount or 0, found.currency))
