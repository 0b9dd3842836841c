"""Amounts as the people of a place write them: for pages and mails, never to be read back. Needs `troth[babel]`.

How many decimals are shown is ISO 4217's to say. CLDR, which Babel carries, would leave out those of a dozen currencies
(Iraqi dinar, Lao kip) because they are not in use as coins; on an account they count.
"""

from __future__ import annotations

from babel import Locale
from babel.numbers import parse_pattern

from troth.base.currencies import Currency
from troth.base.money import Money


def display(money: Money, locale: str | Locale = "en_US") -> str:
    """*money* with the signs and separators of *locale* ("de_DE"): "1.234,50 €". Nothing is rounded.

    Raises what Babel raises for a locale that it does not know.
    """
    place = Locale.parse(locale)
    exponent = Currency.of(money.currency).exponent
    pattern = parse_pattern(place.currency_formats["standard"].pattern)
    pattern.frac_prec = (exponent, exponent)
    shown: str = pattern.apply(money.decimal, place, currency=money.currency, currency_digits=False)
    return shown
