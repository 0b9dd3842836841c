"""Money: a whole number of a currency's smallest units, and the currency. Never a float, never a sum of two currencies.

How many decimals a currency has is ISO 4217's to say (`troth.base.currencies`), not a locale's and not a provider's. What
cannot be done exactly (a third of a cent, a rate) asks for a rounding by name, or gives the rest back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import gcd
from typing import Any, Final, NamedTuple

import msgspec

from troth.base.currencies import Currency
from troth.base.errors import MoneyError

LARGEST: Final = 2**63 - 1
"""The most minor units, either way: what a bigint of PostgreSQL holds, 92 quadrillion euros."""

_WRITTEN = re.compile(r"([+-]?)([0-9]{1,30})(?:\.([0-9]{1,30}))?")


class Rounding(StrEnum):
    """What becomes of a part of the smallest unit. The names are those of `decimal`, as far as it has them."""

    HALF_EVEN = "half_even"
    """To the nearest; from the middle to the even one, so that many roundings do not drift."""
    HALF_UP = "half_up"
    """To the nearest; from the middle away from zero. What tax offices mostly ask for."""
    HALF_DOWN = "half_down"
    """To the nearest; from the middle towards zero."""
    UP = "up"
    """Away from zero."""
    DOWN = "down"
    """Towards zero."""
    CEILING = "ceiling"
    """Towards plus infinity."""
    FLOOR = "floor"
    """Towards minus infinity."""
    EXACT = "exact"
    """There must be no such part; `MoneyError` if there is."""


class Money(msgspec.Struct, frozen=True):
    """An amount: `Money(1234, "EUR")` is 12.34 EUR.

    *minor*: a whole number of the currency's smallest units (cents), at most `LARGEST` either way. *currency*: its ISO 4217
    code in capitals; one that was withdrawn still counts, so that old records can be read. Raises `MoneyError` for
    anything else: a float, a Decimal and a bool are refused, not converted.

    Equal and hashable by both fields, ordered within a currency; false if nothing. As JSON it is an object of its two
    fields, so steps, messages and requests may hold it.
    """

    minor: int
    currency: str

    def __post_init__(self) -> None:
        if type(self.minor) is not int:
            raise MoneyError(
                f"Money takes a whole number of minor units, not {self.minor!r} ({type(self.minor).__name__})."
                " For '12.34' use Money.parse, for a Decimal Money.of"
            )
        if not -LARGEST <= self.minor <= LARGEST:
            raise MoneyError(f"{self.minor} minor units are more than Money holds ({LARGEST})")
        Currency.of(self.currency)

    # From and to what people and others write ------------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str, currency: str) -> Money:
        """The amount written as digits, with a point before its decimals: "12.34", "-0.5", "1000".

        Nothing is guessed: no thousands separators, no comma, no exponent, no spaces. Zeros behind the last decimal of
        the currency are allowed, other digits there are not. Raises `MoneyError`.
        """
        unit = Currency.of(currency)
        written = _WRITTEN.fullmatch(text) if type(text) is str else None
        if written is None:
            raise MoneyError(
                f"{text!r} is not an amount: write digits, with a point before the decimals, as 12.34"
            )
        sign, whole, decimals = written.groups(default="")
        exact = decimals[: unit.exponent].ljust(unit.exponent, "0")
        if decimals[unit.exponent :].strip("0"):
            raise MoneyError(f"{text!r} has parts of the smallest unit: {unit} {_decimals(unit)}")
        return cls(int(f"{sign}{whole}{exact}"), currency)

    @classmethod
    def of(cls, amount: Decimal | Fraction | int, currency: str) -> Money:
        """*amount* in whole units (`Money.of(Decimal("12.34"), "EUR")`), which must be exact to the smallest one.

        Raises `MoneyError` for a float, for what is not finite, and if something would have to be rounded.
        """
        unit = Currency.of(currency)
        exact = _fraction(amount, "an amount") * 10**unit.exponent
        if exact.denominator != 1:
            raise MoneyError(f"{amount} has parts of the smallest unit: {unit} {_decimals(unit)}")
        return cls(exact.numerator, currency)

    @property
    def decimal(self) -> Decimal:
        """The amount in whole units, with all decimals of its currency: `Decimal("12.30")`."""
        return Decimal(self.text())

    def text(self) -> str:
        """The amount in whole units, without the currency: "12.30". `Money.parse` reads it."""
        exponent = Currency.of(self.currency).exponent
        digits = str(abs(self.minor)).rjust(exponent + 1, "0")
        sign = "-" if self.minor < 0 else ""
        return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}" if exponent else sign + digits

    def __str__(self) -> str:
        return f"{self.text()} {self.currency}"

    # Within one currency ---------------------------------------------------------------------------------------------

    def __add__(self, other: Money) -> Money:
        return Money(self.minor + self._same(other, "add"), self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.minor - self._same(other, "subtract"), self.currency)

    def __neg__(self) -> Money:
        return Money(-self.minor, self.currency)

    def __abs__(self) -> Money:
        return Money(abs(self.minor), self.currency)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __lt__(self, other: Money) -> bool:
        return self.minor < self._same(other, "compare")

    def __le__(self, other: Money) -> bool:
        return self.minor <= self._same(other, "compare")

    def __gt__(self, other: Money) -> bool:
        return self.minor > self._same(other, "compare")

    def __ge__(self, other: Money) -> bool:
        return self.minor >= self._same(other, "compare")

    def __mul__(self, count: int) -> Money:
        if type(count) is not int:
            raise MoneyError(
                f"Money * {count!r}: only a whole number multiplies exactly; use .times(Fraction(…), Rounding.…)"
            )
        return Money(self.minor * count, self.currency)

    __rmul__ = __mul__

    def __radd__(self, other: object) -> Money:
        raise MoneyError(
            f"cannot add {other!r} and {self}; the sum of many is Money.total(…, currency)"
        )

    @classmethod
    def total(cls, amounts: Iterable[Money], currency: str) -> Money:
        """The sum of *amounts*, all of *currency*; nothing at all is zero of it. Raises `MoneyError`."""
        zero = cls(0, currency)
        return cls(sum(zero._same(each, "add") for each in amounts), currency)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> Any:
        """For fields of pydantic models and FastAPI: an object of two fields, strictly. Called by pydantic alone."""
        from pydantic_core import core_schema as schema

        fields = schema.typed_dict_schema(
            {
                "minor": schema.typed_dict_field(schema.int_schema(strict=True)),
                "currency": schema.typed_dict_field(schema.str_schema(pattern="^[A-Z]{3}$")),
            },
            extra_behavior="forbid",
        )
        made = schema.no_info_after_validator_function(lambda given: cls(**given), fields)
        return schema.json_or_python_schema(
            json_schema=made,
            python_schema=schema.union_schema([schema.is_instance_schema(cls), made]),
            serialization=schema.plain_serializer_function_ser_schema(
                msgspec.structs.asdict, return_schema=fields
            ),
        )

    def _same(self, other: object, verb: str) -> int:
        if not isinstance(other, Money):
            raise MoneyError(
                f"cannot {verb} {self} and {other!r} ({type(other).__name__}): it is no Money"
            )
        if other.currency != self.currency:
            raise MoneyError(
                f"cannot {verb} {self} and {other}: two currencies meet only by an ExchangeRate"
            )
        return other.minor

    # What does not come out even -------------------------------------------------------------------------------------

    def times(self, factor: Fraction | Decimal | int, rounding: Rounding) -> Money:
        """This times *factor* (a tax rate, a share), rounded to the smallest unit as *rounding* says.

        Raises `MoneyError` for a float, and for a part of the smallest unit if *rounding* is `EXACT`.
        """
        exact = self.minor * _fraction(factor, "a factor")
        return Money(round_to_whole(exact, rounding), self.currency)

    def allocate(self, weights: Sequence[int | Fraction | Decimal]) -> list[Money]:
        """Parts in proportion to *weights*, in their order; together they are this amount, to the smallest unit.

        Each part is rounded towards zero; the units that are left go, one each, to the parts that lost most by that
        (largest remainder), and among equals to the earlier. Raises `MoneyError` unless weights are non-negative and one
        of them is positive.
        """
        exact = [_fraction(weight, "a weight") for weight in weights]
        whole = sum(exact, Fraction(0))
        if whole <= 0 or min(exact) < 0:
            raise MoneyError(
                f"cannot allocate {self} by {list(weights)!r}: weights must not be negative, and one must be positive"
            )
        quotas = [abs(self.minor) * weight / whole for weight in exact]
        parts = [quota.numerator // quota.denominator for quota in quotas]
        left = abs(self.minor) - sum(parts)
        lost = sorted(range(len(parts)), key=lambda place: (parts[place] - quotas[place], place))
        for place in lost[:left]:
            parts[place] += 1
        sign = -1 if self.minor < 0 else 1
        return [Money(sign * part, self.currency) for part in parts]

    def split(self, parts: int) -> list[Money]:
        """So many parts, as equal as can be, the larger ones first. Raises `MoneyError` for fewer than one."""
        if type(parts) is not int or parts < 1:
            raise MoneyError(f"cannot split {self} into {parts!r} parts: say a whole number from 1")
        return self.allocate([1] * parts)


class Exchanged(NamedTuple):
    """What an exchange gives.

    *money*: in the other currency. *rest*: what rounding took away, in that currency's smallest units, between -1 and 1
    and exact: *money* and *rest* together are the amount times the rate.
    """

    money: Money
    rest: Fraction


class ExchangeRate(msgspec.Struct, frozen=True):
    """One unit of *base* is *numerator*/*denominator* units of *quote*: a ratio of whole numbers, never a float.

    Made by `ExchangeRate.of("EUR", "USD", Decimal("1.0842"))`. Units are whole ones (euros, not cents); the decimals of
    both currencies are taken into account. Raises `MoneyError` unless the ratio is positive and in lowest terms and the
    currencies differ.
    """

    base: str
    quote: str
    numerator: int
    denominator: int = 1

    def __post_init__(self) -> None:
        Currency.of(self.base)
        Currency.of(self.quote)
        if self.base == self.quote:
            raise MoneyError(f"a rate is between two currencies, not {self.base} and {self.quote}")
        ratio = (self.numerator, self.denominator)
        whole = type(self.numerator) is int and type(self.denominator) is int
        if not whole or min(ratio) < 1 or gcd(*ratio) != 1:
            raise MoneyError(
                f"a rate is a positive ratio in lowest terms, not {self.numerator!r}/{self.denominator!r};"
                " see ExchangeRate.of"
            )

    @classmethod
    def of(cls, base: str, quote: str, rate: Decimal | Fraction | int) -> ExchangeRate:
        """The rate as it is quoted: a Decimal becomes the ratio that it is. Raises `MoneyError` for a float."""
        exact = _fraction(rate, "a rate")
        return cls(base, quote, exact.numerator, exact.denominator)

    @property
    def rate(self) -> Fraction:
        """Units of *quote* for one of *base*."""
        return Fraction(self.numerator, self.denominator)

    def inverse(self) -> ExchangeRate:
        """The same rate seen from the other side, exactly."""
        return ExchangeRate(self.quote, self.base, self.denominator, self.numerator)

    def exchange(self, money: Money, rounding: Rounding) -> Exchanged:
        """What *money*, of *base*, is in *quote*, and the rest. Raises `MoneyError` for another currency."""
        if money.currency != self.base:
            raise MoneyError(
                f"{money} is not {self.base}, which this rate changes into {self.quote}"
            )
        shift = Currency.of(self.quote).exponent - Currency.of(self.base).exponent
        exact = money.minor * self.rate * Fraction(10) ** shift
        whole = round_to_whole(exact, rounding)
        return Exchanged(Money(whole, self.quote), exact - whole)


def round_to_whole(exact: Fraction, rounding: Rounding) -> int:
    """*exact* as a whole number. Raises `MoneyError` if it is none and *rounding* is `EXACT`."""
    below, part = divmod(exact.numerator, exact.denominator)
    if part == 0:
        return below
    if rounding is Rounding.EXACT:
        raise MoneyError(
            f"{exact} is not a whole number of minor units, and nothing may be rounded"
        )
    negative = exact < 0
    middle = 2 * part == exact.denominator
    nearer_above = 2 * part > exact.denominator
    above = {
        Rounding.FLOOR: False,
        Rounding.CEILING: True,
        Rounding.DOWN: negative,
        Rounding.UP: not negative,
        Rounding.HALF_EVEN: nearer_above or (middle and below % 2 == 1),
        Rounding.HALF_UP: nearer_above or (middle and not negative),
        Rounding.HALF_DOWN: nearer_above or (middle and negative),
    }
    return below + above[Rounding(rounding)]


def _fraction(value: Decimal | Fraction | int, what: str) -> Fraction:
    if type(value) is Fraction:
        return value
    if type(value) is int or (isinstance(value, Decimal) and value.is_finite()):
        return Fraction(value)
    raise MoneyError(
        f"{value!r} ({type(value).__name__}) is not {what}: give a Decimal, a Fraction or an int, never a float"
    )


def _decimals(unit: Currency) -> str:
    return f"has {unit.exponent} decimals" if unit.exponent else "has no decimals"
