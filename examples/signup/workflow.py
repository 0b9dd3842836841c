"""The signup: an account here, a customer and a trial at the billing provider, and a mail.

Run workers for it with `troth worker examples.signup.workflow:troth`.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from psycopg.errors import UniqueViolation

from examples.signup import welcome
from examples.signup.billing import provider, refusals
from examples.signup.settings import EFFECT_TIMEOUT_S
from troth import Call, Provider, Refused, Retry, Troth, Tx

troth = Troth()

# What Stripe's documentation promises: a key is recognised for at least 24 hours.
stripe = Provider("stripe", key_lifetime=timedelta(hours=24))

TRIAL_DAYS = 14
SEATS = {"starter": 3, "pro": 25}


class EmailTaken(Exception):
    """Somebody has an open account with this address."""


@dataclass(frozen=True)
class Account:
    id: UUID
    email: str
    name: str
    plan: str


@troth.transaction(fails_on=EmailTaken)
async def create_account(tx: Tx, email: str, name: str, plan: str) -> Account:
    account = Account(uuid4(), email, name, plan)
    try:
        await tx.execute(
            "INSERT INTO signup.account (id, email, name, plan) VALUES (%s, %s, %s, %s)",
            [account.id, email, name, plan],
        )
    except UniqueViolation:
        raise EmailTaken(f"{email} has an account already") from None
    return account


@troth.transaction
async def provision_defaults(tx: Tx, account: Account) -> None:
    made = await tx.execute(
        "INSERT INTO signup.workspace (account, name) VALUES (%s, %s) RETURNING id",
        [account.id, f"{account.name}'s workspace"],
    )
    workspace = await made.fetchone()
    assert workspace is not None
    await tx.execute(
        "INSERT INTO signup.role (account, workspace, role) VALUES (%s, %s, 'owner')",
        [account.id, workspace[0]],
    )
    await tx.execute(
        "INSERT INTO signup.quota (workspace, resource, allowed) VALUES (%s, 'seats', %s)",
        [workspace[0], SEATS[account.plan]],
    )


@troth.step(retry=Retry(attempts=10, first=timedelta(milliseconds=200)))
async def find_price(plan: str) -> str:
    with refusals():
        prices = await provider().v1.prices.list_async({"lookup_keys": [plan], "active": True})
    if not prices.data:
        raise Refused(f"the plan {plan} is not for sale")
    return prices.data[0].id


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S)
async def create_customer(call: Call, account: Account) -> str:
    with refusals():
        customer = await provider().v1.customers.create_async(
            {
                "email": account.email,
                "name": account.name,
                "metadata": {"account": str(account.id)},
            },
            {"idempotency_key": call.key},
        )
    return customer.id


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S)
async def start_trial(call: Call, account: Account, customer: str, price: str) -> str:
    with refusals():
        subscription = await provider().v1.subscriptions.create_async(
            {
                "customer": customer,
                "items": [{"price": price}],
                "trial_period_days": TRIAL_DAYS,
                "metadata": {"account": str(account.id)},
            },
            {"idempotency_key": call.key},
        )
    return subscription.id


@troth.transaction
async def record_billing(tx: Tx, account: Account, customer: str, subscription: str) -> None:
    await tx.execute(
        "UPDATE signup.account SET customer_id = %s, subscription_id = %s WHERE id = %s",
        [customer, subscription, account.id],
    )


@troth.transaction
async def close_account(tx: Tx, account: Account, because: str) -> None:
    await tx.execute(
        "UPDATE signup.account SET closed_at = now(), closed_because = %s WHERE id = %s",
        [because, account.id],
    )


# A mail server neither recognises a key nor can be asked. A welcome that is missing can be sent by a
# person; one that comes twice cannot be taken back.
@troth.effect(delivery="at_most_once", timeout=EFFECT_TIMEOUT_S)
async def send_welcome(call: Call, account: Account) -> str:
    return await welcome.deliver(welcome.compose(account.email, account.name, call.key))


@troth.workflow
async def signup(email: str, name: str, plan: str) -> Account:
    account = await create_account(email, name, plan)
    await provision_defaults(account)
    try:
        price = await find_price(plan)
        customer = await create_customer(account)
        subscription = await start_trial(account, customer, price)
    except Refused as refusal:
        # Whoever was refused may sign up again. A customer without a trial costs nothing, and stays.
        await close_account(account, str(refusal))
        raise
    await record_billing(account, customer, subscription)
    await send_welcome(account)
    return account
