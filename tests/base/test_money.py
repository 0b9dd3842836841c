"""Money: exact or refused, one currency at a time, and parts that sum to the whole."""

from __future__ import annotations

import dataclasses
import decimal
from decimal import Decimal
from fractions import Fraction

import iso4217
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import gen_currencies
from troth import ExchangeRate, Money, MoneyError, PayloadError, Rounding
from troth.base import codec
from troth.base.codec import Arguments, Codec
from troth.base.currencies import Currency
from troth.base.iso4217 import CURRENT, PUBLISHED
from troth.base.money import LARGEST, round_to_whole

codes = st.sampled_from([each.code for each in Currency.current()])
minors = st.integers(-(10**15), 10**15)
moneys = st.builds(Money, minors, codes)
fractions = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=10**6)
roundings = st.sampled_from([each for each in Rounding if each is not Rounding.EXACT])


# The table ------------------------------------------------------------------------------------------------------------


def test_the_table_is_what_the_standard_publishes() -> None:
    assert gen_currencies.TABLE.read_text() == gen_currencies.text(), (
        "run `python -m tools.gen_currencies`"
    )
    assert str(iso4217.__published__) == PUBLISHED
    assert {each.code for each in Currency.current()} == set(CURRENT)


def test_a_currency_that_leaves_the_standard_stays_readable() -> None:
    assert Currency.of("HRK").withdrawn
    assert str(Money(100, "BGN")) == "1.00 BGN"
    assert "BGN" not in {each.code for each in Currency.current()}


@pytest.mark.parametrize("code", ["XAU", "EURO", "", "eur ", None, 978, b"EUR"])
def test_what_is_no_currency_is_refused(code) -> None:
    with pytest.raises(MoneyError, match="no currency with a smallest unit"):
        Money(1, code)


def test_a_code_in_small_letters_is_told_apart_from_an_unknown_one() -> None:
    with pytest.raises(MoneyError, match="write 'EUR'"):
        Money(1, "eur")


# What is an amount ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", [12.0, 12.34, Decimal(12), Fraction(12), True, "12", None])
def test_only_a_whole_number_is_minor_units(minor) -> None:
    with pytest.raises(MoneyError, match=type(minor).__name__):
        Money(minor, "EUR")


def test_money_is_as_large_as_a_bigint() -> None:
    assert Money(LARGEST, "EUR").minor == 2**63 - 1
    for beyond in (LARGEST + 1, -LARGEST - 1):
        with pytest.raises(MoneyError, match="more than Money holds"):
            Money(beyond, "EUR")
    with pytest.raises(MoneyError, match="more than Money holds"):
        Money(LARGEST, "EUR") + Money(1, "EUR")


@pytest.mark.parametrize(
    ("text", "currency", "minor"),
    [
        ("12.34", "EUR", 1234),
        ("-0.05", "EUR", -5),
        ("+7", "EUR", 700),
        ("7.5", "EUR", 750),
        ("7.50000", "EUR", 750),
        ("7.000", "JPY", 7),
        ("0.001", "BHD", 1),
        ("-0", "EUR", 0),
    ],
)
def test_written_amounts_are_read_exactly(text, currency, minor) -> None:
    assert Money.parse(text, currency) == Money(minor, currency)


@pytest.mark.parametrize(
    "text",
    ["", "1,50", "1.", ".5", "1e2", " 1", "1 ", "1.005", "--1", "١", "1_0", "NaN", "€1", "1.0\n"],
)
def test_nothing_is_guessed(text) -> None:
    with pytest.raises(MoneyError, match=r"is not an amount|parts of the smallest unit"):
        Money.parse(text, "EUR")


def test_a_number_is_not_a_written_amount() -> None:
    with pytest.raises(MoneyError, match=r"12\.5 is not an amount"):
        Money.parse(12.5, "EUR")  # type: ignore[arg-type]


def test_decimals_count_if_they_are_exact() -> None:
    assert Money.of(Decimal("12.34"), "EUR") == Money(1234, "EUR")
    assert Money.of(Decimal("1E+3"), "EUR") == Money(100000, "EUR")
    assert Money.of(Fraction(1, 4), "EUR") == Money(25, "EUR")
    assert Money.of(3, "JPY") == Money(3, "JPY")
    for inexact in (Decimal("0.001"), Fraction(1, 3)):
        with pytest.raises(MoneyError, match="parts of the smallest unit"):
            Money.of(inexact, "EUR")
    for no in (0.1, Decimal("NaN"), Decimal("Infinity"), True, "1"):
        with pytest.raises(MoneyError, match="never a float"):
            Money.of(no, "EUR")  # type: ignore[arg-type]


@given(moneys)
def test_what_is_written_is_read_back(money) -> None:
    assert Money.parse(money.text(), money.currency) == money
    assert Money.of(money.decimal, money.currency) == money
    assert str(money) == f"{money.text()} {money.currency}"
    assert hash(money) == hash(Money(money.minor, money.currency))


# Arithmetic -----------------------------------------------------------------------------------------------------------


@given(minors, minors, codes)
def test_arithmetic_is_that_of_whole_numbers(a, b, code) -> None:
    x, y = Money(a, code), Money(b, code)
    assert (x + y).minor == a + b
    assert (x - y).minor == a - b
    assert (-x).minor == -a
    assert abs(x).minor == abs(a)
    assert (x * 3, 3 * x) == (Money(3 * a, code), Money(3 * a, code))
    assert (x < y, x <= y, x > y, x >= y, x == y) == (a < b, a <= b, a > b, a >= b, a == b)
    assert bool(x) is bool(a)
    assert Money.total([x, y, x], code).minor == 2 * a + b


def test_the_sum_of_nothing_has_a_currency() -> None:
    assert Money.total([], "EUR") == Money(0, "EUR")
    with pytest.raises(MoneyError, match=r"Money\.total"):
        sum([Money(1, "EUR")])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "operation", ["__add__", "__sub__", "__lt__", "__le__", "__gt__", "__ge__"]
)
def test_currencies_do_not_meet(operation) -> None:
    with pytest.raises(MoneyError, match=r"1\.00 EUR and 1\.00 USD"):
        getattr(Money(100, "EUR"), operation)(Money(100, "USD"))
    with pytest.raises(MoneyError, match="it is no Money"):
        getattr(Money(100, "EUR"), operation)(100)
    assert Money(100, "EUR") != Money(100, "USD")


def test_a_float_never_multiplies() -> None:
    for factor in (1.5, True, Decimal(2), Fraction(2)):
        with pytest.raises(MoneyError, match=r"\.times\("):
            Money(100, "EUR") * factor  # type: ignore[operator]
    with pytest.raises(MoneyError, match="never a float"):
        Money(100, "EUR").times(1.5, Rounding.HALF_UP)  # type: ignore[arg-type]


# Rounding -------------------------------------------------------------------------------------------------------------


@given(st.integers(-(10**9), 10**9), st.integers(1, 6), roundings)
def test_rounding_is_what_decimal_calls_by_that_name(digits, places, rounding) -> None:
    exact = Fraction(digits, 10**places)
    with decimal.localcontext(prec=50):
        expected = int(
            Decimal(digits).scaleb(-places).quantize(Decimal(1), f"ROUND_{rounding.name}")
        )
    assert round_to_whole(exact, rounding) == expected


@given(moneys, fractions, roundings)
def test_a_product_is_within_one_unit_of_the_exact_one(money, factor, rounding) -> None:
    product = Money(money.minor // 10**6, money.currency).times(factor, rounding)
    off = product.minor - (money.minor // 10**6) * factor
    assert abs(off) < 1
    if rounding.name.startswith("HALF"):
        assert abs(off) <= Fraction(1, 2)


def test_exact_means_exact() -> None:
    assert Money(100, "EUR").times(Fraction(1, 4), Rounding.EXACT) == Money(25, "EUR")
    with pytest.raises(MoneyError, match="nothing may be rounded"):
        Money(100, "EUR").times(Fraction(1, 3), Rounding.EXACT)


# Parts ----------------------------------------------------------------------------------------------------------------

weights = st.lists(st.integers(0, 10**6) | st.fractions(0, 1000), min_size=1, max_size=12).filter(
    any
)


@given(moneys, weights)
def test_parts_sum_to_the_whole_and_none_is_off_by_a_unit(money, parts) -> None:
    shares = money.allocate(parts)
    assert Money.total(shares, money.currency) == money
    for share, weight in zip(shares, parts, strict=True):
        quota = Fraction(money.minor) * weight / sum(parts, Fraction(0))
        assert abs(share.minor - quota) < 1
        if not weight:
            assert not share


@given(moneys, weights)
def test_the_largest_remainders_get_what_is_left_and_ties_go_to_the_earlier(money, parts) -> None:
    """Against an oracle that gives out one unit after the other."""
    whole = sum(parts, Fraction(0))
    quotas = [abs(money.minor) * Fraction(weight) / whole for weight in parts]
    given_out = [int(quota) for quota in quotas]
    for _ in range(abs(money.minor) - sum(given_out)):
        worst = max(range(len(parts)), key=lambda place: (quotas[place] - given_out[place], -place))
        given_out[worst] += 1
    sign = -1 if money.minor < 0 else 1
    assert [share.minor for share in money.allocate(parts)] == [sign * each for each in given_out]


def test_splits_are_as_equal_as_can_be() -> None:
    assert [part.minor for part in Money(100, "EUR").split(3)] == [34, 33, 33]
    assert [part.minor for part in Money(-100, "EUR").split(3)] == [-34, -33, -33]
    for parts in (0, -1, True, 1.5):
        with pytest.raises(MoneyError, match="from 1"):
            Money(100, "EUR").split(parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [[], [0, 0], [1, -1], [0.5, 0.5]])
def test_weights_that_divide_nothing_are_refused(bad) -> None:
    with pytest.raises(MoneyError):
        Money(100, "EUR").allocate(bad)


# Exchange -------------------------------------------------------------------------------------------------------------


def test_a_rate_minds_the_decimals_of_both_sides() -> None:
    yen = ExchangeRate.of("EUR", "JPY", Decimal("162.5"))
    assert yen.exchange(Money(1001, "EUR"), Rounding.HALF_EVEN) == (
        Money(1627, "JPY"),
        Fraction(-3, 8),
    )
    assert yen.inverse().exchange(Money(325, "JPY"), Rounding.EXACT) == (Money(200, "EUR"), 0)
    assert yen.inverse().inverse() == yen


@given(minors, codes, codes, st.fractions(Fraction(1, 1000), 1000), roundings)
def test_an_exchange_and_its_rest_are_the_amount_times_the_rate(
    minor, base, quote, rate, rounding
) -> None:
    if base == quote:
        return
    changed, rest = ExchangeRate.of(base, quote, rate).exchange(
        Money(minor // 10**6, base), rounding
    )
    units = [10 ** Currency.of(code).exponent for code in (quote, base)]
    assert changed.minor + rest == (minor // 10**6) * rate * Fraction(*units)
    assert abs(rest) < 1


@pytest.mark.parametrize(
    ("base", "quote", "rate"),
    [
        ("EUR", "EUR", 1),
        ("EUR", "XAU", 1),
        ("EUR", "USD", 0),
        ("EUR", "USD", -1),
        ("EUR", "USD", 1.1),
    ],
)
def test_what_is_no_rate_is_refused(base, quote, rate) -> None:
    with pytest.raises(MoneyError):
        ExchangeRate.of(base, quote, rate)


def test_a_rate_is_for_its_base_alone_and_in_lowest_terms() -> None:
    with pytest.raises(MoneyError, match="is not EUR"):
        ExchangeRate.of("EUR", "USD", 1).exchange(Money(1, "GBP"), Rounding.EXACT)
    with pytest.raises(MoneyError, match="lowest terms"):
        ExchangeRate("EUR", "USD", 2, 2)


# As a payload ---------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Invoice:
    number: str
    due: Money
    rate: ExchangeRate | None = None


def test_payloads_hold_money() -> None:
    invoice = Invoice("R-7", Money(1999, "EUR"), ExchangeRate.of("EUR", "USD", Decimal("1.08")))
    data = codec.encode(invoice)
    assert codec.decode(data)["due"] == {"currency": "EUR", "minor": 1999}
    assert Codec(Invoice, where="invoice").decode(data) == invoice

    def pay(amount: Money, parts: list[Money]) -> None: ...

    arguments = Arguments(pay)
    sent = arguments.encode((Money(3, "JPY"), [Money(1, "EUR")]), {})
    assert arguments.decode(sent) == ((), {"amount": Money(3, "JPY"), "parts": [Money(1, "EUR")]})


@pytest.mark.parametrize(
    "data",
    [
        b'{"minor":1,"currency":"euro"}',
        b'{"minor":1.5,"currency":"EUR"}',
        b'{"minor":"1","currency":"EUR"}',
        b"{}",
    ],
)
def test_a_payload_that_is_no_money_is_told(data) -> None:
    with pytest.raises(PayloadError, match="does not fit"):
        Codec(Money, where="price").decode(data)


def test_pydantic_models_hold_money() -> None:
    class Order(pydantic.BaseModel):
        total: Money

    order = Order.model_validate({"total": {"minor": 5, "currency": "EUR"}})
    assert order.total == Money(5, "EUR")
    assert Order.model_validate_json(order.model_dump_json()) == order
    assert Order.model_validate({"total": Money(5, "EUR")}) == order
    assert set(Order.model_json_schema()["properties"]["total"]["properties"]) == {
        "minor",
        "currency",
    }
    for bad in ({"minor": 5.0, "currency": "EUR"}, {"minor": 5, "currency": "E"}, "5 EUR"):
        with pytest.raises(pydantic.ValidationError):
            Order.model_validate({"total": bad})


def test_money_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Money(1, "EUR").minor = 2  # type: ignore[misc]
