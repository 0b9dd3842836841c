"""Decisions about what is posted, before anything is sent: ids, what is malformed, and the arrays of a call. No I/O."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Sized
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, LiteralString, TypeVar
from uuid import UUID

import msgspec

from troth.base import codec
from troth.base.money import Money
from troth.ledger.model import (
    Compound,
    Credit,
    Debit,
    Hold,
    Id,
    InvalidTransferError,
    Item,
    Linked,
    Outcome,
    PostHold,
    Result,
    Reversal,
    Transfer,
    TransferRefused,
    VoidHold,
)

MOST_ITEMS: Final = 8192
"""Of one call: so many numbers are kept for each."""

LONGEST: Final = 255
_METADATA_BYTES: Final = 16 * 1024
_LONGEST_TIMEOUT: Final = timedelta(days=36525)
_NAMES: Final = UUID("0c7a1d1e-54f0-8e2b-9b1f-3d9c1f8a6e57").bytes
_FEWEST_LEGS: Final = 2
T = TypeVar("T")

TRANSFER, HOLD, POST, VOID, EXPIRY, REVERSAL = range(6)


def transfer_id(key: Id) -> UUID:
    """The id of a transfer: a UUID stands for itself, a text for the name-based UUID made of it (RFC 9562, version 8, SHA-256).

    Raises `InvalidTransferError` for an empty text, one of more than 255 characters, and anything else.
    """
    if isinstance(key, UUID):
        return key
    text = _text(key, "the id of a transfer")
    digest = int.from_bytes(hashlib.sha256(_NAMES + text.encode()).digest()[:16])
    return UUID(int=digest & ~(0xF << 76) & ~(0x3 << 62) | 0x8 << 76 | 0x2 << 62)


# One item -------------------------------------------------------------------------------------------------------------


class Prepared(msgspec.Struct, frozen=True):
    """An item that may be sent. *legs*, of several: account, currency, minor units (a debit is greater than 0)."""

    id: UUID
    kind: int
    key: str | None
    debit: str | None
    credit: str | None
    amount: int | None
    currency: str | None
    about: UUID | None = None
    keep: bool | None = None
    timeout_s: float | None = None
    effective_s: float | None = None
    code: str | None = None
    metadata: str | None = None
    legs: tuple[tuple[str, str, int], ...] = ()


def prepare(item: object) -> Prepared:
    """Check an item for everything that can be known without the books. Raises `InvalidTransferError`."""
    match item:
        case Transfer():
            return _two_legs(item, TRANSFER, None)
        case Hold():
            return _two_legs(item, HOLD, _timeout(item))
        case Compound():
            return _several_legs(item)
        case PostHold():
            return _about(item, POST, item.hold, item.amount, keep=bool(item.keep_rest))
        case VoidHold():
            return _about(item, VOID, item.hold, None)
        case Reversal():
            return _about(item, REVERSAL, item.of, item.amount)
    msg = f"a ledger posts Transfer, Compound, Hold, PostHold, VoidHold and Reversal, not {item!r}"
    raise InvalidTransferError(msg)


def expiry(hold: UUID) -> Prepared:
    """The booking of the end of a hold whose time is over."""
    return Prepared(transfer_id(f"expiry:{hold}"), EXPIRY, None, None, None, None, None, hold)


def _two_legs(item: Transfer | Hold, kind: int, timeout_s: float | None) -> Prepared:
    amount = item.amount
    minor = amount.minor if type(amount) is Money and amount.minor > 0 else _amount(amount, item.id)
    debit, credit = account_code(item.debit), account_code(item.credit)
    if debit == credit:
        msg = f"transfer {item.id!r} has {debit} on both sides: its accounts must be different"
        raise InvalidTransferError(msg)
    if type(item.id) is UUID and item.effective_at is None and item.code is None and item.metadata is None:  # fmt: skip
        return Prepared(item.id, kind, None, debit, credit, minor, amount.currency, None, None, timeout_s)  # fmt: skip
    return Prepared(
        transfer_id(item.id), kind, _key(item.id), debit, credit, minor, amount.currency, None, None, timeout_s,
        *_terms(item),
    )  # fmt: skip


def _several_legs(item: Compound) -> Prepared:
    given: object = item.legs
    if not isinstance(given, Sequence) or len(given) < _FEWEST_LEGS:
        msg = f"transfer {item.id!r} has a list of two or more legs, not {item.legs!r}"
        raise InvalidTransferError(msg)
    legs: list[tuple[str, str, int]] = []
    for leg in item.legs:
        if not isinstance(leg, Debit | Credit):
            msg = f"the legs of transfer {item.id!r} are Debit and Credit, not {leg!r}"
            raise InvalidTransferError(msg)
        minor = _amount(leg.amount, item.id)
        signed = minor if isinstance(leg, Debit) else -minor
        legs.append((account_code(leg.account), leg.amount.currency, signed))
    sums: Counter[str] = Counter()
    for _, currency, signed in legs:
        sums[currency] += signed
    unequal = ", ".join(f"{s} {currency}" for currency, s in sums.items() if s)
    if unequal:
        msg = f"the debits and credits of transfer {item.id!r} are not equal in each currency: {unequal} too much"
        raise InvalidTransferError(msg)
    twice = [code for code, count in Counter(code for code, _, _ in legs).items() if count > 1]
    if twice:
        msg = f"transfer {item.id!r} has several legs of {', '.join(twice)}: write one leg for each account"
        raise InvalidTransferError(msg)
    return Prepared(
        transfer_id(item.id), TRANSFER, _key(item.id), None, None, None, None, None, None, None, *_terms(item),
        tuple(legs),
    )  # fmt: skip


def _about(
    item: PostHold | VoidHold | Reversal, kind: int, of: Id, amount: Money | None, *, keep: bool | None = None
) -> Prepared:  # fmt: skip
    own, other = transfer_id(item.id), transfer_id(of)
    if own == other:
        msg = f"transfer {item.id!r} is about itself: it needs an id of its own"
        raise InvalidTransferError(msg)
    minor = None if amount is None else _amount(amount, item.id)
    return Prepared(
        own, kind, _key(item.id), None, None, minor, None if amount is None else amount.currency, other, keep, None,
        *_terms(item),
    )  # fmt: skip


def _amount(amount: object, of: Id) -> int:
    if not isinstance(amount, Money):
        msg = f"the amount of transfer {of!r} is Money, not {amount!r}"
        raise InvalidTransferError(msg)
    if amount.minor <= 0:
        msg = f"transfer {of!r} moves {amount}: an amount is greater than 0; the sides say the direction"
        raise InvalidTransferError(msg)
    return amount.minor


def _timeout(item: Hold) -> float | None:
    if item.timeout is None:
        return None
    given: object = item.timeout
    if not isinstance(given, timedelta) or not timedelta(0) < given <= _LONGEST_TIMEOUT:
        msg = f"the timeout of hold {item.id!r} is a timedelta greater than 0 and at most 100 years, not {item.timeout!r}"
        raise InvalidTransferError(msg)
    return item.timeout.total_seconds()


_NO_TERMS: Final = (None, None, None)


def _terms(item: Item) -> tuple[float | None, str | None, str | None]:
    if item.effective_at is None and item.code is None and item.metadata is None:
        return _NO_TERMS
    effective = None if item.effective_at is None else seconds(item.effective_at, "effective_at")
    code = None if item.code is None else _text(item.code, "code")
    return effective, code, json_object(item.metadata)


def _key(key: Id) -> str | None:
    return None if isinstance(key, UUID) else key


# Arguments ------------------------------------------------------------------------------------------------------------


def account_code(code: object) -> str:
    """The code of an account: parts with `:` between them. Raises `InvalidTransferError`."""
    if not isinstance(code, str):  # perhaps nothing that a cache can look for
        raise InvalidTransferError(f"the code of an account is a text, not {code!r}")
    return _account_code(code)


@lru_cache(maxsize=10_000)
def _account_code(code: str) -> str:
    text = _text(code, "the code of an account")
    if text.startswith(":") or text.endswith(":") or "::" in text:
        msg = f"{code!r} is no code of an account: its parts, with : between them, are not empty"
        raise InvalidTransferError(msg)
    return text


def seconds(at: object, what: str) -> float:
    """A time as seconds since 1970. Raises `InvalidTransferError` if it has no zone."""
    if not isinstance(at, datetime) or at.tzinfo is None:
        msg = f"{what} is a datetime with its zone, not {at!r}"
        raise InvalidTransferError(msg)
    return at.timestamp()


def json_object(metadata: Mapping[str, Any] | None) -> str | None:
    """Metadata as JSON text. Raises `InvalidTransferError`, and `PayloadError` for what cannot become JSON."""
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidTransferError(f"metadata is a mapping, which becomes a JSON object, not {metadata!r}")  # fmt: skip
    encoded = codec.encode(dict(metadata))
    if len(encoded) > _METADATA_BYTES:
        msg = f"metadata is {len(encoded)} bytes of JSON, {_METADATA_BYTES} at most: keep large things in your own table"
        raise InvalidTransferError(msg)
    text = encoded.decode()
    if "\\u0000" in text:
        raise InvalidTransferError("metadata holds a NUL character, which PostgreSQL cannot keep")
    return text


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not is_storable(value):
        msg = f"{what} is a text of 1 to {LONGEST} characters without NUL, not {value!r}"
        raise InvalidTransferError(msg)
    return value


def is_storable(text: str) -> bool:
    """Can PostgreSQL keep it? It has no NUL, and no half of a surrogate pair, which is no character."""
    return "\0" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))


# A call ---------------------------------------------------------------------------------------------------------------

Arrays = tuple[Any, ...]


def gather(items: Sequence[Item | Linked]) -> tuple[list[Prepared], list[int | None]]:
    """The items of a call, in order, and for each the number of the linked group that it is in."""
    if not isinstance(items, Sequence):
        raise InvalidTransferError(f"a call posts a list of items, not {items!r}")
    if len(items) == 1 and not isinstance(
        items[0], Linked
    ):  # most calls, and nothing in them can be twice
        return [prepare(items[0])], [None]
    prepared: list[Prepared] = []
    groups: list[int | None] = []
    for number, item in enumerate(items):
        members = item.items if isinstance(item, Linked) else (item,)
        if not members:
            raise InvalidTransferError("Linked() has no items")
        prepared += [prepare(member) for member in members]
        groups += [number if isinstance(item, Linked) else None] * len(members)
    require_call(prepared)
    return prepared, groups


def require_call(prepared: Sequence[Prepared]) -> None:
    """Raise `InvalidTransferError` for what cannot be one call."""
    if not 0 < len(prepared) <= MOST_ITEMS:
        msg = f"a call posts 1 to {MOST_ITEMS} transfers, not {len(prepared)}"
        raise InvalidTransferError(msg)
    if len({each.id for each in prepared}) < len(prepared):
        twice = [str(i) for i, count in Counter(each.id for each in prepared).items() if count > 1]
        msg = f"transfer {twice[0]} is twice in one call: another transfer needs another id"
        raise InvalidTransferError(msg)


def arrays(prepared: Sequence[Prepared], groups: Sequence[int | None]) -> Arrays:
    """The parameters of `ledger_post` behind its first two. What no item has is None."""
    places: dict[tuple[str | None, str | None], int] = {}
    take = places.setdefault
    # Plain transfers have all of the first six, and nothing else as a rule: the rest is looked at only where it is.
    debits: list[int | None] = []
    credits_: list[int | None] = []
    more = legs = False
    for each in prepared:
        if each.debit is None:
            debits.append(None)
            credits_.append(None)
            more = True
            legs = legs or bool(each.legs)
        else:
            debits.append(take((each.debit, each.currency), len(places) + 1))
            credits_.append(take((each.credit, each.currency), len(places) + 1))
            more = more or each.kind != TRANSFER
    c_item, c_account, c_amount = _legs(prepared, take, places) if legs else (None, None, None)
    return (
        [code for code, _ in places],
        [currency for _, currency in places],
        [each.id for each in prepared],
        debits,
        credits_,
        [each.amount for each in prepared],
        [each.kind for each in prepared] if more and any(each.kind for each in prepared) else None,
        _any([each.about for each in prepared]) if more else None,
        _any([each.keep for each in prepared]) if more else None,
        _any([each.timeout_s for each in prepared]) if more else None,
        _any([each.effective_s for each in prepared]),
        _any(groups),
        _any([each.currency if each.debit is None else None for each in prepared])
        if more
        else None,
        _any([each.key for each in prepared]),
        _any([each.code for each in prepared]),
        _any([each.metadata for each in prepared]),
        c_item,
        c_account,
        c_amount,
    )


def _legs(
    prepared: Sequence[Prepared],
    take: Callable[[tuple[str | None, str | None], int], int],
    places: Sized,
) -> tuple[list[int], list[int], list[int]]:
    """The legs of items that have several: whose they are, where they go, and how much."""
    found = [
        (number, take((code, currency), len(places) + 1), amount)
        for number, each in enumerate(prepared, 1)
        for code, currency, amount in each.legs
    ]
    return (
        [item for item, _, _ in found],
        [at for _, at, _ in found],
        [sum_ for _, _, sum_ in found],
    )


def _any(values: Sequence[T | None]) -> Sequence[T | None] | None:
    return None if values.count(None) == len(values) else values


def results(prepared: Sequence[Prepared], first_seq: int, at: datetime, said: str | None) -> list[Result]:  # fmt: skip
    """What came of each item, from what `ledger_post` answered."""
    if said is None:
        return [
            Result(each.id, Outcome.CREATED, seq, at, each.amount)
            for seq, each in enumerate(prepared, first_seq)
        ]
    return [_result(each, *one) for each, one in zip(prepared, codec.decode(said.encode()), strict=True)]  # fmt: skip


def _result(
    each: Prepared, outcome: str, seq: int | None = None, at: str | None = None, amount: int | None = None,
    first: str | None = None,
) -> Result:  # fmt: skip
    if first is not None:
        return Result(each.id, Outcome(outcome), first=Outcome(first))
    booked = None if at is None else datetime.fromisoformat(at)
    return Result(each.id, Outcome(outcome), seq, booked, amount)


# Refusals -------------------------------------------------------------------------------------------------------------

MEANS: Final[Mapping[Outcome, LiteralString]] = {
    Outcome.CREATED: "it was posted by this call",
    Outcome.LINKED_EVENT_FAILED: "another item of its group was refused, so nothing of the group was posted",
    Outcome.EXISTS_WITH_DIFFERENT_FLAGS: "its id belongs to a transfer of another kind; another transfer needs another id",
    Outcome.EXISTS_WITH_DIFFERENT_PENDING_ID: "its id belongs to a transfer about another hold",
    Outcome.EXISTS_WITH_DIFFERENT_REVERSED_ID: "its id belongs to a reversal of another transfer",
    Outcome.EXISTS_WITH_DIFFERENT_TIMEOUT: "its id belongs to a hold with another timeout",
    Outcome.EXISTS_WITH_DIFFERENT_DEBIT_ACCOUNT_ID: "its id belongs to a transfer with another debit account",
    Outcome.EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT_ID: "its id belongs to a transfer with another credit account",
    Outcome.EXISTS_WITH_DIFFERENT_LEGS: "its id belongs to a transfer with other legs",
    Outcome.EXISTS_WITH_DIFFERENT_AMOUNT: "its id belongs to a transfer of another amount",
    Outcome.EXISTS_WITH_DIFFERENT_CURRENCY: "its id belongs to a transfer in another currency",
    Outcome.EXISTS_WITH_DIFFERENT_EFFECTIVE_AT: "its id belongs to a transfer with another effective time",
    Outcome.EXISTS_WITH_DIFFERENT_METADATA: "its id belongs to a transfer with other metadata",
    Outcome.EXISTS_WITH_DIFFERENT_CODE: "its id belongs to a transfer with another code",
    Outcome.EXISTS: "the same transfer was posted before",
    Outcome.ID_ALREADY_FAILED: "a transfer with its id was refused, and that is final; try again with another id",
    Outcome.DEBIT_ACCOUNT_NOT_FOUND: "there is no such debit account: open it first",
    Outcome.CREDIT_ACCOUNT_NOT_FOUND: "there is no such credit account: open it first",
    Outcome.ACCOUNTS_MUST_HAVE_THE_SAME_CURRENCY: "its accounts have two currencies: exchange by a Compound through a trading account",
    Outcome.TRANSFER_MUST_HAVE_THE_SAME_CURRENCY_AS_ACCOUNTS: "its amount is in another currency than its account",
    Outcome.PENDING_TRANSFER_NOT_FOUND: "there is no hold with this id",
    Outcome.PENDING_TRANSFER_NOT_PENDING: "the transfer that it is about is no hold",
    Outcome.REVERSED_TRANSFER_NOT_FOUND: "there is no transfer with the id that it reverses",
    Outcome.REVERSED_TRANSFER_NOT_POSTED: "what it reverses is a hold, or the end of one: void the hold instead",
    Outcome.EXCEEDS_PENDING_TRANSFER_AMOUNT: "it posts more than the hold has",
    Outcome.PENDING_TRANSFER_ALREADY_POSTED: "the hold was posted",
    Outcome.PENDING_TRANSFER_ALREADY_VOIDED: "the hold was voided",
    Outcome.PENDING_TRANSFER_EXPIRED: "the hold's time is over",
    Outcome.PENDING_TRANSFER_NOT_EXPIRED: "the hold's time is not over",
    Outcome.EXCEEDS_REVERSIBLE: "it takes back more than is left of the transfer",
    Outcome.PERIOD_CLOSED: "its effective time is in a closed period: post it into an open one",
    Outcome.DEBIT_ACCOUNT_ALREADY_CLOSED: "its debit account is closed",
    Outcome.CREDIT_ACCOUNT_ALREADY_CLOSED: "its credit account is closed",
    Outcome.EXCEEDS_CREDITS: "the debits of its debit account would exceed the credits",
    Outcome.EXCEEDS_DEBITS: "the credits of its credit account would exceed the debits",
    Outcome.BALANCE_BELOW_MINIMUM: "the balance of an account would be below its minimum",
}


def require_posted(prepared: Sequence[Prepared], found: Sequence[Result]) -> None:
    """Raise `TransferRefused` if an item is not in the books now."""
    if len(found) == 1 and (found[0].outcome is Outcome.CREATED or found[0].outcome.is_posted):
        return
    refused = [at for at, result in enumerate(found) if not result.outcome.is_posted]
    if not refused:
        return
    # The first one that was refused for itself, and not for another one's sake.
    at = next((i for i in refused if found[i].outcome is not Outcome.LINKED_EVENT_FAILED), refused[0])  # fmt: skip
    outcome, each = found[at].outcome, prepared[at]
    first = f" ({found[at].first})" if found[at].first else ""
    where = f" (debit {each.debit}, credit {each.credit})" if each.debit else ""
    msg = f"transfer {each.key or each.id}{where} was refused: {outcome}{first}: {MEANS[outcome]}"
    raise TransferRefused(msg, found, at)
