"""What people do with their account later: another plan, another card, cancelling, closing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from uuid import UUID

import stripe as stripe_sdk

from examples.signup.billing import missing_is_fine, provider
from examples.signup.books import Refund, book
from examples.signup.core import LOOK, SEATS, find_price, stripe, troth
from examples.signup.movements import Payment, first_payment, payment_of, refund_made
from examples.signup.people import Customer, lock_out, open_account
from examples.signup.settings import EFFECT_TIMEOUT_S
from troth import Call, Found, Missing, Money, Refused, Tx
from troth.integrations.stripe import find_by_event_async, find_by_metadata_async
from troth.integrations.stripe_money import from_stripe, to_stripe

COOLING_OFF = timedelta(days=14)
"""So long after paying, one may still want everything back."""


@dataclass(frozen=True)
class Owed:
    """An open invoice, and what is to be paid for it."""

    invoice: str
    amount: Money


@dataclass(frozen=True)
class Standing:
    """A subscription as the provider has it now."""

    status: str
    item: str
    price: str
    owed: Owed | None  # its latest invoice, if that is open


@troth.transaction
async def find_account(tx: Tx, account: UUID) -> Customer:
    return await open_account(tx, account)


@troth.step(retry=LOOK)
async def look_at_subscription(subscription: str) -> Standing:
    found = await provider().v1.subscriptions.retrieve_async(
        subscription, {"expand": ["latest_invoice"]}
    )
    [item] = found["items"].data
    invoice = found.latest_invoice
    owed = None
    if isinstance(invoice, stripe_sdk.Invoice) and invoice.status == "open":
        owed = Owed(invoice.id, from_stripe(invoice.amount_remaining, invoice.currency))
    return Standing(found.status, item.id, item.price.id, owed)


# Another plan ------------------------------------------------------------------------------------


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S)
async def set_price(call: Call, subscription: str, item: str, price: str, former: str) -> str:
    """*former* is what the undo puts back."""
    await provider().v1.subscriptions.update_async(
        subscription,
        {"items": [{"id": item, "price": price}], "proration_behavior": "none"},
        {"idempotency_key": call.key},
    )
    return price


@set_price.probe
async def find_new_price(
    call: Call, subscription: str, item: str, price: str, former: str
) -> Found[str] | Missing:
    found = await provider().v1.subscriptions.retrieve_async(subscription)
    [now] = found["items"].data
    return Found(price) if now.price.id == price else Missing()


@set_price.undo
async def restore_price(
    call: Call, _: str, subscription: str, item: str, price: str, former: str
) -> None:
    with missing_is_fine():
        await provider().v1.subscriptions.update_async(
            subscription,
            {"items": [{"id": item, "price": former}], "proration_behavior": "none"},
            {"idempotency_key": call.key},
        )


@troth.transaction
async def record_plan(tx: Tx, account: UUID, plan: str) -> None:
    await open_account(tx, account)
    await tx.execute("UPDATE signup.account SET plan = %s WHERE id = %s", [plan, account])
    await tx.execute(
        "UPDATE signup.quota SET allowed = %s WHERE resource = 'seats' "
        "AND workspace IN (SELECT id FROM signup.workspace WHERE account = %s)",
        [SEATS[plan], account],
    )


@troth.workflow
async def change_plan(account: UUID, plan: str) -> str:
    known = await find_account(account)
    price = await find_price(plan)
    standing = await look_at_subscription(known.subscription)
    if price.id != standing.price:
        await set_price(known.subscription, standing.item, price.id, standing.price)
    await record_plan(account, plan)
    return plan


# Another card ------------------------------------------------------------------------------------


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, stands=True)
async def add_card(call: Call, customer: str, card: str) -> str:
    """One card more at the provider harms nobody, so it may stay if it cannot pay."""
    saved = await provider().v1.payment_methods.attach_async(
        card, {"customer": customer}, {"idempotency_key": call.key}
    )
    return saved.id


# This request takes no metadata, and the invoice is the provider's. But the event of an invoice that was paid names the request
# that has paid it, by its key: so it can be told from one that the provider has charged by itself meanwhile.
@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, pivot=True)
async def pay_invoice(call: Call, invoice: str, card: str, amount: Money) -> str:
    """Charges what is owed, once: a paid invoice cannot be paid again."""
    paid = await provider().v1.invoices.pay_async(
        invoice, {"payment_method": card}, {"idempotency_key": call.key}
    )
    return str(paid.status)


@pay_invoice.probe
async def find_payment(call: Call, invoice: str, card: str, amount: Money) -> Found[str] | Missing:
    return await find_by_event_async(
        call, provider().v1.events.list_async, "invoice.paid", value=lambda one: str(one.status)
    )


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, stands=True)
async def use_card(call: Call, subscription: str, card: str) -> None:
    await provider().v1.subscriptions.update_async(
        subscription, {"default_payment_method": card}, {"idempotency_key": call.key}
    )


@troth.step(retry=LOOK)
async def see_payment_of(invoice: str) -> Payment:
    return await payment_of(invoice)


@troth.transaction
async def record_payment(tx: Tx, paid: Payment) -> None:
    """Into the books. The provider's events tell of it, too: they will find it there, or have been first."""
    await book(tx, paid.invoice, paid.charge)


@troth.workflow
async def replace_card(account: UUID, card: str) -> Literal["paid", "saved"]:
    """Whoever owes something pays it with the new card; if that is declined, nothing changes."""
    known = await find_account(account)
    standing = await look_at_subscription(known.subscription)
    saved = await add_card(known.customer, card)
    if standing.owed:
        await pay_invoice(standing.owed.invoice, saved, standing.owed.amount)
        await record_payment(await see_payment_of(standing.owed.invoice))
    await use_card(known.subscription, saved)
    return "paid" if standing.owed else "saved"


# Leaving -----------------------------------------------------------------------------------------


# Neither takes money, and both may be done twice: nothing that is cancelled is cancelled again.
@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, pivot=True)
async def end_now(call: Call, subscription: str) -> None:
    with missing_is_fine():
        await provider().v1.subscriptions.cancel_async(subscription)


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, pivot=True)
async def end_later(call: Call, subscription: str) -> None:
    await provider().v1.subscriptions.update_async(
        subscription, {"cancel_at_period_end": True}, {"idempotency_key": call.key}
    )


@troth.transaction
async def shut_account(tx: Tx, account: UUID) -> None:
    """Nobody can log in any more, from this commit on."""
    known = await open_account(tx, account)
    await tx.execute("UPDATE signup.account SET closed_at = now() WHERE id = %s", [account])
    await lock_out(tx, known.account)


@troth.workflow
async def cancel_subscription(account: UUID) -> Literal["ended", "ends later"]:
    """A trial ends at once; what was paid for is kept until the period ends."""
    known = await find_account(account)
    standing = await look_at_subscription(known.subscription)
    if standing.status == "canceled":
        raise Refused("the subscription has ended already")
    if standing.status == "trialing":
        await end_now(known.subscription)
        return "ended"
    await end_later(known.subscription)
    return "ends later"


@troth.workflow
async def close_account(account: UUID) -> None:
    known = await find_account(account)
    await end_now(known.subscription)
    await shut_account(account)


# Taking it back ----------------------------------------------------------------------------------


@troth.step(retry=LOOK)
async def see_first_payment(subscription: str) -> Payment:
    return await first_payment(subscription)


@troth.effect(provider=stripe, timeout=EFFECT_TIMEOUT_S, stands=True)
async def refund_payment(call: Call, intent: str, amount: Money) -> str:
    """All of it, once: what is refunded cannot be refunded again."""
    made = await provider().v1.refunds.create_async(
        {
            "payment_intent": intent,
            "amount": to_stripe(amount)[0],
            "reason": "requested_by_customer",
            "metadata": {"troth_key": call.key},
        },
        {"idempotency_key": call.key},
    )
    return made.id


@refund_payment.probe
async def find_refund(call: Call, intent: str, amount: Money) -> Found[str] | Missing:
    return await find_by_metadata_async(
        call,
        provider().v1.refunds.list_async,
        "troth_key",
        value=lambda one: str(one.id),
        where={"payment_intent": intent},
    )


@troth.step(retry=LOOK)
async def see_refund(refund: str) -> Refund:
    return await refund_made(refund)


@troth.transaction
async def record_refund(tx: Tx, refund: Refund) -> None:
    await book(tx, refund)


@troth.workflow
async def withdraw(account: UUID) -> Literal["refunded"]:
    """Whoever paid at once may take it back for two weeks: the subscription ends now, and the money goes back."""
    known = await find_account(account)
    standing = await look_at_subscription(known.subscription)
    if standing.status != "active":
        raise Refused(f"nothing is to be given back: the subscription is {standing.status}")
    paid = await see_first_payment(known.subscription)
    if troth.now() - paid.charge.at > COOLING_OFF:
        raise Refused(f"what was paid more than {COOLING_OFF.days} days ago is not given back")
    await end_now(known.subscription)
    refund = await refund_payment(paid.intent, paid.charge.amount)
    await record_refund(await see_refund(refund))
    return "refunded"
