"""Accounts and periods: what posting needs to be there, and what it may no longer touch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from troth.base import codec
from troth.base.currencies import Currency
from troth.base.money import Money
from troth.ledger import rules, store
from troth.ledger.model import (
    Account,
    AccountConflictError,
    AccountNotFoundError,
    ClosingError,
    InvalidTransferError,
    Limit,
    Side,
)
from troth.ledger.store import Opening
from troth.store.plan import Plan, carry_out, carry_out_blocking
from troth.store.queries import Queries
from troth.store.tx import BlockingTx, Tx

MOST_ROWS = 1000
_LIMITS = ("none", "debits_must_not_exceed_credits", "credits_must_not_exceed_debits", "minimum_balance")  # fmt: skip


class Accounts:
    """The accounts of a ledger: a tree by their codes (`assets:bank:giro`). Each act is part of its transaction."""

    def __init__(self, queries: Callable[[], Queries]) -> None:
        self._queries = queries

    async def open(
        self, tx: Tx, code: str, *, currency: str, side: Side, limit: Limit = "none", minimum: Money | None = None,
        tenant: str | None = None, metadata: Mapping[str, Any] | None = None,
    ) -> Account:  # fmt: skip
        """The account *code*, opened if there is none; opening it again with the same words changes nothing.

        *side*: on which its balance normally is ("debit" for assets and expenses). *limit*: what posting keeps;
        *minimum*, of "minimum_balance", on the normal side (less than 0 is an overdraft). An account without a limit is
        never locked by posting. Raises `AccountConflictError` if it is there and differs, and `InvalidTransferError`.
        """
        wanted = _opening(code, currency, side, limit, minimum, tenant, metadata)
        return await carry_out(tx, _open(self._queries(), wanted))

    def open_blocking(
        self, tx: BlockingTx, code: str, *, currency: str, side: Side, limit: Limit = "none", minimum: Money | None = None,
        tenant: str | None = None, metadata: Mapping[str, Any] | None = None,
    ) -> Account:  # fmt: skip
        """As `open`, from a thread."""
        wanted = _opening(code, currency, side, limit, minimum, tenant, metadata)
        return carry_out_blocking(tx, _open(self._queries(), wanted))

    async def close(self, tx: Tx, code: str) -> None:
        """Let nothing be posted to an account any more; holds on it may still be voided. Raises `AccountNotFoundError`.

        Waits for the end of all transactions that post, two seconds at most (`ClosingError`), and keeps others from
        beginning: commit soon.
        """
        await carry_out(tx, _close(self._queries(), code))

    def close_blocking(self, tx: BlockingTx, code: str) -> None:
        """As `close`, from a thread."""
        carry_out_blocking(tx, _close(self._queries(), code))

    async def get(self, tx: Tx, code: str) -> Account:
        """The account with this code. Raises `AccountNotFoundError`."""
        return await carry_out(tx, _get(self._queries(), code))

    def get_blocking(self, tx: BlockingTx, code: str) -> Account:
        """As `get`, from a thread."""
        return carry_out_blocking(tx, _get(self._queries(), code))

    async def under(self, tx: Tx, prefix: str = "", *, after: str = "", limit: int = 100) -> list[Account]:  # fmt: skip
        """The account *prefix* and those below it in the tree, by their codes; *after*: the next page, from the last code."""
        return await carry_out(tx, store.accounts_under(self._queries(), prefix, after, page(limit)))  # fmt: skip

    def under_blocking(self, tx: BlockingTx, prefix: str = "", *, after: str = "", limit: int = 100) -> list[Account]:  # fmt: skip
        """As `under`, from a thread."""
        return carry_out_blocking(tx, store.accounts_under(self._queries(), prefix, after, page(limit)))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Period:
    """A closed period: nothing more becomes effective before *through*."""

    through: datetime
    closed_at: datetime
    by: str
    note: str | None


class Periods:
    """The closed periods of a ledger: what is effective in them does not change any more."""

    def __init__(self, queries: Callable[[], Queries]) -> None:
        self._queries = queries

    async def close(self, tx: Tx, through: datetime, *, by: str, note: str | None = None) -> None:
        """Refuse effective times before *through* (with its zone, not in the future) from the commit of *tx* on.

        Waits for the end of all transactions that post, two seconds at most, and keeps others from beginning: commit
        soon. Closing the same again changes nothing. Raises `ClosingError` for what is not over, and for what ends before
        what is closed; `InvalidTransferError` for what is no time, or no name.
        """
        _require_closing(through, by, note)
        await carry_out(tx, _close_period(self._queries(), through, by, note))

    def close_blocking(self, tx: BlockingTx, through: datetime, *, by: str, note: str | None = None) -> None:  # fmt: skip
        """As `close`, from a thread."""
        _require_closing(through, by, note)
        carry_out_blocking(tx, _close_period(self._queries(), through, by, note))

    async def closed(self, tx: Tx, *, limit: int = 100) -> list[Period]:
        """Those that are closed, the latest first."""
        rows = await carry_out(tx, store.periods(self._queries(), page(limit)))
        return [Period(*row) for row in rows]

    def closed_blocking(self, tx: BlockingTx, *, limit: int = 100) -> list[Period]:
        """As `closed`, from a thread."""
        rows = carry_out_blocking(tx, store.periods(self._queries(), page(limit)))
        return [Period(*row) for row in rows]


def page(limit: int) -> int:
    """*limit*, if a page may have so many rows. Raises `InvalidTransferError`."""
    if type(limit) is not int or not 1 <= limit <= MOST_ROWS:
        msg = f"limit is 1 to {MOST_ROWS}, not {limit!r}; then ask for the next page"
        raise InvalidTransferError(msg)
    return limit


def _opening(
    code: str, currency: str, side: Side, limit: Limit, minimum: Money | None, tenant: str | None,
    metadata: Mapping[str, Any] | None,
) -> Opening:  # fmt: skip
    Currency.of(currency)
    if side not in ("debit", "credit"):
        raise InvalidTransferError(f"the side of account {code} is 'debit' or 'credit', not {side!r}")  # fmt: skip
    if limit not in _LIMITS:
        raise InvalidTransferError(f"the limit of account {code} is one of {_LIMITS}, not {limit!r}")  # fmt: skip
    if (minimum is not None) != (limit == "minimum_balance"):
        raise InvalidTransferError(f"account {code}: minimum= goes with limit='minimum_balance'")
    if minimum is not None and not isinstance(minimum, Money):
        raise InvalidTransferError(f"the minimum of account {code} is Money, not {minimum!r}")
    if tenant is not None:
        _require_text(f"the tenant of account {code}", tenant)
    if minimum is not None and minimum.currency != currency:
        msg = f"the minimum of account {code} is in {minimum.currency}, the account in {currency}"
        raise InvalidTransferError(msg)
    least = None if minimum is None else minimum.minor
    return Opening(rules.account_code(code), currency, side, limit, least, tenant, rules.json_object(metadata))  # fmt: skip


def _open(q: Queries, wanted: Opening) -> Plan[Account]:
    there = yield from store.open_account(q, wanted)
    metadata = None if wanted.metadata is None else codec.decode(wanted.metadata.encode())
    fields: Sequence[tuple[str, object, object]] = (
        ("currency", wanted.currency, there.currency),
        ("side", wanted.side, there.side),
        ("limit", wanted.limit, there.limit),
        ("minimum", wanted.minimum, there.minimum),
        ("tenant", wanted.tenant, there.tenant),
        ("metadata", metadata, there.metadata),
    )
    for name, asked, found in fields:
        if asked != found:
            msg = f"account {wanted.code} exists with another {name}: {found!r}, not {asked!r}; an account does not change"
            raise AccountConflictError(msg, name)
    return there


def _close(q: Queries, code: str) -> Plan[None]:
    what = yield from store.close_account(q, code)
    if what == "missing":
        raise missing(code)
    _require_gate(what, f"account {code}")


def _get(q: Queries, code: str) -> Plan[Account]:
    found = yield from store.account(q, code)
    if found is None:
        raise missing(code)
    return found


def missing(code: str) -> AccountNotFoundError:
    """What to raise where there is no such account."""
    return AccountNotFoundError(f"there is no account {code}: open it with ledger.accounts.open")


def _require_closing(through: datetime, by: str, note: str | None) -> None:
    rules.seconds(through, "through")
    _require_text("by= of a period", by)
    if note is not None:
        _require_text("note= of a period", note)


def _require_text(what: str, given: object) -> None:
    if not isinstance(given, str) or not given or not rules.is_storable(given):
        raise InvalidTransferError(f"{what} is a text, not {given!r}")


def _close_period(q: Queries, through: datetime, by: str, note: str | None) -> Plan[None]:
    what = yield from store.close_period(q, through, by, note)
    _require_gate(what, f"the period before {through}")
    if what == "future":
        raise ClosingError(f"the period before {through} is not over: it can be closed then")
    if what == "earlier":
        raise ClosingError(f"a period that ends after {through} is closed already, so this one is, too")  # fmt: skip


def _require_gate(what: str, whose: str) -> None:
    if what == "busy":
        msg = f"{whose} is not closed: transactions that post have not ended within two seconds; try again"
        raise ClosingError(msg)
