"""The ledger: accounts as a tree with what is on them, an account's statement, transfers, and what is overdue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.base.money import Money
from troth.ledger.model import AccountNotFoundError, customer_of
from troth.store.queries import Queries, load
from troth.store.tx import Tx
from troth.view.filters import Criteria
from troth.view.paging import PAGE_ROWS, SCAN_LIMIT, Page, cursor, later, line, position, rows_of

MOST_PLACES = 500
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AccountFilter(Criteria):
    """Which accounts to list. *under*: this one and those below it in the tree."""

    under: str | None = None
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account, with what its entries and the legs that are no entries yet (*unfolded*) come to, in minor units."""

    code: str
    currency: str
    side: str
    limit: str
    minimum: int | None
    tenant: str | None
    opened_at: datetime
    closed_at: datetime | None
    version: int
    unfolded: int
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    @property
    def posted(self) -> str:
        """What is posted, on the normal side, as text."""
        return written(self._on_side(self.debits_posted, self.credits_posted), self.currency)

    @property
    def available(self) -> str:
        """What is posted less what is held on the other side, as text."""
        if self.side == "credit":
            taken = self._on_side(self.debits_posted + self.debits_pending, self.credits_posted)
        else:
            taken = self._on_side(self.debits_posted, self.credits_posted + self.credits_pending)
        return written(taken, self.currency)

    def _on_side(self, debit: int, credit: int) -> int:
        return int(debit - credit if self.side == "debit" else credit - debit)


@dataclass(frozen=True, slots=True)
class TotalLine:
    """A line of the trial balance, in minor units: its sides are equal, or something is broken."""

    currency: str
    accounts: int
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    @property
    def is_balanced(self) -> bool:
        """Are the sides equal?"""
        return (self.debits_posted, self.debits_pending) == (
            self.credits_posted,
            self.credits_pending,
        )


@dataclass(frozen=True, slots=True)
class PlaceLine:
    """What lies under one place of the tree, in one currency: so many accounts that come to *net* (debits less credits)."""

    part: str
    currency: str
    accounts: int
    is_account: bool
    net: int


@dataclass(frozen=True, slots=True)
class EntryLine:
    """What a transfer did to an account, and its totals after it, in minor units."""

    version: int
    seq: int
    transfer: UUID
    key: str | None
    kind: str
    side: str
    posted: int
    pending: int
    booked_at: datetime
    effective_at: datetime
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int
    code: str | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class TransferLine:
    """A transfer. *legs*: account, currency, and minor units: greater than 0 is a debit. *about*: the hold, or what is reversed."""

    seq: int
    id: UUID
    key: str | None
    kind: str
    booked_at: datetime
    effective_at: datetime
    code: str | None
    metadata: Mapping[str, Any] | None
    about: UUID | None
    legs: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class RefusalLine:
    """A transfer that was refused. *asked*: what it was to be."""

    seq: int
    id: UUID
    key: str | None
    outcome: str
    refused_at: datetime
    asked: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OverdueLine:
    """A balance that should have been zero by *due_at*. *late_s*: for so many seconds it should."""

    flow: str
    account: str
    currency: str
    tenant: str | None
    metadata: Mapping[str, Any] | None
    since: datetime
    due_at: datetime
    minor: int
    late_s: float

    @property
    def customer(self) -> str:
        """Whose it is: the account's tenant, its `customer` in metadata, or the last part of its code."""
        return customer_of(self.account, self.tenant, self.metadata)

    @property
    def left(self) -> str:
        """What is left on it, as text."""
        return written(int(self.minor), self.currency)


def written(minor: int, currency: str) -> str:
    """An amount of the books as text: sums may be larger than `Money` is."""
    try:
        return str(Money(int(minor), currency))
    except ValueError:
        return f"{minor} minor {currency}"


def queries(schema: str) -> Queries:
    """The statements of this screen."""
    return load("troth.view", schema, "ledger.sql")


async def accounts(
    tx: Tx,
    schema: str,
    which: AccountFilter = AccountFilter(),
    *,
    after: str | None = None,
    limit: int = PAGE_ROWS,
) -> Page[AccountLine]:
    """A page of accounts, by code. Raises `UsageError` for a wrong *after* or *limit*."""
    (code,) = position(after, str)
    params = {
        "prefix": which.under,
        "tenant": which.tenant,
        "after": code or "",
        "limit": rows_of(limit),
    }
    rows = await (await tx.execute(queries(schema).accounts, params)).fetchall()
    found = tuple(line(AccountLine, *row) for row in rows)
    return Page(found, cursor(found[-1].code) if len(found) == limit else None)


async def account(tx: Tx, schema: str, code: str) -> AccountLine:
    """One account. Raises `AccountNotFoundError`."""
    row = await (await tx.execute(queries(schema).account, {"code": code})).fetchone()
    if row is None:
        raise AccountNotFoundError(
            f"the ledger has no account {code!r} in the schema {schema}: troth ledger accounts"
        )
    return line(AccountLine, *row)


async def totals(tx: Tx, schema: str) -> tuple[TotalLine, ...]:
    """The trial balance, by currency."""
    rows = await (await tx.execute(queries(schema).totals)).fetchall()
    return tuple(line(TotalLine, *row) for row in rows)


async def places(tx: Tx, schema: str, under: str = "") -> tuple[PlaceLine, ...]:
    """What lies directly under a place of the tree: the first `MOST_PLACES`, of its first `SCAN_LIMIT` accounts."""
    params = {"prefix": under, "scan": SCAN_LIMIT, "most": MOST_PLACES}
    rows = await (await tx.execute(queries(schema).places, params)).fetchall()
    return tuple(line(PlaceLine, *row) for row in rows)


async def entries(
    tx: Tx, schema: str, code: str, *, before: int | None = None, limit: int = PAGE_ROWS
) -> tuple[EntryLine, ...]:
    """A page of an account's entries, the latest first: those before a version. Raises `UsageError` for a wrong *limit*."""
    params = {"code": code, "before": _LAST if before is None else before, "limit": rows_of(limit)}
    rows = await (await tx.execute(queries(schema).entries, params)).fetchall()
    return tuple(line(EntryLine, *row) for row in rows)


async def transfers(
    tx: Tx,
    schema: str,
    *,
    id_: UUID | None = None,
    before: int | None = None,
    limit: int = PAGE_ROWS,
) -> tuple[TransferLine, ...]:
    """A page of transfers, the latest number first: one, or those before a number. Raises `UsageError` for a wrong *limit*."""
    params = {"id": id_, "before": _LAST if before is None else before, "limit": rows_of(limit)}
    rows = await (await tx.execute(queries(schema).transfers, params)).fetchall()
    return tuple(_transfer(row) for row in rows)


def _transfer(row: Sequence[Any]) -> TransferLine:
    codes, currencies, amounts = row[-3:]
    return line(TransferLine, *row[:-3], tuple(zip(codes, currencies, amounts, strict=True)))


async def refusal(tx: Tx, schema: str, id_: UUID) -> RefusalLine | None:
    """Why the transfer with this id was refused, if it was."""
    row = await (await tx.execute(queries(schema).refusal, {"id": id_})).fetchone()
    return None if row is None else line(RefusalLine, *row)


async def overdue(
    tx: Tx, schema: str, *, after: str | None = None, limit: int = PAGE_ROWS
) -> Page[OverdueLine]:
    """A page of balances that should be zero by now, what was due first at the top. Raises `UsageError`."""
    due, code = position(after, datetime, str)
    params = {"due": due, "code": code, "limit": rows_of(limit)}
    rows = await (await tx.execute(queries(schema).overdue, params)).fetchall()
    found = tuple(line(OverdueLine, *row) for row in rows)
    end = cursor(later(found[-1].due_at), found[-1].account) if len(found) == limit else None
    return Page(found, end)
