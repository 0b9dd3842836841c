"""Stripe's own lists as their side of a reconciliation.

StripeList("charges", client.v1.charges.list_async, charge)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

from troth.integrations.stripe_money import from_stripe
from troth.reconcile import Item, Page, Standing, Window

PAGE: Final = 100  # the most that Stripe gives at once
KEY: Final = (
    "troth_key"  # where the effect's key is in an object's metadata, if you have put it there
)

_CHARGES: Final = {
    "succeeded": Standing.DONE,
    "pending": Standing.PENDING,
    "failed": Standing.FAILED,
}
_REFUNDS: Final = {
    **_CHARGES, "requires_action": Standing.PENDING, "canceled": Standing.FAILED,
}  # fmt: skip
_PAYOUTS: Final = {
    "paid": Standing.DONE, "pending": Standing.PENDING, "in_transit": Standing.PENDING,
    "canceled": Standing.FAILED, "failed": Standing.FAILED,
}  # fmt: skip


class StripeList:
    """One of Stripe's lists, by when its objects were created, the newest first.

    *listing* is the SDK's, such as `client.v1.charges.list_async`; *item* makes an item of an object (`charge`, `refund`,
    `balance_transaction`, `payout`, or your own); None: it moves nothing. Stripe gives no count, so the list is read twice,
    and must be the same. Raises what *listing* raises.
    """

    def __init__(
        self,
        name: str,
        listing: Callable[[Any], Awaitable[Any]],
        item: Callable[[Any], Item | None],
        *,
        size: int = PAGE,
    ) -> None:
        self.name = f"stripe {name}"
        self._listing = listing
        self._item = item
        self._size = size

    async def page(self, cursor: str | None, window: Window) -> Page:
        """The objects behind the one that *cursor* names."""
        params: dict[str, Any] = {
            "limit": self._size,
            "created": {"gte": int(window.first.timestamp()), "lt": ceil(window.last.timestamp())},
        }
        if cursor is not None:
            params["starting_after"] = cursor
        listed = await self._listing(params)
        made = [self._item(each) for each in listed.data]
        items = [each for each in made if each is not None and window.reaches(each.at)]
        return Page(items, listed.data[-1].id if listed.has_more else None)


def charge(found: Any) -> Item:
    """A charge: what was captured of it. One that was refunded as a whole is `REVERSED`, one that is not captured `PENDING`."""
    standing, amount = _CHARGES[found.status], found.amount
    if standing is Standing.DONE and not found.captured:
        standing = Standing.PENDING
    elif standing is Standing.DONE:
        amount = found.amount_captured
        standing = Standing.REVERSED if found.refunded else standing
    return _item(found, amount, standing, "charge", group="")


def refund(found: Any) -> Item:
    """A refund: money that leaves us."""
    return _item(found, -found.amount, _REFUNDS[found.status], "refund", group="")


def payout(found: Any) -> Item:
    """A payout: money that leaves our balance with Stripe for our bank. Its reference is its id, which our bank may show."""
    return _item(found, -found.amount, _PAYOUTS[found.status], "payout", group=found.id)


def balance_transaction(found: Any) -> Item:
    """A movement of our balance with Stripe: gross, with the fee that was kept; its reference is what has caused it."""
    standing = Standing.DONE if found.status == "available" else Standing.PENDING
    source = found.source if isinstance(found.source, str) else getattr(found.source, "id", "")
    kind = getattr(found, "reporting_category", None) or found.type
    return _item(
        found, found.amount, standing, kind, group="", reference=source or "", fee=found.fee
    )


def _item(
    found: Any, amount: int, standing: Standing, kind: str, *, group: str, reference: str = "", fee: int = 0
) -> Item:  # fmt: skip
    money = from_stripe(amount, found.currency)
    metadata: Any = getattr(found, "metadata", None) or {}
    said = metadata if isinstance(metadata, dict) else metadata.to_dict()
    return Item(
        found.id, money.minor, money.currency, datetime.fromtimestamp(found.created, UTC), said.get(KEY) or None,
        standing, kind, from_stripe(fee, found.currency).minor, reference or found.id, group, f"stripe {found.id}",
    )  # fmt: skip
