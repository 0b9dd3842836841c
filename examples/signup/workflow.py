"""The signup: an account here, a customer and a trial at the billing provider, and a mail.

Run workers for it with `troth worker examples.signup.workflow:troth`.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from psycopg.errors import UniqueViolation

from examples.signup import welcome
from examples.signup.billing import missing_is_fine, provider
from examples.signup.settings import EFFECT_TIMEOUT_S
from troth import Call, Found, Missing, Provider, Refused, Retry, Troth, Tx
from troth.integrations.stripe import find_by_metadata_async

troth = Troth()

# What Stripe's documentation promises: a key is recognised for at least 24 hours. The other figure is ours.
stripe = Provider("stripe", key_lifetime=timedelta(hours=24), lands_within=timedelta(minutes=2))

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


@create_account.undo
async def close_account(tx: Tx, account: Account, email: str, name: str, plan: str) -> None:
    """The row stays, so that one can see what happened. Whoever was refused may sign up again."""
    await tx.execute("UPDATE signup.account SET closed_at = now() WHERE id = %s", [account.id])


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


@provision_defaults.undo
async def withdraw_defaults(tx: Tx, _: None, account: Account) -> None:
    workspaces = "(SELECT id FROM signup.workspace WHERE account = %s)"
    for table in ("role", "quota"):
        await tx.execute(
            f"DELETE FROM signup.{table} WHERE workspace IN {workspaces}", [account.id]
        )
    await tx.execute("DELETE FROM signup.workspace WHERE account = %s", [account.id])


@troth.step(retry=Retry(attempts=10, first=timedelta(milliseconds=200)))
async def find_price(plan: str) -> str:
    prices = await provider().v1.prices.list_async({"lookup_keys": [plan], "active": True})
    if not prices.data:
        raise Refused(f"the plan {plan} is not for sale")
    return prices.data[0].id


# What the SDK's exceptions mean, troth knows: a declined card is a refusal, with the bank's words; a lost answer is
# not. The key makes a repeat harmless for a day. Later, or when nobody wants it any more, the probe is asked.


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S)
async def create_customer(call: Call, account: Account) -> str:
    customer = await provider().v1.customers.create_async(
        {
            "email": account.email,
            "name": account.name,
            "metadata": {"account": str(account.id), "troth_key": call.key},
        },
        {"idempotency_key": call.key},
    )
    return customer.id


@create_customer.probe
async def find_customer(call: Call, account: Account) -> Found[str] | Missing:
    listing = provider().v1.customers.list_async
    return await find_by_metadata_async(call, listing, "troth_key", value=lambda one: str(one.id))


@create_customer.undo
async def delete_customer(call: Call, customer: str, account: Account) -> None:
    with missing_is_fine():
        await provider().v1.customers.delete_async(customer)


# It goes with its customer, so there is nothing to undo.
@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, stands=True)
async def save_card(call: Call, customer: str, card: str) -> str:
    saved = await provider().v1.payment_methods.attach_async(
        card, {"customer": customer}, {"idempotency_key": call.key}
    )
    return saved.id


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S)
async def start_trial(call: Call, account: Account, customer: str, price: str) -> str:
    subscription = await provider().v1.subscriptions.create_async(
        {
            "customer": customer,
            "items": [{"price": price}],
            "trial_period_days": TRIAL_DAYS,
            "metadata": {"account": str(account.id), "troth_key": call.key},
        },
        {"idempotency_key": call.key},
    )
    return subscription.id


@start_trial.probe
async def find_trial(
    call: Call, account: Account, customer: str, price: str
) -> Found[str] | Missing:
    return await find_by_metadata_async(
        call,
        provider().v1.subscriptions.list_async,
        "troth_key",
        value=lambda one: str(one.id),
        where={"customer": customer, "status": "all"},
    )


@start_trial.undo
async def cancel_trial(
    call: Call, subscription: str, account: Account, customer: str, price: str
) -> None:
    with missing_is_fine():
        await provider().v1.subscriptions.cancel_async(subscription)


@troth.transaction
async def record_billing(tx: Tx, account: Account, customer: str, subscription: str) -> None:
    await tx.execute(
        "UPDATE signup.account SET customer_id = %s, subscription_id = %s WHERE id = %s",
        [customer, subscription, account.id],
    )


# A mail server neither recognises a key nor can be asked. A welcome that is missing can be sent by a
# person; one that comes twice cannot be taken back.
@troth.effect(delivery="at_most_once", timeout=EFFECT_TIMEOUT_S, stands=True)
async def send_welcome(call: Call, account: Account) -> str:
    return await welcome.deliver(welcome.compose(account.email, account.name, call.key))


@troth.workflow
async def signup(email: str, name: str, plan: str, card: str = "pm_card_visa") -> Account:
    account = await create_account(email, name, plan)
    await provision_defaults(account)
    price = await find_price(plan)
    customer = await create_customer(account)
    await save_card(customer, card)
    subscription = await start_trial(account, customer, price)
    await record_billing(account, customer, subscription)
    await send_welcome(account)
    return account
