"""The words of the ledger: accounts, what may be posted, what came of it, balances. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec

from troth.base.errors import Refused, TrothError, UsageError
from troth.base.money import Money

Side: TypeAlias = Literal["debit", "credit"]
Limit: TypeAlias = Literal[
    "none",
    "debits_must_not_exceed_credits",
    "credits_must_not_exceed_debits",
    "minimum_balance",
]
Kind: TypeAlias = Literal["transfer", "hold", "post", "void", "expiry", "reversal"]
Id: TypeAlias = UUID | str


class Outcome(StrEnum):
    """What came of a transfer: a closed set of names, in the order in which they are checked.

    The names are TigerBeetle's where it has the check, with `currency` for its `ledger`; docs/ledger/outcomes.md has them
    beside each other. A transfer id's first outcome among `created` and those from `debit_account_not_found` on is final.
    """

    CREATED = "created"
    LINKED_EVENT_FAILED = "linked_event_failed"
    EXISTS_WITH_DIFFERENT_FLAGS = "exists_with_different_flags"
    EXISTS_WITH_DIFFERENT_PENDING_ID = "exists_with_different_pending_id"
    EXISTS_WITH_DIFFERENT_REVERSED_ID = "exists_with_different_reversed_id"
    EXISTS_WITH_DIFFERENT_TIMEOUT = "exists_with_different_timeout"
    EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID = "exists_with_different_debit_account_id"
    EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID = "exists_with_different_credit_account_id"
    EXISTS_WITH_DIFFERENT_LEGS = "exists_with_different_legs"
    EXISTS_WITH_DIFFERENT_AMOUNT = "exists_with_different_amount"
    EXISTS_WITH_DIFFERENT_CURRENCY = "exists_with_different_currency"
    EXISTS_WITH_DIFFERENT_EFFECTIVE_AT = "exists_with_different_effective_at"
    EXISTS_WITH_DIFFERENT_METADATA = "exists_with_different_metadata"
    EXISTS_WITH_DIFFERENT_CODE = "exists_with_different_code"
    EXISTS = "exists"
    ID_ALREADY_FAILED = "id_already_failed"
    DEBIT_ACCOUNT_NOT_FOUND = "debit_account_not_found"
    CREDIT_ACCOUNT_NOT_FOUND = "credit_account_not_found"
    ACCOUNTS_MUST_HAVE_THE_SAME_CURRENCY = "accounts_must_have_the_same_currency"
    TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS = (
        "transfer_must_have_the_same_currency_as_accounts"
    )
    PENDING_TRANSFER_NOT_FOUND = "pending_transfer_not_found"
    PENDING_TRANSFER_NOT_PENDING = "pending_transfer_not_pending"
    REVERSED_TRANSFER_NOT_FOUND = "reversed_transfer_not_found"
    REVERSED_TRANSFER_NOT_POSTED = "reversed_transfer_not_posted"
    EXCEEDS_PENDING_TRANSFER_AMOUNT = "exceeds_pending_transfer_amount"
    PENDING_TRANSFER_ALREADY_POSTED = "pending_transfer_already_posted"
    PENDING_TRANSFER_ALREADY_VOIDED = "pending_transfer_already_voided"
    PENDING_TRANSFER_EXPIRED = "pending_transfer_expired"
    PENDING_TRANSFER_NOT_EXPIRED = "pending_transfer_not_expired"
    EXCEEDS_REVERSIBLE = "exceeds_reversible"
    PERIOD_CLOSED = "period_closed"
    DEBIT_ACCOUNT_ALREADY_CLOSED = "debit_account_already_closed"
    CREDIT_ACCOUNT_ALREADY_CLOSED = "credit_account_already_closed"
    EXCEEDS_CREDITS = "exceeds_credits"
    EXCEEDS_DEBITS = "exceeds_debits"
    BALANCE_BELOW_MINIMUM = "balance_below_minimum"

    @property
    def is_posted(self) -> bool:
        """Is the transfer in the books, from now or from before?"""
        return self is Outcome.CREATED or self is Outcome.EXISTS


# What may be posted ---------------------------------------------------------------------------------------------------


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What may be posted: a `Transfer`, `Compound`, `Hold`, `PostHold`, `VoidHold` or `Reversal`; and what each may have.

    *effective_at*: when it counts (with its zone; default: when it is booked). *code*: why, a word of yours. *metadata*: a
    JSON object.
    """

    effective_at: datetime | None = None
    code: str | None = None
    metadata: Mapping[str, Any] | None = None


class Transfer(Item, frozen=True):
    """Move *amount* (greater than 0) from the credit side of one account to the debit side of another.

    *id* is the idempotency key: a UUID, or a text of yours (`"invoice:7"`). *debit*, *credit*: codes of accounts.
    """

    id: Id
    debit: str
    credit: str
    amount: Money


class Leg(msgspec.Struct, frozen=True):
    """What a compound does to one account: a `Debit` or a `Credit` of *amount*, which is greater than 0."""

    account: str
    amount: Money


class Debit(Leg, frozen=True):
    """A leg on the debit side of an account."""


class Credit(Leg, frozen=True):
    """A leg on the credit side of an account."""


class Compound(Item, frozen=True):
    """A transfer of several legs, whose debits equal its credits in each currency. An account has one leg."""

    id: Id
    legs: Sequence[Leg]


class Hold(Item, frozen=True):
    """Reserve *amount* of a later transfer: it counts in limits. After *timeout* it holds nothing any more."""

    id: Id
    debit: str
    credit: str
    amount: Money
    timeout: timedelta | None = None


class PostHold(Item, frozen=True):
    """Post what a hold has reserved, or *amount* of it. The rest is released, or kept for later (*keep_rest*)."""

    id: Id
    hold: Id
    amount: Money | None = None
    keep_rest: bool = False


class VoidHold(Item, frozen=True):
    """Release what is left of a hold."""

    id: Id
    hold: Id


class Reversal(Item, frozen=True):
    """Take back a posted transfer, or *amount* of it: never more than it was, however often.

    A transfer of several legs is taken back as a whole.
    """

    id: Id
    of: Id
    amount: Money | None = None


@dataclass(frozen=True, slots=True, init=False)
class Linked:
    """Items that are posted all, or none of them."""

    items: tuple[Item, ...]

    def __init__(self, *items: Item) -> None:
        object.__setattr__(self, "items", items)


# What came of it ------------------------------------------------------------------------------------------------------


class Result(msgspec.Struct, frozen=True):
    """What came of one item.

    *seq*: the transfer's number in the books, *booked_at* when it was booked, *amount* what it moved in minor units (None
    for several legs); of what exists, the first's. *first*: the refusal that an id has (`id_already_failed`). All None
    for what is not in the books.
    """

    id: UUID
    outcome: Outcome
    seq: int | None = None
    booked_at: datetime | None = None
    amount: int | None = None
    first: Outcome | None = None


class TransferRefused(Refused):
    """The ledger said no; *results* has what came of each item. A business answer: the transaction rolls back.

    *outcome* and *id* are of the first item that was refused for itself.
    """

    def __init__(self, message: str, results: Sequence[Result], at: int) -> None:
        super().__init__(message)
        self.results = tuple(results)
        self.id = results[at].id
        self.outcome = results[at].outcome


class LedgerError(TrothError):
    """Something of the ledger's that is not a refusal of a transfer."""


class AccountNotFoundError(LedgerError):
    """No account has this code."""


class AccountConflictError(LedgerError):
    """The account exists, and is another one: *field* differs. Nothing was written."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.field = field


class ClosingError(LedgerError):
    """The period or the account cannot be closed now: it is not over, or transactions that post do not end."""


class InvalidTransferError(UsageError, ValueError):
    """The item cannot be posted, whatever is in the books: the calling code is wrong. Nothing was sent."""


def customer_of(account: str, tenant: str | None, metadata: Mapping[str, Any] | None) -> str:
    """Whose an account is, for people: its tenant, the `customer` in its metadata, or the last part of its code."""
    return str(tenant or (metadata or {}).get("customer") or account.rpartition(":")[2])


# What is in the books -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it was opened. *minimum*: minor units, of the limit `minimum_balance`."""

    id: int
    code: str
    currency: str
    side: Side
    limit: Limit
    minimum: int | None
    tenant: str | None
    metadata: Mapping[str, Any] | None
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Balance:
    """The totals of an account, in minor units; what is held is `pending`.

    *version*: how many entries they are the sum of. *unfolded*: how many legs they count besides.
    """

    account: str
    currency: str
    side: Side
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int
    version: int
    unfolded: int = 0

    @property
    def posted(self) -> Money:
        """What is posted, on the account's normal side."""
        return self._on_side(self.debits_posted, self.credits_posted)

    @property
    def available(self) -> Money:
        """What is posted less what is held on the other side: what may still be taken."""
        if self.side == "credit":
            return self._on_side(self.debits_posted + self.debits_pending, self.credits_posted)
        return self._on_side(self.debits_posted, self.credits_posted + self.credits_pending)

    def _on_side(self, debits: int, credits: int) -> Money:  # noqa: A002  (a side of the books)
        minor = debits - credits if self.side == "debit" else credits - debits
        return Money(minor, self.currency)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a transfer did to an account, and the account's totals after it (minor units)."""

    version: int
    transfer: UUID
    key: str | None
    kind: Kind
    side: Side
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
class Posted:
    """A transfer as it is in the books. *legs*: account code and minor units, debits greater than 0, credits less."""

    seq: int
    id: UUID
    key: str | None
    kind: Kind
    legs: tuple[tuple[str, int], ...]
    about: UUID | None
    booked_at: datetime
    effective_at: datetime
    code: str | None
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Total:
    """A line of the trial balance: all accounts of a currency. Its sides are equal, or something is broken."""

    currency: str
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
