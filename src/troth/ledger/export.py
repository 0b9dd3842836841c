"""Exporting: the books as a journal for hledger or Beancount, programs of others that work out every balance by themselves.

What moved money is written, each transfer by the day on which it counts (UTC); holds move none and are left out. It is
written page by page, so the books may be larger than memory; only the names of accounts are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, Literal, Protocol, TypeAlias
from urllib.parse import quote
from uuid import UUID

import msgspec

from troth.base.money import Money
from troth.store.queries import load
from troth.store.tx import Tx

Format: TypeAlias = Literal["hledger", "beancount"]

_PAGE: Final = 2000
_NAMES: Final = 100_000  # of accounts, to remember
_MOVED: Final = frozenset({"transfer", "post", "reversal"})  # what is written


class Leg(msgspec.Struct, frozen=True):
    """A leg of what is exported: *amount* greater than 0 is a debit."""

    account: int
    code: str
    amount: Money


class Exported(msgspec.Struct, frozen=True):
    """A transfer that moved money."""

    seq: int
    id: UUID
    kind: str
    effective_at: datetime
    key: str | None
    code: str | None
    legs: tuple[Leg, ...]


class Journal(Protocol):
    """How a program wants its journal."""

    def head(self) -> str:
        """What it begins with."""

    def account(self, number: int, code: str, currency: str, side: str) -> str:
        """An account is declared."""

    def transfer(self, transfer: Exported) -> str:
        """A transfer."""


async def export(tx: Tx, schema: str, journal: Journal) -> AsyncIterator[str]:
    """The journal in pieces of text: *tx* is one snapshot (repeatable read)."""
    q = load("troth.ledger", schema, "export.sql")
    await tx.execute(q.planned)
    yield journal.head()
    after = 0
    while rows := await (await tx.execute(q.accounts, {"after": after, "limit": _PAGE})).fetchall():
        yield "".join(
            journal.account(number, code, currency, side)
            for number, code, currency, side, _ in rows
        )
        after = rows[-1][0]
    after = -1
    while rows := await (
        await tx.execute(q.transfers, {"after": after, "limit": _PAGE})
    ).fetchall():
        yield "".join([journal.transfer(_exported(row)) for row in rows if row[2] in _MOVED])
        after = rows[-1][0]


def _exported(row: Sequence[Any]) -> Exported:
    seq, id_, kind, effective_at, key, code, amount = row[:7]
    legs: tuple[Leg, ...]
    if amount is None:
        legs = tuple(
            Leg(account, name, Money(minor, currency))
            for account, name, currency, minor in zip(*row[13:], strict=True)
        )
    else:
        legs = (
            Leg(row[7], row[8], Money(amount, row[9])),
            Leg(row[10], row[11], Money(-amount, row[12])),
        )
    return Exported(seq, id_, kind, effective_at, key, code, legs)


def journal_for(program: Format) -> Journal:
    """The journal that *program* reads."""
    return Hledger() if program == "hledger" else Beancount()


class Hledger:
    """For hledger. An account is named by its code; what hledger would read as something else is written as %XX."""

    def head(self) -> str:
        """What it is."""
        return "; written by troth; days are those on which transfers count, in UTC\n"

    def account(self, number: int, code: str, currency: str, side: str) -> str:  # noqa: ARG002
        """Declared, so that `hledger check accounts` finds others."""
        return f"account {hledger_name(code)}\n"

    def transfer(self, transfer: Exported) -> str:
        """A transaction with the id as its code."""
        lines = [f"\n{_day(transfer)} * ({transfer.id}) {_words(transfer)}  ; seq:{transfer.seq}"]
        if transfer.key is not None:
            lines.append(f"    ; key:{json.dumps(transfer.key, ensure_ascii=False)}")
        lines += [
            f"    {hledger_name(leg.code)}  {leg.amount.text()} {leg.amount.currency}"
            for leg in transfer.legs
        ]
        return "\n".join(lines) + "\n"


@lru_cache(maxsize=_NAMES)
def hledger_name(code: str) -> str:
    """The name of an account in hledger's journal. Two codes never have one name."""
    return quote(code, safe=":.-_+@/$&=~")


_ROOTS: Final = {
    "assets": "Assets",
    "liabilities": "Liabilities",
    "equity": "Equity",
    "income": "Income",
    "expenses": "Expenses",
}


class Beancount:
    """For Beancount, whose accounts stand under five roots and are written in few characters.

    `assets:stripe` is `Assets:Stripe`; codes with another root stand under the root of their normal side. The code itself
    is kept as metadata.
    """

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._taken: set[str] = set()

    def head(self) -> str:
        """What it is; whole-number tolerances, since nothing is rounded."""
        return '; written by troth; days are those on which transfers count, in UTC\noption "inferred_tolerance_default" "*:0"\n'

    def account(self, number: int, code: str, currency: str, side: str) -> str:
        """Open since ever: what counts for an earlier day than that of its opening is no mistake."""
        name = beancount_name(code, side)
        while name in self._taken:
            name = f"{name}-{number}"
        self._taken.add(name)
        self._names[number] = name
        return f"1970-01-01 open {name} {currency}\n  code: {_quoted(code)}\n"

    def transfer(self, transfer: Exported) -> str:
        """A transaction with the id as metadata."""
        lines = [
            f"\n{_day(transfer)} * {_quoted(_words(transfer))}",
            f'  id: "{transfer.id}"',
            f"  seq: {transfer.seq}",
        ]
        if transfer.key is not None:
            lines.append(f"  key: {_quoted(transfer.key)}")
        lines += [
            f"  {self._names[leg.account]}  {leg.amount.text()} {leg.amount.currency}"
            for leg in transfer.legs
        ]
        return "\n".join(lines) + "\n"


def beancount_name(code: str, side: str) -> str:
    """The name that a code would have in Beancount; several codes may have one."""
    parts = list(_parts(code))
    root = _ROOTS.get(code.partition(":")[0].lower())
    if root is None:
        return ":".join(["Assets" if side == "debit" else "Liabilities", *parts])
    return ":".join([root, *(parts[1:] or ["Itself"])])


def _parts(code: str) -> Iterator[str]:
    for part in code.split(":"):
        plain = re.sub(r"[^A-Za-z0-9-]+", "-", part).strip("-") or "X"
        yield plain[0].upper() + plain[1:]


def _day(transfer: Exported) -> str:
    return transfer.effective_at.astimezone(UTC).date().isoformat()


def _words(transfer: Exported) -> str:
    """Why, on one line and without what begins a comment."""
    if transfer.code is None:
        return transfer.kind
    return re.sub(r"[\x00-\x1f\x7f;|\s]+", " ", transfer.code or transfer.kind).strip()


def _quoted(text: str) -> str:
    plain = re.sub(r"[\x00-\x1f\x7f]+", " ", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{plain}"'
