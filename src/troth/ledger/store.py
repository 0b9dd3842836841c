"""The only place that runs the ledger's statements: each function is a plan for whatever transaction the caller has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from troth.base import codec
from troth.ledger import rules
from troth.ledger.model import Account, Balance, Entry, Posted, Result, Total
from troth.ledger.rules import Prepared
from troth.store.plan import Plan, Statement
from troth.store.queries import Queries, load
from troth.store.tx import Row

_LAST_VERSION = 2**63 - 1


def queries(schema: str) -> Queries:
    """The statements of the ledger for one schema."""
    return load("troth.ledger", schema)


# Posting --------------------------------------------------------------------------------------------------------------


def post(
    q: Queries, prepared: Sequence[Prepared], groups: Sequence[int | None], *, strict: bool, direct: bool
) -> Plan[list[Result]]:  # fmt: skip
    """Post a call's items. *strict*: all or nothing, and a refusal is not recorded. *direct*: nothing goes to the queue."""
    params = (strict, direct, *rules.arrays(prepared, groups))
    rows = yield Statement(q.post, params)
    return rules.results(prepared, *rows[0])


# Accounts and periods -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Opening:
    """What an account is to be."""

    code: str
    currency: str
    side: str
    limit: str
    minimum: int | None
    tenant: str | None
    metadata: str | None


def open_account(q: Queries, wanted: Opening) -> Plan[Account]:
    """The account with this code, opened now if there was none."""
    params = (
        wanted.code, wanted.currency, wanted.side, wanted.limit, wanted.minimum, wanted.tenant, wanted.metadata,
    )  # fmt: skip
    rows = yield Statement(q.open_account, params)
    return _account(rows[0])


def close_account(q: Queries, code: str) -> Plan[str]:
    """Close an account; what came of it (migration 0015)."""
    rows = yield Statement(q.close_account, (code,))
    return str(rows[0][0])


def account(q: Queries, code: str) -> Plan[Account | None]:
    """The account with this code."""
    rows = yield Statement(q.account, (code,))
    return _account(rows[0]) if rows else None


def accounts_under(q: Queries, prefix: str, after: str, limit: int) -> Plan[list[Account]]:
    """The account *prefix* and those below it, by their codes."""
    rows = yield Statement(q.accounts_under, {"prefix": prefix, "after": after, "limit": limit})
    return [_account(row) for row in rows]


def close_period(q: Queries, through: datetime, by: str, note: str | None) -> Plan[str]:
    """Close what is effective before *through*; what came of it (migration 0015)."""
    rows = yield Statement(q.close_period, (through, by, note))
    return str(rows[0][0])


def periods(q: Queries, limit: int) -> Plan[list[Row]]:
    """The closed periods, the latest first."""
    return (yield Statement(q.periods, (limit,)))


def check_point(q: Queries, limit: int) -> Plan[int]:
    """Write down totals at the end of the latest closed period; of how many accounts."""
    rows = yield Statement(q.check_point, (limit,))
    return int(rows[0][0])


# Folding and expiry ---------------------------------------------------------------------------------------------------


def fold(q: Queries, limit: int, after: int) -> Plan[tuple[int, int]]:
    """Make entries of legs in the queue with numbers greater than *after*; how many, and the last one's number."""
    rows = yield Statement(q.fold, (limit, after))
    return int(rows[0][0]), int(rows[0][1])


def due_holds(q: Queries, limit: int) -> Plan[list[UUID]]:
    """Holds whose time is over."""
    rows = yield Statement(q.due_holds, (limit,))
    return [row[0] for row in rows]


def next_expiry(q: Queries) -> Plan[float | None]:
    """In how many seconds the next hold's time is over."""
    rows = yield Statement(q.next_expiry)
    return None if rows[0][0] is None else float(rows[0][0])


# Reading --------------------------------------------------------------------------------------------------------------


def balances(q: Queries, codes: Sequence[str]) -> Plan[list[Balance]]:
    """The totals of those of the accounts that exist, in their order."""
    rows = yield Statement(q.balances, (list(codes),))
    return [_balance(row) for row in rows]


def balance_at(q: Queries, code: str, at: datetime) -> Plan[Balance | None]:
    """The totals by what was booked by *at*."""
    rows = yield Statement(q.balance_at, {"code": code, "at": at})
    return _balance(rows[0]) if rows else None


def balance_effective(q: Queries, code: str, at: datetime) -> Plan[Balance | None]:
    """The posted totals by what was effective by *at*."""
    rows = yield Statement(q.balance_effective, {"code": code, "at": at})
    return _balance(rows[0]) if rows else None


def trial_balance(
    q: Queries, at: datetime | None, effective_at: datetime | None
) -> Plan[list[Total]]:
    """A line for each currency: now, by what was booked by *at*, or by what was effective by *effective_at*."""
    if at is not None:
        rows = yield Statement(q.trial_balance_at, {"at": at})
    elif effective_at is not None:
        rows = yield Statement(q.trial_balance_effective, {"at": effective_at})
    else:
        rows = yield Statement(q.trial_balance)
    return [Total(currency, *map(int, totals)) for currency, *totals in rows]


def statement(q: Queries, code: str, before: int | None, limit: int) -> Plan[list[Entry]]:
    """The entries of an account before a version, the latest first."""
    rows = yield Statement(q.statement, (code, _LAST_VERSION if before is None else before, limit))
    return [_entry(row) for row in rows]


def transfer(q: Queries, transfer_id: UUID) -> Plan[Posted | None]:
    """The transfer with this id."""
    rows = yield Statement(q.transfer, (transfer_id,))
    return _posted(rows[0]) if rows else None


def _account(row: Row) -> Account:
    number, code, currency, side, limited, minimum, tenant, metadata, opened_at, closed_at = row
    return Account(
        number, code, currency, side, limited, minimum, tenant, _object(metadata), opened_at, closed_at
    )  # fmt: skip


def _balance(row: Row) -> Balance:
    code, currency, side, dp, cp, dh, ch, version, legs = row
    return Balance(
        code, currency, side, int(dp), int(cp), int(dh), int(ch), int(version), int(legs)
    )  # fmt: skip


def _entry(row: Row) -> Entry:
    (
        version, number, key, kind, side, posted, pending, booked_at, effective_at, dp, cp, dh, ch, code, metadata,
    ) = row  # fmt: skip
    return Entry(
        version, number, key, kind, side, posted, pending, booked_at, effective_at, int(dp), int(cp), int(dh), int(ch),
        code, _object(metadata),
    )  # fmt: skip


def _posted(row: Row) -> Posted:
    seq, number, key, kind, codes, amounts, about, booked_at, effective_at, code, metadata = row
    legs = tuple(zip(codes, amounts, strict=True))
    return Posted(
        seq, number, key, kind, legs, about, booked_at, effective_at, code, _object(metadata)
    )  # fmt: skip


def _object(text: str | None) -> Any:
    return None if text is None else codec.decode(text.encode())
