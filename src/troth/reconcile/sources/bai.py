"""BAI2, which banks in North America send: balances and transactions of accounts for a day.

A file is lines that begin with a two-digit code: a header (01), groups (02 … 98) of accounts (03 … 49) with transactions (16), a
trailer (99). A line that begins with 88 goes on with the record before it. Every trailer says how many records there were and
what their amounts come to; a file that does not keep to that is not believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from troth.reconcile.model import Item, SourceError, Statement
from troth.reconcile.sources.files import Files, Statements, Told

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_OPENING: Final = "010"
_CLOSING: Final = "015"
_NO_REFERENCE: Final = frozenset({"", "NOTPROVIDED", "NONE"})
_RETURNS: Final = frozenset(
    {"255", "257", "258", "555", "557", "558"}
)  # credits and debits that come back


class Bai2(Statements):
    """The BAI2 files of one bank: `Bai2(Folder(Path("statements"), "*.bai"))`.

    *zone*: of the bank's days. *keyed*: the customer reference of what we have sent is the effect's key; otherwise it is the
    item's `reference`, for rules. An account needs its opening (010) and closing (015) ledger balance.
    """

    kind = "BAI2"

    def __init__(self, files: Files, *, zone: tzinfo = UTC, keyed: bool = False) -> None:
        super().__init__(files)
        self._zone = zone
        self._keyed = keyed

    def parse(self, name: str, content: bytes) -> list[Told]:
        """The statements of a file. Raises `SourceError` for what is no BAI2, or does not come to what its trailers say."""
        try:
            text = content.decode("latin-1")
            lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
            return [self._statement(each) for each in _accounts(list(_records(lines)))]
        except (ValueError, IndexError) as error:
            raise SourceError(f"{name} is not a BAI2 file that can be read: {error}") from error

    def _statement(self, account: _Account) -> Told:
        day = datetime.strptime(account.day, "%y%m%d").replace(tzinfo=self._zone)
        balances = account.balances
        if _OPENING not in balances or _CLOSING not in balances:
            msg = f"account {account.number} has no opening (010) or closing (015) balance"
            raise ValueError(msg)
        id_ = f"{account.number}/{day:%Y-%m-%d}"
        items = [
            self._item(each, f"{id_}/{n}", account, day)
            for n, each in enumerate(account.entries, start=1)
        ]
        statement = Statement(
            id_, account.number, account.currency, balances[_OPENING], balances[_CLOSING]
        )
        return Told(statement, items, day, day + timedelta(days=1))

    def _item(self, entry: _Entry, place: str, account: _Account, at: datetime) -> Item:
        if "100" <= entry.code <= "399":
            kind, amount = "credit", entry.amount
        elif "400" <= entry.code <= "699":
            kind, amount = "debit", -entry.amount
        else:
            raise ValueError(f"entry {place} ({entry.code}) is neither a credit nor a debit")
        returned = entry.code in _RETURNS
        keyed = bool(self._keyed and entry.reference and not returned)
        return Item(
            f"{account.number}/{entry.bank_reference}" if entry.bank_reference else place,
            amount, account.currency, at, entry.reference if keyed else None,
            kind="return" if returned else kind, reference=entry.reference or entry.text[:200], evidence=f"BAI2 {place}",
        )  # fmt: skip


# Records --------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Record:
    code: str
    fields: list[str]
    line: int  # where it begins
    lines: int = 1
    ended: bool = True  # by a slash: what follows is a field of its own


@dataclass(slots=True)
class _Entry:
    code: str
    amount: int
    bank_reference: str
    reference: str
    text: str


@dataclass(slots=True)
class _Account:
    number: str
    currency: str
    day: str
    balances: dict[str, int] = field(default_factory=dict)
    entries: list[_Entry] = field(default_factory=list)
    total: int = 0
    records: int = 0


@dataclass(slots=True)
class _Sum:
    """What a trailer is held to: the total of its parts, how many there are, and how many records."""

    total: int = 0
    parts: int = 0
    records: int = 0


@dataclass(slots=True)
class _Found:
    """How far a file was read: what is under way, and what is whole."""

    accounts: list[_Account] = field(default_factory=list)
    file: _Sum = field(default_factory=_Sum)
    group: _Sum = field(default_factory=_Sum)
    account: _Account | None = None
    day: str = ""
    currency: str = ""


def _records(lines: Sequence[str]) -> Iterator[_Record]:
    """Records, with their continuations."""
    record: _Record | None = None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        code, _, rest = line.rstrip().partition(",")
        ended = rest.endswith("/")
        fields = rest.removesuffix("/").split(",")
        if code != "88":
            if record is not None:
                yield record
            if len(code) != 2 or not code.isdigit():
                raise ValueError(f"line {number} begins with {code[:10]!r}, which is no record")
            record = _Record(code, fields, number, 1, ended)
            continue
        if record is None:
            raise ValueError(f"line {number} continues nothing")
        if record.ended:
            record.fields += fields
        else:  # it was cut in its text
            record.fields[-1] += f" {rest.removesuffix('/')}"
        record.lines, record.ended = record.lines + 1, ended
    if record is not None:
        yield record


def _accounts(records: Sequence[_Record]) -> list[_Account]:
    """The accounts of a file. Raises `ValueError` for records out of place and for trailers that do not come true."""
    found = _Found()
    codes = [each.code for each in records]
    if not codes or codes[0] != "01" or codes[-1] != "99":
        raise ValueError(
            "it does not begin with a header (01) and end with a trailer (99): it is cut"
        )
    for record in records:
        try:
            _take(found, record)
        except IndexError as error:
            raise ValueError(f"line {record.line} ({record.code}): a field is missing") from error
        except ValueError as error:
            raise ValueError(f"line {record.line} ({record.code}): {error}") from error
    return found.accounts


def _take(found: _Found, record: _Record) -> None:
    """The next record."""
    file, account = found.file, found.account
    file.records += record.lines
    found.group.records += record.lines
    match record.code:
        case "01":
            pass
        case "02" if account is None:
            found.group = _Sum(records=record.lines)
            found.day, found.currency = record.fields[3], _at(record, 5) or "USD"
        case "03" if account is None and found.day:
            found.account = _opened(record, found.currency, found.day)
        case "16" if account is not None:
            _post(account, record)
        case "49" if account is not None:
            account.records += record.lines
            _require(record, "account", account.total, account.records)
            found.accounts.append(account)
            found.group.total += account.total
            found.group.parts += 1
            found.account = None
        case "98" if account is None and found.day:
            group = found.group
            _require(record, "group", group.total, group.parts, group.records)
            file.total, file.parts, found.day = file.total + group.total, file.parts + 1, ""
        case "99" if account is None and not found.day:
            _require(record, "file", file.total, file.parts, file.records)
        case code:
            raise ValueError(f"a record {code} is out of place")


def _opened(record: _Record, currency: str, day: str) -> _Account:
    account = _Account(record.fields[0], _at(record, 1) or currency, day, records=record.lines)
    rest = record.fields[2:]
    while len(rest) >= 2:
        code, amount = rest[0], _amount(rest[1])
        if code:
            account.balances[code] = amount
        account.total += amount
        rest = _behind_funds(rest[3:])  # the third is a count of items
    return account


def _post(account: _Account, record: _Record) -> None:
    code, amount = record.fields[0], _amount(record.fields[1])
    account.records += record.lines
    account.total += amount
    rest = [*_behind_funds(record.fields[2:]), "", ""]
    if "700" <= code <= "899" and not amount:
        return  # a remark
    text = ",".join(rest[2:]).rstrip(",")
    named = ["" if each.strip() in _NO_REFERENCE else each.strip() for each in rest[:2]]
    account.entries.append(_Entry(code, amount, named[0], named[1], text))


def _behind_funds(fields: Sequence[str]) -> list[str]:
    """What comes after a funds type, which says when the money is available and may have fields of its own."""
    if not fields:
        return []
    taken = {"S": 4, "V": 3}.get(fields[0], 1)
    if fields[0] == "D":
        taken = 2 + 2 * int(fields[1])
    return list(fields[taken:])


def _require(record: _Record, what: str, total: int, *counts: int) -> None:
    says = [_amount(each) for each in record.fields[: 1 + len(counts)]]
    has = [total, *counts]
    if says != has:
        raise ValueError(f"the trailer of a {what} says {says}, and it has {has}")


def _amount(text: str) -> int:
    written = text.strip()
    if not written:
        return 0
    if not _WHOLE.fullmatch(written):
        raise ValueError(f"{text!r} is no amount or number: it has digits, and a sign before them")
    return int(written)


def _at(record: _Record, place: int) -> str:
    return record.fields[place].strip() if place < len(record.fields) else ""
