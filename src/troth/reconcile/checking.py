"""Is it an item at all? What a source gives is checked before anything of it is believed or kept. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from troth.base.currencies import Currency
from troth.base.errors import MoneyError, UsageError
from troth.reconcile.model import Item, Page, Standing, Statement
from troth.reconcile.rules import LIMIT

_LONGEST: Final = 2000  # bytes of an id or a text: they are in indexes
_CURSOR: Final = 100_000
_DECLARED: Final = re.compile(r"[A-Z0-9]{2,12}")


def declared_currencies(given: Iterable[str]) -> frozenset[str]:
    """What items may be in besides the currencies of ISO 4217. Raises `UsageError` for what is no such code."""
    if isinstance(given, str):
        raise UsageError(f"currencies= is a list of codes, not {given!r}")
    codes: tuple[object, ...] = tuple(given)
    for code in codes:
        if not isinstance(code, str) or not _DECLARED.fullmatch(code):
            msg = f"a code in currencies= has 2 to 12 capital letters and digits, not {code!r}"
            raise UsageError(msg)
        if is_iso(code):
            raise UsageError(
                f"{code} in currencies= is one of ISO 4217, which items may have anyway"
            )
    return frozenset(str(code) for code in codes)


def is_iso(code: str) -> bool:
    """Is it a currency of ISO 4217, also one that was withdrawn?"""
    try:
        Currency.of(code)
    except MoneyError:
        return False
    return True


def require_page(given: object, source: str, currencies: frozenset[str] = frozenset()) -> Page:
    """*given*, if it is a page whose items can be ones. Raises `UsageError`: nothing of it is believed.

    *currencies*: what items may be in besides those of ISO 4217.
    """
    if not isinstance(given, Page):
        raise UsageError(f"{source} gave {given!r}, where a Page is wanted: the source is wrong")
    problem = next((said for said, holds in _OF_PAGE if not holds(given)), None)
    if problem is not None:
        raise UsageError(f"{source} gave a page that cannot be one: {problem}: the source is wrong")
    if given.statement is not None:
        _require_statement(given.statement, source, currencies)
    for item in given.items:
        require_item(item, source, currencies)
    return given


def require_item(given: object, source: str, currencies: frozenset[str] = frozenset()) -> None:
    """Raise `UsageError` for what is no item."""
    if not isinstance(given, Item):
        raise UsageError(f"{source} gave {given!r}, where an Item is wanted: the source is wrong")
    problem = next((said for said, holds in _OF_ITEM if not holds(given)), None)
    if problem is None:
        problem = _of_currency(given.currency, currencies)
    if problem is not None:
        named = f"{source} gave an item that cannot be one, {given.id!r}"
        where = f" ({given.evidence})" if given.evidence else ""
        msg = f"{named}{where}: {problem}. Their data or the source is wrong; nothing of it is believed: {given}"
        raise UsageError(msg)


def _of_currency(code: str, currencies: frozenset[str]) -> str | None:
    if code in currencies or is_iso(code):
        return None
    return f"its currency is one of ISO 4217, or of currencies= of the reconciliation, and not {code!r}"


def _require_statement(given: Statement, source: str, currencies: frozenset[str]) -> None:
    problem = next((said for said, holds in _OF_STATEMENT if not holds(given)), None)
    if problem is None:
        problem = _of_currency(given.currency, currencies)
    if problem is not None:
        msg = f"{source} gave a statement that cannot be one, {given.id!r}: {problem}. Their data or the source is wrong"
        raise UsageError(msg)


# What must hold, in this order ----------------------------------------------------------------------------------------


def _is_text(given: object, most: int = _LONGEST) -> bool:
    if not isinstance(given, str) or "\0" in given:
        return False
    try:
        return len(given.encode()) <= most
    except UnicodeEncodeError:  # half a surrogate pair
        return False


def _is_whole(given: object) -> bool:
    return type(given) is int  # a bool is none


def _fits(given: int) -> bool:
    return abs(given) <= LIMIT


def _is_time(given: object) -> bool:
    return isinstance(given, datetime) and given.tzinfo is not None


def _is_count(given: object) -> bool:
    return given is None or (type(given) is int and given >= 0)


_TEXT: Final = f"up to {_LONGEST:,} bytes, no NUL, no half of a character"

_OF_ITEM: Final[Sequence[tuple[str, Callable[[Any], bool]]]] = (
    (f"its id is a text that is not empty: {_TEXT}", lambda i: _is_text(i.id) and i.id != ""),
    (f"its key is a text that is not empty, or None: {_TEXT}", lambda i: i.key is None or (_is_text(i.key) and i.key != "")),
    (f"its kind, reference, group and evidence are texts: {_TEXT}",
     lambda i: all(map(_is_text, (i.kind, i.reference, i.group, i.evidence)))),
    ("its amount and fee are whole numbers of minor units", lambda i: _is_whole(i.amount) and _is_whole(i.fee)),
    ("its amount and fee fit into 64 bits", lambda i: _fits(i.amount) and _fits(i.fee)),
    ("its fee is not negative", lambda i: i.fee >= 0),
    ("its currency is a text", lambda i: isinstance(i.currency, str)),
    ("its time (at) is a datetime with its zone", lambda i: _is_time(i.at)),
    ("its standing is a Standing", lambda i: isinstance(i.standing, Standing)),
)  # fmt: skip

_OF_PAGE: Final[Sequence[tuple[str, Callable[[Any], bool]]]] = (
    ("its items are a list", lambda p: isinstance(p.items, Sequence) and not isinstance(p.items, str | bytes)),
    ("its next is a cursor, a text that is not empty, or None", lambda p: p.next is None or (_is_text(p.next, _CURSOR) and p.next != "")),
    ("its count is a number, or None", lambda p: _is_count(p.count)),
    ("its until is a datetime with its zone, or None", lambda p: p.until is None or _is_time(p.until)),
    ("its statement is a Statement, or None", lambda p: p.statement is None or isinstance(p.statement, Statement)),
)  # fmt: skip

_OF_STATEMENT: Final[Sequence[tuple[str, Callable[[Any], bool]]]] = (
    (f"its id and account are texts that are not empty: {_TEXT}",
     lambda s: all(_is_text(each) and each != "" for each in (s.id, s.account))),
    ("its balances are whole numbers of minor units", lambda s: _is_whole(s.opening) and _is_whole(s.closing)),
    ("its number and its count of entries are numbers, or None", lambda s: _is_count(s.number) and _is_count(s.entries)),
    ("its currency is a text", lambda s: isinstance(s.currency, str)),
)  # fmt: skip
