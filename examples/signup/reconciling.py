"""Four parties tell of the same money, and each is compared with its neighbour: what we asked the provider for, what it made
of that, what it did to its balance, and what came to the bank.

`asked`, `paid` and `refunds` compare our effects with what the provider made of them, by the effect's key; `balance` compares
the books with the provider's balance transactions, by the object that moved the money; `bank` compares payouts in the books and
payments that we have ordered with the bank's statements, by their ids. Workers run them every night; `troth reconcile run bank`
does it now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from examples.signup.bank import STATEMENTS, Payee
from examples.signup.billing import UNDONE, provider
from examples.signup.books import STRIPE, Disbursement, ledger
from examples.signup.core import Account, Price, troth
from examples.signup.credit import send_payment
from examples.signup.movements import moment
from examples.signup.plans import pay_invoice, refund_payment
from examples.signup.workflow import subscribe
from troth import Money, Tx
from troth.integrations.stripe_lists import StripeList
from troth.integrations.stripe_money import from_stripe
from troth.reconcile import (
    Item,
    OneToOne,
    Page,
    Reconciliation,
    Source,
    Standing,
    Window,
)
from troth.reconcile.sources.books import Posting, Postings
from troth.reconcile.sources.effects import Effects, Moved
from troth.store.parts import Connections

LOOKBACK = timedelta(days=14)
NIGHTLY = timedelta(days=1)
HOLIDAYS = timedelta(days=4)
"""So long the bank may say nothing, and a payout be on its way."""


# Ours ---------------------------------------------------------------------------------------------


def object_of(posting: Posting) -> str | None:
    """`charge:ch_1` is what the provider calls ch_1."""
    return (posting.key or "").partition(":")[2] or None


MOVEMENTS = Postings(STRIPE, key=object_of)


def disbursed(made: Disbursement, payee: Payee) -> Moved:
    """Money that leaves our bank, under the disbursement's id."""
    return Moved(-made.amount, "disbursement", reference=made.id)


ORDERS = Effects(send_payment, disbursed)


class AtTheBank:
    """What should be on the bank's statements: payouts that we are sent, payments that we have ordered, and those that came back."""

    name = "payouts and disbursements"

    def within(self, schema: str, connections: Connections) -> Source:
        payouts = Payouts(MOVEMENTS.within(schema, connections), connections)
        orders = Disbursements(ORDERS.within(schema, connections), connections)
        return InTurn(self.name, [payouts, orders])


@dataclass(frozen=True)
class InTurn:
    """One source after the other, as one. It does not know how many items there are, so it is read twice."""

    name: str
    sources: Sequence[Source]

    async def page(self, cursor: str | None, window: Window) -> Page:
        number, _, place = (cursor or "0:").partition(":")
        at = int(number)
        page = await self.sources[at].page(place or None, window)
        if page.next is not None:
            return Page(page.items, f"{at}:{page.next}")
        return Page(page.items, f"{at + 1}:" if at + 1 < len(self.sources) else None)


@dataclass(frozen=True)
class Payouts:
    """Of all movements at the provider, those that are payouts; what came back never arrived at the bank."""

    movements: Source
    connections: Connections
    name: str = "payouts"

    async def page(self, cursor: str | None, window: Window) -> Page:
        page = await self.movements.page(cursor, window)
        payouts = [each for each in page.items if each.kind == "payout"]
        async with self.connections.connection() as tx:
            return Page([await self.sent(tx, each) for each in payouts], page.next)

    async def sent(self, tx: Tx, payout: Item) -> Item:
        """What leaves Stripe comes to the bank, under the payout's id."""
        name = f"payout:{payout.key}"
        came_back = await ledger.transfer(tx, f"{name}:failed")
        standing = Standing.DONE if came_back is None else Standing.FAILED
        return msgspec.structs.replace(payout, id=name, amount=-payout.amount, standing=standing)


@dataclass(frozen=True)
class Disbursements:
    """What we have had the bank pay, as our effects have it; and what the books say has come back of it."""

    orders: Source
    connections: Connections
    name: str = "disbursements"

    async def page(self, cursor: str | None, window: Window) -> Page:
        page = await self.orders.page(cursor, window)
        items = []
        async with self.connections.connection() as tx:
            for order in page.items:
                items.append(msgspec.structs.replace(order, key=order.reference))
                if back := await self.returned(tx, order):
                    items.append(back)
        return Page(items, page.next)

    async def returned(self, tx: Tx, order: Item) -> Item | None:
        """A movement of its own, which the bank gives no key: it is matched by its reference."""
        name = f"disbursement:{order.reference}:returned"
        found = await ledger.transfer(tx, name)
        if found is None:
            return None
        amount, currency, at = -order.amount, order.currency, found.effective_at
        return Item(name, amount, currency, at, None, Standing.DONE, "return", 0, order.reference)


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


async def paid_events(params: Any) -> Any:
    of_invoices: Any = {**params, "type": "invoice.paid"}
    return await provider().v1.events.list_async(of_invoices)


def payment_there(event: Any) -> Item | None:
    """An invoice that somebody has asked to be paid: the event of it has the key of the request, and the invoice has none.

    What the provider charges by itself nobody has asked for, and a first invoice is paid with its subscription.
    """
    invoice, asked = event.data.object, event.request
    if asked is None or asked.id is None or invoice.billing_reason == "subscription_create":
        return None
    amount = from_stripe(invoice.amount_paid, invoice.currency)
    return made(event, amount, asked.idempotency_key, "payment")


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


def paying(invoice: str, card: str, amount: Money) -> Moved:
    return Moved(amount, "payment", reference=invoice)


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
        "paid",
        ours=Effects(pay_invoice, paying),
        theirs=StripeList("invoice payments", paid_events, payment_there),
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
        ours=MOVEMENTS,
        theirs=StripeList("balance", movements, movement_there),
        every=NIGHTLY,
        lookback=LOOKBACK,
    ),
    Reconciliation(
        "bank",
        ours=AtTheBank(),
        theirs=STATEMENTS,
        rules=[OneToOne("returned", 1, on=("reference",))],
        every=NIGHTLY,
        lookback=LOOKBACK,
        grace=HOLIDAYS,
    ),
]

for each in RECONCILIATIONS:
    troth.include(each)
