"""Which currencies there are, and how many decimals each has: ISO 4217, as of the date that `troth.base.iso4217` carries."""

from __future__ import annotations

from functools import cache

import msgspec

from troth.base.errors import MoneyError
from troth.base.iso4217 import CURRENT, WITHDRAWN


class Currency(msgspec.Struct, frozen=True):
    """A currency of ISO 4217 that has a smallest unit (gold and drawing rights have none).

    *code*: three capitals. *number*: its numeric code. *exponent*: how many decimals it has (EUR 2, JPY 0, BHD 3).
    *name*: as the standard writes it. *withdrawn*: it has left the standard, and old records may still hold it.
    """

    code: str
    number: int
    exponent: int
    name: str
    withdrawn: bool = False

    @staticmethod
    def of(code: str) -> Currency:
        """The currency of this code, written in capitals. Raises `MoneyError` for any other."""
        if type(code) is str:
            found = _all().get(code)
            if found is not None:
                return found
            if code.upper() in _all():
                raise MoneyError(f"{code!r} is no currency: write {code.upper()!r}")
        raise MoneyError(
            f"{code!r} is no currency with a smallest unit in ISO 4217, as EUR, JPY or BHD"
        )

    @staticmethod
    def current() -> list[Currency]:
        """All that the standard has today, by code."""
        return [each for each in _all().values() if not each.withdrawn]

    def __str__(self) -> str:
        return self.code


@cache
def _all() -> dict[str, Currency]:
    rows = [
        *(Currency(code, *row) for code, row in CURRENT.items()),
        *(Currency(code, *row, withdrawn=True) for code, row in WITHDRAWN.items()),
    ]
    return {each.code: each for each in rows}
