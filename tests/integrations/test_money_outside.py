"""Money at the borders: as Stripe's API writes it, and as people of a place do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from troth import Money, MoneyError
from troth.base.currencies import Currency
from troth.integrations.babel import display
from troth.integrations.stripe_money import EXPONENTS, PAYOUT_STEPS, STEPS, from_stripe, to_stripe

# Stripe's own page: these have no decimals there. (UGX stands in the list, and in the special cases, which win.)
ZERO_DECIMAL = [
    "BIF",
    "CLP",
    "DJF",
    "GNF",
    "JPY",
    "KMF",
    "KRW",
    "MGA",
    "PYG",
    "RWF",
    "VND",
    "VUV",
    "XAF",
    "XOF",
    "XPF",
]


@pytest.mark.parametrize(
    ("money", "sent"),
    [
        (Money(1000, "USD"), (1000, "usd")),
        (Money(500, "JPY"), (500, "jpy")),
        (Money(5, "ISK"), (500, "isk")),
        (Money(5, "UGX"), (500, "ugx")),
        (Money(500, "MGA"), (5, "mga")),
        (Money(5120, "KWD"), (5120, "kwd")),
        (Money(1045, "HUF"), (1045, "huf")),
    ],
)
def test_stripe_is_sent_what_its_page_says(money, sent) -> None:
    assert to_stripe(money) == sent
    assert from_stripe(*sent) == money


@pytest.mark.parametrize("money", [Money(150, "MGA"), Money(5124, "KWD")])
def test_what_stripe_would_refuse_or_misread_is_not_sent(money) -> None:
    with pytest.raises(MoneyError, match="Stripe takes no"):
        to_stripe(money)


@pytest.mark.parametrize("code", sorted(PAYOUT_STEPS))
def test_payouts_of_some_currencies_are_whole(code) -> None:
    assert to_stripe(Money(1000, code), payout=True) == (1000, code.lower())
    assert to_stripe(Money(1045, code)) == (1045, code.lower())
    with pytest.raises(MoneyError, match="payouts"):
        to_stripe(Money(1045, code), payout=True)


def test_an_amount_that_cannot_be_is_not_read() -> None:
    with pytest.raises(MoneyError, match="no whole number of ISK"):
        from_stripe(550, "isk")
    for no in (5.0, True, "5"):
        with pytest.raises(MoneyError, match="is an int"):
            from_stripe(no, "usd")  # type: ignore[arg-type]


def test_the_table_says_only_where_stripe_differs() -> None:
    for code in ZERO_DECIMAL:
        assert EXPONENTS.get(code, Currency.of(code).exponent) == 0
    assert all(Currency.of(code).exponent != theirs for code, theirs in EXPONENTS.items())


codes = st.sampled_from([each.code for each in Currency.current()])


@given(st.integers(-(10**9), 10**9), codes)
def test_what_can_be_sent_is_read_back(count, code) -> None:
    whole = Money(count * 10 ** Currency.of(code).exponent, code)
    amount, currency = to_stripe(whole)
    assert from_stripe(amount, currency) == whole
    assert amount % STEPS.get(code, 1) == 0


@pytest.mark.parametrize(
    ("money", "locale", "shown"),
    [
        (Money(123450, "EUR"), "de_DE", "1.234,50\xa0€"),
        (Money(-123450, "EUR"), "en_US", "-€1,234.50"),
        (Money(1000, "JPY"), "en_US", "¥1,000"),
        (Money(1234567, "IQD"), "en_US", "IQD1,234.567"),
        (Money(100000000000000001, "USD"), "en_US", "$1,000,000,000,000,000.01"),
    ],
)
def test_people_see_every_unit(money, locale, shown) -> None:
    assert display(money, locale) == shown


@given(st.integers(-(10**15), 10**15), codes)
def test_no_locale_rounds(minor, code) -> None:
    shown = display(Money(minor, code), "en_US")
    assert int("".join(each for each in shown if each.isdigit())) == abs(minor)
