"""People who log in, machines with a key, and what either may do with an account. A tenant is one account."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from examples.signup.books import CURRENCY, available_credit
from examples.signup.core import Account, troth
from examples.signup.subscription import subscription
from troth import Money, Refused, Tx
from troth.access import Access, Passwords, Principal, Ref, Resource
from troth.machine import UnknownObjectError

HERE = Path(__file__).parent

access = troth.include(
    Access(
        policies=HERE / "policies.cedar",
        schema=HERE / "app.cedarschema",
        namespace="Signup",
        passwords=Passwords(minimum_length=10),
    )
)

NOTHING = Money(0, CURRENCY).text()
WEB = "signup_web"
"""The role that requests act as: row-level security holds for it. Made by `schema.sql`."""


@dataclass(frozen=True)
class Customer:
    """An account as the billing provider knows it."""

    account: Account
    customer: str
    subscription: str


@dataclass(frozen=True)
class AccountPage:
    """An account as its owner sees it. `subscription` is a state of the machine in `subscription.py`; `credit`: in EUR."""

    id: UUID
    email: str
    name: str
    plan: str
    seats: int
    subscription: str
    closed: bool
    credit: str

    @property
    def resource(self) -> Resource:
        """What the policies know of it."""
        known = {
            "tenant": Ref("Tenant", str(self.id)),
            "closed": self.closed,
            "owed": self.credit != NOTHING,
            "subscription": self.subscription,
        }
        return Resource("Account", str(self.id), known)


class NoAccountError(Exception):
    """There is no such account, or it is somebody else's: nobody is told which."""


async def account_page(tx: Tx, account: UUID) -> AccountPage:
    """The account, seen as the tenant that *tx* acts for. Raises `NoAccountError`."""
    found = await tx.execute(
        "SELECT a.email, a.name, a.plan, a.customer_id, a.subscription_id, a.closed_at IS NOT NULL, "
        "coalesce((SELECT sum(q.allowed) FROM signup.quota q WHERE q.account = a.id), 0)::int "
        "FROM signup.account a WHERE a.id = %s",
        [account],
    )
    row = await found.fetchone()
    if row is None:
        raise NoAccountError
    email, name, plan, customer, subscription_id, closed, seats = row
    try:
        state = await subscription.state(tx, subscription_id or "none")
    except UnknownObjectError:
        state = "incomplete"  # the signup has not come so far
    owed = await available_credit(tx, customer or "nobody")
    return AccountPage(account, email, name, plan, seats, state, closed, owed.text())


async def act_for(tx: Tx, principal: Principal) -> AccountPage:
    """The account of whoever asks; from now on *tx* sees nobody else's. Raises `NoAccountError`."""
    if principal.tenant is None:
        raise NoAccountError
    await access.tenants.act_as(tx, principal, role=WEB)
    return await account_page(tx, UUID(principal.tenant))


async def open_account(tx: Tx, account: UUID) -> Customer:
    """The open account with this id, held until *tx* ends, which acts for it. Raises `Refused` if there is none."""
    await access.tenants.act_as(tx, str(account))
    found = await tx.execute(
        "SELECT email, name, plan, customer_id, subscription_id FROM signup.account "
        "WHERE id = %s AND closed_at IS NULL AND subscription_id IS NOT NULL FOR UPDATE",
        [account],
    )
    row = await found.fetchone()
    if row is None:
        raise Refused("this account is closed")
    email, name, plan, customer, subscription_id = row
    return Customer(Account(account, email, name, plan), customer, subscription_id)


async def lock_out(tx: Tx, account: Account) -> None:
    """Whoever logs in to this account does not any more."""
    person = await access.people.find(tx, account.email)
    if person is not None and person.tenant == str(account.id):
        await access.people.remove(tx, person.id)
