"""The signup: an account here, a customer and a trial at the billing provider, and a mail.

Its steps are here; `examples.signup.program` is the whole program.
"""

from uuid import UUID, uuid4

from psycopg.errors import UniqueViolation
from stripe.params import SubscriptionCreateParams

from examples.signup import welcome
from examples.signup.billing import UNDONE, give_back, missing_is_fine, provider
from examples.signup.books import book
from examples.signup.core import LOOK, SEATS, TRIAL_DAYS, Account, Price, find_price, stripe, troth
from examples.signup.movements import Payment, first_payment
from examples.signup.people import access, lock_out
from examples.signup.settings import EFFECT_TIMEOUT_S
from examples.signup.subscription import begin
from troth import Call, Found, Missing, Tx
from troth.access import EmailTakenError, HashedPassword
from troth.integrations.stripe import find_by_metadata_async


class EmailTaken(Exception):
    """Somebody has an open account with this address."""


@troth.transaction(fails_on=EmailTaken)
async def create_account(tx: Tx, email: str, name: str, plan: str) -> Account:
    account = Account(uuid4(), email, name, plan)
    await access.tenants.act_as(tx, str(account.id))
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
    await access.tenants.act_as(tx, str(account.id))
    await tx.execute("UPDATE signup.account SET closed_at = now() WHERE id = %s", [account.id])


@troth.transaction
async def provision_defaults(tx: Tx, account: Account) -> None:
    await access.tenants.act_as(tx, str(account.id))
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
        "INSERT INTO signup.quota (account, workspace, resource, allowed) VALUES (%s, %s, 'seats', %s)",
        [account.id, workspace[0], SEATS[account.plan]],
    )


@provision_defaults.undo
async def withdraw_defaults(tx: Tx, _: None, account: Account) -> None:
    await access.tenants.act_as(tx, str(account.id))
    for table in ("role", "quota", "workspace"):
        await tx.execute(f"DELETE FROM signup.{table} WHERE account = %s", [account.id])


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


# The last step at which somebody can say no. Without a trial, the first month is charged here, or nothing is made.
@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S)
async def subscribe(
    call: Call, account: Account, customer: str, card: str, price: Price, trial: bool
) -> str:
    order: SubscriptionCreateParams = {
        "customer": customer,
        "default_payment_method": card,
        "items": [{"price": price.id}],
        "metadata": {"account": str(account.id), "troth_key": call.key},
    }
    if trial:
        order["trial_period_days"] = TRIAL_DAYS
    else:
        order["payment_behavior"] = "error_if_incomplete"
    subscription = await provider().v1.subscriptions.create_async(
        order, {"idempotency_key": call.key}
    )
    return subscription.id


@subscribe.probe
async def find_subscription(
    call: Call, account: Account, customer: str, card: str, price: Price, trial: bool
) -> Found[str] | Missing:
    return await find_by_metadata_async(
        call,
        provider().v1.subscriptions.list_async,
        "troth_key",
        value=lambda one: str(one.id),
        where={"customer": customer, "status": "all"},
    )


@subscribe.undo
async def unsubscribe(
    call: Call,
    subscription: str,
    account: Account,
    customer: str,
    card: str,
    price: Price,
    trial: bool,
) -> None:
    with missing_is_fine():
        await provider().v1.subscriptions.cancel_async(
            subscription, {"cancellation_details": {"comment": UNDONE}}
        )
    if not trial:
        await give_back(customer, call.key)


@troth.step(retry=LOOK)
async def see_payment(subscription: str) -> Payment:
    """What was charged at once: the invoice, and the money, with what Stripe keeps of it."""
    return await first_payment(subscription)


@troth.transaction
async def record_billing(
    tx: Tx, account: Account, customer: str, subscription: str, trial: bool, paid: Payment | None
) -> None:
    """What the provider has answered, and the books with it; what it says later comes by its events (`subscription.py`)."""
    await access.tenants.act_as(tx, str(account.id))
    await tx.execute(
        "UPDATE signup.account SET customer_id = %s, subscription_id = %s WHERE id = %s",
        [customer, subscription, account.id],
    )
    await begin(tx, subscription, trial=trial, cause=f"signup:{account.id}")
    if paid is not None:
        await book(tx, paid.invoice, paid.charge)


@troth.transaction(fails_on=EmailTakenError)
async def let_in(tx: Tx, account: Account, login: UUID) -> None:
    """The password that was chosen with the signup is good from now on."""
    found = await tx.execute("DELETE FROM signup.login WHERE id = %s RETURNING hash", [login])
    row = await found.fetchone()
    password = HashedPassword(row[0]) if row else None
    await access.people.add(tx, account.email, password, tenant=str(account.id))


@let_in.undo
async def take_back_login(tx: Tx, _: None, account: Account, login: UUID) -> None:
    await lock_out(tx, account)


# A mail server neither recognises a key nor can be asked. A welcome that is missing can be sent by a
# person; one that comes twice cannot be taken back.
@troth.effect(delivery="at_most_once", timeout=EFFECT_TIMEOUT_S, stands=True)
async def send_welcome(call: Call, account: Account) -> str:
    return await welcome.deliver(welcome.compose(account.email, account.name, call.key))


@troth.workflow
async def signup(
    email: str,
    name: str,
    plan: str,
    card: str = "pm_card_visa",
    trial: bool = True,
    login: UUID | None = None,
) -> Account:
    """*login* names the password that was chosen (`signup.login`), which is not kept in any journal."""
    account = await create_account(email, name, plan)
    await provision_defaults(account)
    price = await find_price(plan)
    customer = await create_customer(account)
    saved = await save_card(customer, card)
    subscription = await subscribe(account, customer, saved, price, trial)
    paid = None if trial else await see_payment(subscription)
    await record_billing(account, customer, subscription, trial, paid)
    if login is not None:
        await let_in(account, login)
    await send_welcome(account)
    return account
