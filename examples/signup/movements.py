"""What the provider says of money, as the books want it, and the events that tell of it.

What we asked for ourselves is booked by the step that asked for it. What the provider does by itself (it renews, pays out)
is heard of by its events, and the events of the former come, too: they find it booked.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe as sdk

from examples.signup.billing import provider
from examples.signup.books import Charge, Happening, Invoice, Payout, Refund, book
from examples.signup.subscription import stripe_events
from troth import Tx
from troth.inbox import Event, Superseded
from troth.integrations.stripe_money import from_stripe


def moment(second: int) -> datetime:
    """A time as the provider writes it."""
    return datetime.fromtimestamp(second, UTC)


# Reading ------------------------------------------------------------------------------------------


def invoice_of(found: sdk.Invoice) -> Invoice | None:
    """None for a draft, which claims nothing."""
    finalized = found.status_transitions.finalized_at
    if finalized is None:
        return None
    return Invoice(
        found.id,
        id_of(found.customer),
        from_stripe(found.total, found.currency),
        moment(finalized),
        void=found.status == "void",
    )


def charge_of(found: sdk.Charge) -> Charge | None:
    """None if no money has come: declined, or only held. Its balance transaction must be expanded."""
    movement = found.balance_transaction
    if not isinstance(movement, sdk.BalanceTransaction):
        return None
    return Charge(
        found.id,
        id_of(found.customer),
        from_stripe(movement.amount, movement.currency),
        from_stripe(movement.fee, movement.currency),
        moment(movement.created),
    )


def refund_of(found: sdk.Refund) -> Refund | None:
    """None if no money has gone. Its balance transaction and its charge must be expanded."""
    movement, charge = found.balance_transaction, found.charge
    if not isinstance(movement, sdk.BalanceTransaction) or not isinstance(charge, sdk.Charge):
        return None
    amount = from_stripe(-movement.amount, movement.currency)
    return Refund(found.id, charge.id, id_of(charge.customer), amount, moment(movement.created))


def payout_of(found: sdk.Payout) -> Payout:
    return Payout(
        found.id,
        from_stripe(found.amount, found.currency),
        moment(found.created),
        failed=found.status == "failed",
    )


def id_of(thing: Any) -> str:
    """Of an object that may be expanded, or is only named."""
    if thing is None:
        return "nobody"
    return thing if isinstance(thing, str) else str(thing.id)


async def fetch_invoice(invoice: str) -> Invoice | None:
    return invoice_of(await provider().v1.invoices.retrieve_async(invoice))


async def fetch_charge(charge: str) -> Charge | None:
    found = await provider().v1.charges.retrieve_async(charge, {"expand": ["balance_transaction"]})
    return charge_of(found)


async def fetch_refund(refund: str) -> Refund | None:
    expanded = {"expand": ["balance_transaction", "charge"]}
    return refund_of(await provider().v1.refunds.retrieve_async(refund, expanded))  # type: ignore[arg-type]


async def refund_made(refund: str) -> Refund:
    """One that we have asked for. Raises `LookupError` while no money has gone."""
    found = await fetch_refund(refund)
    if found is None:
        raise LookupError(f"no money has gone for {refund} yet")
    return found


async def fetch_payout(payout: str) -> Payout:
    return payout_of(await provider().v1.payouts.retrieve_async(payout))


@dataclass(frozen=True)
class Payment:
    """An invoice and what was paid for it: booked together. *intent* is what a refund names."""

    invoice: Invoice
    charge: Charge
    intent: str


class UnpaidError(Exception):
    """No card has paid this invoice."""


async def payment_of(invoice: str) -> Payment:
    """Raises `UnpaidError`."""
    found = await provider().v1.invoices.retrieve_async(invoice, {"expand": ["payments"]})
    known = invoice_of(found)
    for each in found.payments.data if found.payments else []:
        if each.status == "paid" and each.payment.payment_intent and known:
            intent = id_of(each.payment.payment_intent)
            made = await provider().v1.payment_intents.retrieve_async(intent)
            charge = await fetch_charge(id_of(made.latest_charge))
            if charge is not None:
                return Payment(known, charge, intent)
    raise UnpaidError(f"nothing is known to have paid {invoice}")


async def first_payment(subscription: str) -> Payment:
    """What was charged when the subscription began. Raises `UnpaidError`."""
    found = await provider().v1.subscriptions.retrieve_async(subscription)
    return await payment_of(id_of(found.latest_invoice))


# Hearing of it ------------------------------------------------------------------------------------


async def heard(tx: Tx, happening: Happening | None) -> Superseded | None:
    """Book it; None is an event about money that has not moved."""
    if happening is None:
        return Superseded("no money has moved")
    await book(tx, happening)
    return None


async def invoice_now(event: Event) -> Invoice | None:
    return await fetch_invoice(event.object_key)


async def charge_now(event: Event) -> Charge | None:
    return await fetch_charge(event.object_key)


async def refund_now(event: Event) -> Refund | None:
    return await fetch_refund(event.object_key)


async def payout_now(event: Event) -> Payout:
    return await fetch_payout(event.object_key)


@stripe_events.hint("invoice.finalized", "invoice.voided", fetch=invoice_now)
async def invoice_changed(tx: Tx, event: Event, current: Invoice | None) -> Superseded | None:
    return await heard(tx, current)


@stripe_events.hint("charge.succeeded", "charge.captured", fetch=charge_now)
async def charge_changed(tx: Tx, event: Event, current: Charge | None) -> Superseded | None:
    return await heard(tx, current)


@stripe_events.hint("refund.created", fetch=refund_now)
async def refund_changed(tx: Tx, event: Event, current: Refund | None) -> Superseded | None:
    return await heard(tx, current)


@stripe_events.hint("payout.created", "payout.failed", fetch=payout_now)
async def payout_changed(tx: Tx, event: Event, current: Payout) -> Superseded | None:
    return await heard(tx, current)
