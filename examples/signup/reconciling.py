"""Four parties tell of the same money, and each is compared with its neighbour: what we asked the provider for, what it made
of that, what it did to its balance, and what came to the bank.

The books are in the middle. `asked` and `refunds` compare our effects with the provider's objects, by the effect's key;
`balance` compares the books with the provider's balance transactions, by the object that moved the money; `bank` compares the
books with the bank's statements, by the payout. Workers run them every night; `troth reconcile run bank` does it now.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from examples.signup.bank import STATEMENTS
from examples.signup.billing import UNDONE, provider
from examples.signup.books import STRIPE, ledger
from examples.signup.core import Account, Price, troth
from examples.signup.movements import moment
from examples.signup.plans import refund_payment
from examples.signup.workflow import subscribe
from troth import Money, Tx
from troth.integrations.stripe_lists import StripeList
from troth.integrations.stripe_money import from_stripe
from troth.ledger import Entry
from troth.reconcile import Item, Page, Reconciliation, Source, SourceError, Standing, Window
from troth.reconcile.sources.effects import Effects, Moved
from troth.store.parts import Connections

LOOKBACK = timedelta(days=14)
PAGE = 100
NIGHTLY = timedelta(days=1)
HOLIDAYS = timedelta(days=4)
"""So long the bank may say nothing, and a payout be on its way."""


# Ours ---------------------------------------------------------------------------------------------


class Entries:
    """The entries of an account of the books. *item*: what one of them says; None: it is not compared."""

    def __init__(self, account: str, item: Callable[[Tx, Entry], Awaitable[Item | None]]) -> None:
        self.account = account
        self.item = item

    @property
    def name(self) -> str:
        return f"books {self.account}"

    def within(self, _schema: str, connections: Connections) -> Source:
        return EntriesIn(self, connections)


@dataclass(frozen=True)
class EntriesIn:
    """The latest first, so that what is booked while we read changes no page."""

    entries: Entries
    connections: Connections

    @property
    def name(self) -> str:
        return self.entries.name

    async def page(self, cursor: str | None, window: Window) -> Page:
        before = None if cursor is None else int(cursor)
        async with self.connections.connection() as tx:
            if before is None and (await ledger.balance(tx, self.entries.account)).unfolded:
                raise SourceError(f"{self.name}: something is booked just now; read it again")
            found = await ledger.statement(tx, self.entries.account, limit=PAGE, before=before)
            inside = [each for each in found if window.reaches(each.effective_at)]
            items = [await self.entries.item(tx, each) for each in inside]
        more = str(found[-1].version) if len(found) == PAGE else None
        return Page([item for item in items if item is not None], more)


async def movement_in_books(_: Tx, entry: Entry) -> Item:
    """`charge:ch_1` is what the provider calls ch_1."""
    key = (entry.key or "").partition(":")[2]
    return entered(entry, key or None, entry.code or "")


async def payout_in_books(tx: Tx, entry: Entry) -> Item | None:
    """What was sent to the bank; what came back never arrived there."""
    if entry.code != "payout":
        return None
    came_back = await ledger.transfer(tx, f"{entry.key}:failed")
    standing = Standing.DONE if came_back is None else Standing.FAILED
    left = entered(entry, (entry.key or "").partition(":")[2] or None, "credit", standing)
    return msgspec.structs.replace(left, amount=-left.amount)  # what leaves there comes to the bank


def entered(entry: Entry, key: str | None, kind: str, standing: Standing = Standing.DONE) -> Item:
    amount = entry.posted if entry.side == "debit" else -entry.posted
    return Item(
        entry.key or str(entry.transfer),
        amount,
        "EUR",
        entry.effective_at,
        key,
        standing,
        kind,
        evidence=f"ledger {entry.key}",
    )


# Theirs: the provider -----------------------------------------------------------------------------


async def invoices(params: Any) -> Any:
    """With their subscriptions, which know whether they were undone."""
    expanded: Any = {**params, "expand": ["data.parent.subscription_details.subscription"]}
    return await provider().v1.invoices.list_async(expanded)


async def refunds(params: Any) -> Any:
    return await provider().v1.refunds.list_async(params)


async def movements(params: Any) -> Any:
    return await provider().v1.balance_transactions.list_async(params)


def movement_there(found: Any) -> Item:
    """A balance transaction: what moved it is its source, and a payout that fails moves it twice."""
    net = from_stripe(found.net, found.currency)
    failed = ":failed" if found.type == "payout_failure" else ""
    return made(found, net, f"{found.source}{failed}", found.reporting_category)


def subscription_there(found: Any) -> Item | None:
    """The first invoice of a subscription, which is over nothing for a trial."""
    if found.billing_reason != "subscription_create":
        return None
    about = found.parent.subscription_details
    undone = about.subscription.cancellation_details.comment == UNDONE
    standing = Standing.REVERSED if undone else Standing.DONE
    key = about.metadata.to_dict().get("troth_key")
    paid = from_stripe(found.amount_paid, found.currency)
    return made(found, paid, key, "subscription", standing)


def refund_there(found: Any) -> Item | None:
    """What an undo has given back is part of what it undoes."""
    known = found.metadata.to_dict()
    if known.get(UNDONE):
        return None
    return made(found, -from_stripe(found.amount, found.currency), known.get("troth_key"), "refund")


def made(
    found: Any, amount: Money, key: str | None, kind: str, standing: Standing = Standing.DONE
) -> Item:
    at = moment(found.created)
    currency = amount.currency
    return Item(found.id, amount.minor, currency, at, key, standing, kind, evidence=found.id)


# What is compared ---------------------------------------------------------------------------------


def subscribing(account: Account, customer: str, card: str, price: Price, trial: bool) -> Moved:
    return Moved(Money(0, price.amount.currency) if trial else price.amount, "subscription")


def refunding(intent: str, amount: Money) -> Moved:
    return Moved(-amount, "refund")


RECONCILIATIONS = [
    Reconciliation(
        "asked",
        ours=Effects(subscribe, subscribing),
        theirs=StripeList("invoices", invoices, subscription_there),
        every=NIGHTLY,
        lookback=LOOKBACK,
    ),
    Reconciliation(
        "refunds",
        ours=Effects(refund_payment, refunding, found=lambda item: item.id),
        theirs=StripeList("refunds", refunds, refund_there),
        every=NIGHTLY,
        lookback=LOOKBACK,
    ),
    Reconciliation(
        "balance",
        ours=Entries(STRIPE, movement_in_books),
        theirs=StripeList("balance", movements, movement_there),
        every=NIGHTLY,
        lookback=LOOKBACK,
    ),
    Reconciliation(
        "bank",
        ours=Entries(STRIPE, payout_in_books),
        theirs=STATEMENTS,
        every=NIGHTLY,
        lookback=LOOKBACK,
        grace=HOLIDAYS,
    ),
]

for each in RECONCILIATIONS:
    troth.include(each)
