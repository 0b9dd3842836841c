"""Amounts as Stripe's API writes them: its decimals are not those of ISO 4217 everywhere, and not every amount may be sent.

The tables are Stripe's page on currencies (its zero-decimal list and its special cases, as of 2026-09), as far as it
differs from ISO 4217. Krónur and Ugandan shillings have no decimals and are sent as hundredths that end in 00; ariary have
fifths in ISO 4217 and none at Stripe. The rule for three decimals is from an earlier state of that page.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from troth.base.currencies import Currency
from troth.base.errors import MoneyError
from troth.base.money import Money

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPONENTS: Final[Mapping[str, int]] = MappingProxyType({"ISK": 2, "MGA": 0, "UGX": 2})
"""Decimals at Stripe, where they are others than in ISO 4217."""

STEPS: Final[Mapping[str, int]] = MappingProxyType(
    {"ISK": 100, "UGX": 100} | dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 10)
)
"""What an amount that is sent must be a multiple of, in Stripe's units."""

PAYOUT_STEPS: Final[Mapping[str, int]] = MappingProxyType({"HUF": 100, "TWD": 100})
"""The same for payouts, besides."""


def to_stripe(money: Money, *, payout: bool = False) -> tuple[int, str]:
    """What to send as `amount` and `currency`. Raises `MoneyError` for an amount that Stripe would refuse or misread.

    amount, currency = to_stripe(invoice.due)
    """
    code = money.currency
    ours, theirs = Currency.of(code).exponent, EXPONENTS.get(code, Currency.of(code).exponent)
    amount, rest = divmod(money.minor * 10**theirs, 10**ours)
    step = STEPS.get(code, 1)
    if payout:
        step = max(step, PAYOUT_STEPS.get(code, 1))
    if rest or amount % step:
        kind = "payouts" if payout else "amounts"
        raise MoneyError(
            f"Stripe takes no {money}: its {kind} in {code} are multiples of {step}/{10**theirs}."
            " Round it with Money.times, and book the rest"
        )
    return amount, code.lower()


def from_stripe(amount: int, currency: str) -> Money:
    """The `amount` and `currency` of one of Stripe's objects. Raises `MoneyError` if ISO 4217 has no such amount."""
    if type(amount) is not int:
        raise MoneyError(f"an amount of Stripe's is an int, not {amount!r}")
    code = str(currency).upper()
    ours = Currency.of(code).exponent
    minor, rest = divmod(amount * 10**ours, 10 ** EXPONENTS.get(code, ours))
    if rest:
        raise MoneyError(f"Stripe says {amount} {currency}, which is no whole number of {code}")
    return Money(minor, code)
