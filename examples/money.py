"""An invoice in yen for a customer who pays in euros: tax, three instalments, a rate. Every unit is accounted for."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from troth import ExchangeRate, Money, MoneyError, Rounding


def main() -> None:
    net = Money.parse("12.99", "EUR")
    tax = net.times(Fraction(19, 100), Rounding.HALF_UP)
    due = net + tax
    print(f"{net} and {tax} tax are {due}")

    parts = due.split(3)
    print("in three parts:", ", ".join(str(part) for part in parts))
    assert Money.total(parts, "EUR") == due

    rate = ExchangeRate.of("EUR", "JPY", Decimal("162.35"))
    yen, rest = rate.exchange(due, Rounding.HALF_EVEN)
    print(f"{due} are {yen}, and {rest} of a yen is left")

    mistakes: list[Callable[[], object]] = [
        lambda: due + yen,
        lambda: Money(15.46, "EUR"),  # type: ignore[arg-type]  # mypy says so, too
        lambda: due * 1.19,  # type: ignore[operator]
    ]
    for mistake in mistakes:
        try:
            mistake()
        except MoneyError as error:
            print("refused:", error)


if __name__ == "__main__":
    main()
