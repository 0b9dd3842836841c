"""
Write the table of currencies (src/troth/base/iso4217.py) from the `iso4217` package, which carries ISO's own list.

A currency that has left the list moves to WITHDRAWN, with what the table last said of it: old records hold it.
"""

from pathlib import Path

import iso4217 as published

from troth.base.iso4217 import CURRENT, WITHDRAWN

Rows = dict[str, tuple[int, int, str]]

TABLE = Path(__file__).resolve().parent.parent / "src" / "troth" / "base" / "iso4217.py"


def current() -> Rows:
    """What the package has, without what has no smallest unit (gold, drawing rights, codes for tests)."""
    return {
        each.code: (each.number, each.exponent, each.currency_name)
        for each in sorted(published.Currency, key=lambda each: each.code)
        if each.exponent is not None
    }


def text() -> str:
    """The whole module."""
    now = current()
    gone = {code: row for code, row in (WITHDRAWN | CURRENT).items() if code not in now}
    return f'''"""ISO 4217 of {published.__published__}: code, number, decimals, name. By `tools/gen_currencies.py`; do not edit."""

from typing import Final

PUBLISHED: Final = "{published.__published__}"

CURRENT: Final[dict[str, tuple[int, int, str]]] = {{
{rows(now)}}}

WITHDRAWN: Final[dict[str, tuple[int, int, str]]] = {{
{rows(dict(sorted(gone.items())))}}}
"""No longer in the standard, kept because old records hold them."""
'''


def rows(table: Rows) -> str:
    """Lines of a dict."""
    return "".join(
        f'    "{code}": ({number}, {exponent}, "{name}"),\n'
        for code, (number, exponent, name) in table.items()
    )


def main() -> None:
    """Write it."""
    TABLE.write_text(text())


if __name__ == "__main__":
    main()
