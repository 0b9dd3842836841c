"""A subscription as a machine, driven by what the billing provider says of it.

Events come twice, late, in any order, or never. None of them is believed: each only says that something happened, and
then the provider is asked what is the case. What never comes is found by the sweep.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import stripe

from examples.signup.billing import provider
from examples.signup.core import troth
from examples.signup.mails import tell
from examples.signup.settings import EFFECT_TIMEOUT_S, SWEEP_EVERY_S, webhook_secrets
from troth import Tx
from troth.inbox import Event, Inbox, Page, StripeSignatures, Superseded
from troth.integrations.stripe_events import events_since
from troth.machine import Machine, Transition

ANSWERS_WITHIN = timedelta(seconds=2 * EFFECT_TIMEOUT_S)
"""Of the provider, to what is asked because of an event. So long, too, others wait for a process that died while it asked."""

LIVE = {"incomplete", "trialing", "active", "past_due", "unpaid"}

subscription = troth.include(
    Machine(
        "subscription",
        initial="incomplete",
        final={"canceled", "incomplete_expired"},
        transitions=[
            Transition("begin_trial", "incomplete", "trialing"),
            Transition("pay", {"incomplete", "trialing", "past_due", "unpaid"}, "active"),
            Transition("miss_payment", {"trialing", "active"}, "past_due"),
            Transition("give_up_payment", "past_due", "unpaid"),
            Transition("cancel", LIVE, "canceled"),
            Transition("expire", "incomplete", "incomplete_expired"),
        ],
    )
)

stripe_events = troth.include(
    Inbox(
        "stripe",
        scheme=StripeSignatures(secrets=webhook_secrets(), tolerance=timedelta(minutes=5)),
        handler_timeout=ANSWERS_WITHIN,
    )
)


async def begin(tx: Tx, subscription_id: str, *, trial: bool, cause: str) -> None:
    """It was made just now: its first state, unless an event was here before. Later ones are told by events."""
    state = "trialing" if trial else "active"
    await subscription.observe(tx, subscription_id, state, version=1, cause=cause, by="signup")


@dataclass(frozen=True)
class Current:
    """A subscription as the provider has it now."""

    id: str
    status: str
    account: UUID | None


async def fetch(event: Event) -> Current | None:
    """Ask the provider; None for an object that it does not know (any more)."""
    try:
        found = await provider().v1.subscriptions.retrieve_async(event.object_key)
    except stripe.InvalidRequestError as error:
        if error.code != "resource_missing":
            raise
        return None
    known: dict[str, str] = found.metadata.to_dict()
    account = known.get("account")
    return Current(found.id, found.status, UUID(account) if account else None)


@stripe_events.hint("customer.subscription.*", fetch=fetch)
async def subscription_changed(tx: Tx, event: Event, current: Current | None) -> Superseded | None:
    """Bring our state to the provider's, and tell the person what it means, in one commit."""
    if current is None:
        return Superseded("the provider does not know it any more")
    seen = await subscription.observe(
        tx,
        current.id,
        current.status,
        version=await moment(tx),
        cause=event.id,
        by="stripe",
        why=event.type,
    )
    if seen.state != seen.from_state and current.account is not None:
        await tell(tx, current.account, was=seen.from_state, now=seen.state)
    return None


async def moment(tx: Tx) -> int:
    """Events of one subscription are applied one after the other, so the time of applying orders them: microseconds."""
    row = await (
        await tx.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
    ).fetchone()
    assert row is not None
    return int(row[0])


async def list_since(cursor: str | None) -> Page:
    """The provider's own list of events, behind a cursor."""
    return await events_since(provider().v1.events.list_async, cursor)


stripe_events.sweep(
    every=timedelta(seconds=SWEEP_EVERY_S), list_since=list_since, page_timeout=ANSWERS_WITHIN
)
