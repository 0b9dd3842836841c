"""camt.053 of ISO 20022: what a bank says of an account for a day. Needs `troth[statements]`.

Read by the names of elements, whatever the version (001.02 to 001.13 differ in what is not used here). Only booked entries
count, as in the balances. An entry that is a batch is taken apart if its parts come to its amount.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from troth.base.errors import MoneyError
from troth.base.money import Money
from troth.reconcile.model import Item, SourceError, Statement
from troth.reconcile.sources.files import Files, Statements, Told

_NO_ID: Final = frozenset({"", "NOTPROVIDED"})


class Camt053(Statements):
    """The camt.053 files of one bank: `Camt053(Folder(Path("statements"), "*.xml"))`.

    *zone*: of dates that have no time (value and booking dates). *keyed*: the end-to-end id of what we have sent is the
    effect's key; otherwise it is the item's `reference`, for rules. What comes back (a return) has it as its reference in any
    case, since it is another movement than the one that it returns. The item's `kind` is `credit`, `debit` or `return`, its
    `group` the payment information or message that it was sent in.
    """

    kind = "camt.053"

    def __init__(self, files: Files, *, zone: tzinfo = UTC, keyed: bool = False) -> None:
        super().__init__(files)
        self._zone = zone
        self._keyed = keyed

    def parse(self, name: str, content: bytes) -> list[Told]:
        """The statements of a file. Raises `SourceError` for what is no camt.053."""
        try:
            from defusedxml.common import DefusedXmlException
            from defusedxml.ElementTree import iterparse
        except ImportError as error:
            msg = f"{name}: reading camt.053 needs another package: pip install 'troth[statements]'"
            raise SourceError(msg) from error
        told = []
        try:
            for _, element in iterparse(io.BytesIO(content), forbid_dtd=True):
                if _tag(element) == "Stmt":
                    told.append(self._statement(element))
                    element.clear()
        except (ParseError, DefusedXmlException, MoneyError, ValueError) as error:
            raise SourceError(f"{name} is not a camt.053 that can be read: {error}") from error
        if not told:
            raise SourceError(f"{name} has no statement (Stmt): it is no camt.053")
        return told

    def _statement(self, stmt: Element) -> Told:
        id_ = _text(stmt, "Id")
        account = _text(stmt, "Acct/Id/IBAN") or _text(stmt, "Acct/Id/Othr/Id")
        balances: dict[str, int] = {}
        days = []
        currency = _text(stmt, "Acct/Ccy")
        for balance in _all(stmt, "Bal"):
            code = _text(balance, "Tp/CdOrPrtry/Cd")
            money = _signed(balance)
            currency = money.currency
            balances.setdefault(code, money.minor)
            days.append(
                date.fromisoformat((_text(balance, "Dt/Dt") or _text(balance, "Dt/DtTm"))[:10])
            )
        opening = balances.get("OPBD", balances.get("PRCD"))
        closing = balances.get("CLBD")
        if not id_ or not account or opening is None or closing is None:
            msg = f"statement {id_ or 'without id'} lacks its account, or its opening (OPBD) or closing (CLBD) balance"
            raise ValueError(msg)
        number = _text(stmt, "ElctrncSeqNb") or _text(stmt, "LglSeqNb")
        entries = _text(stmt, "TxsSummry/TtlNtries/NbOfNtries")
        items: list[Item] = []
        booked = 0
        for place, entry in enumerate(_all(stmt, "Ntry"), start=1):
            if (_text(entry, "Sts/Cd") or _text(entry, "Sts")) not in {"", "BOOK"}:
                continue
            booked += 1
            try:
                items += self._entry(entry, account, f"{id_}/{place}")
            except (MoneyError, ValueError) as error:
                raise ValueError(f"statement {id_}, entry {place}: {error}") from error
        first, last = self._days(stmt, days)
        # The bank counts entries; where one was taken apart, that many more items come of it.
        said = int(entries) + len(items) - booked if entries else None
        statement = Statement(
            id_, account, currency, opening, closing, int(number) if number else None, said
        )
        return Told(statement, items, first, last)

    def _days(self, stmt: Element, days: list[date]) -> tuple[datetime, datetime]:
        since, until = _text(stmt, "FrToDt/FrDtTm")[:10], _text(stmt, "FrToDt/ToDtTm")[:10]
        first = date.fromisoformat(since) if since else min(days)
        last = date.fromisoformat(until) if until else max(days)
        return self._at(first), self._at(last) + timedelta(days=1)

    def _at(self, day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=self._zone)

    def _entry(self, entry: Element, account: str, place: str) -> list[Item]:
        money = _signed(entry)
        when = _when(entry, "ValDt") or _when(entry, "BookgDt")
        if when is None:
            raise ValueError(f"entry {place} has neither a value date nor a booking date")
        at = self._at(when) if not isinstance(when, datetime) else when
        at = at if at.tzinfo else at.replace(tzinfo=self._zone)
        named = _text(entry, "AcctSvcrRef") or _text(entry, "NtryRef")
        id_ = f"{account}/{named}" if named else place
        parts = list(_all(entry, "NtryDtls/TxDtls"))
        amounts = [_signed(part, default=money) for part in parts]
        whole = len(parts) < 2 or sum(each.minor for each in amounts) != money.minor
        if whole:
            details = parts[0] if len(parts) == 1 else entry
            return [self._item(id_, money, at, details, place)]
        return [
            self._item(f"{id_}#{n}", amount, at, part, place)
            for n, (part, amount) in enumerate(zip(parts, amounts, strict=True), start=1)
        ]

    def _item(self, id_: str, money: Money, at: datetime, details: Element, place: str) -> Item:
        end_to_end = _text(details, "Refs/EndToEndId")
        end_to_end = "" if end_to_end in _NO_ID else end_to_end
        returned = next(_all(details, "RtrInf"), None) is not None
        kind = "return" if returned else ("credit" if money.minor >= 0 else "debit")
        keyed = self._keyed and end_to_end and not returned
        reference = end_to_end or _text(details, "RmtInf/Strd/CdtrRefInf/Ref")
        group = _text(details, "Refs/PmtInfId") or _text(details, "Refs/MsgId")
        note = " ".join(each.text or "" for each in _all(details, "RmtInf/Ustrd"))
        return Item(
            id_, money.minor, money.currency, at, end_to_end if keyed else None, kind=kind,
            reference=reference or note[:200], group=group, evidence=f"camt.053 {place}",
        )  # fmt: skip


# Elements, whatever their namespace -----------------------------------------------------------------------------------


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(element: Element, path: str) -> Iterator[Element]:
    first, _, rest = path.partition("/")
    for child in element:
        if _tag(child) == first:
            if rest:
                yield from _all(child, rest)
            else:
                yield child


def _text(element: Element, path: str) -> str:
    found = next(_all(element, path), None)
    return "" if found is None else (found.text or "").strip()


def _signed(element: Element, default: Money | None = None) -> Money:
    """Its amount, negative for a debit."""
    amount = next(_all(element, "Amt"), None)
    if amount is None:
        amount = next(_all(element, "AmtDtls/TxAmt/Amt"), None)
    side = _text(element, "CdtDbtInd")
    if amount is None:
        if default is None:
            raise ValueError("an amount (Amt) is missing")
        return default
    money = Money.parse((amount.text or "").strip(), amount.get("Ccy", ""))
    if not side and default is not None:
        return money if default.minor >= 0 else -money
    if side not in {"CRDT", "DBIT"}:
        raise ValueError(f"an amount is neither CRDT nor DBIT, but {side!r}")
    return money if side == "CRDT" else -money


def _when(element: Element, path: str) -> date | datetime | None:
    day, moment = _text(element, f"{path}/Dt"), _text(element, f"{path}/DtTm")
    if moment:
        return datetime.fromisoformat(moment)
    return date.fromisoformat(day[:10]) if day else None
