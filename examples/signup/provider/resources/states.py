"""The life of a subscription, as data.

Sources: docs.stripe.com/billing/subscriptions/overview (statuses) and .../webhooks (events). Not
modelled: `unpaid` and `paused`, which Stripe reaches only by settings that this server does not have.
"""

from collections.abc import Mapping

from examples.signup.provider.errors import ApiError

DAY = 24 * 60 * 60

LIVE = ("trialing", "active", "incomplete", "past_due", "unpaid", "paused")
ENDED = ("canceled", "incomplete_expired")

TRANSITIONS: Mapping[tuple[str | None, str], str] = {
    (None, "trial"): "trialing",
    (None, "paid"): "active",
    (None, "unpaid"): "incomplete",
    ("incomplete", "paid"): "active",
    ("incomplete", "expired"): "incomplete_expired",
    ("incomplete", "canceled"): "canceled",
    ("trialing", "trial"): "trialing",
    ("trialing", "paid"): "active",
    ("trialing", "unpaid"): "past_due",
    ("trialing", "canceled"): "canceled",
    ("active", "trial"): "trialing",
    ("active", "paid"): "active",
    ("active", "unpaid"): "past_due",
    ("active", "canceled"): "canceled",
    ("past_due", "paid"): "active",
    ("past_due", "unpaid"): "past_due",
    ("past_due", "exhausted"): "canceled",
    ("past_due", "canceled"): "canceled",
}
"""The status after what happened; None is a subscription that is being made.

`trial`: a trial begins or its end moves. `paid`, `unpaid`: the latest invoice. `exhausted`: its last
retry failed. `expired`: the first payment did not come in time. `canceled`: on request.
"""

WARN_BEFORE = 3 * DAY
"""How long before its end a trial is announced to end; a shorter one at once."""

EXPIRE_AFTER = 23 * 60 * 60
"""How long an incomplete subscription waits for its first payment."""

RETRY_AFTER = (3 * DAY, 5 * DAY, 7 * DAY)
"""From one failed attempt to the next. After the last one the subscription is canceled."""


def step(status: str | None, happening: str) -> str:
    """The next status. Raises `ApiError` 400 where the table has none."""
    after = TRANSITIONS.get((status, happening))
    if after is None:
        message = f"This subscription cannot be updated because it has a status of {status}."
        raise ApiError(400, message)
    return after


def next_attempt(attempts: int, now: int) -> int | None:
    """When to try again after so many attempts; None after the last."""
    return now + RETRY_AFTER[attempts - 1] if attempts <= len(RETRY_AFTER) else None
