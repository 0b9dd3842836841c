"""An auditor in memory: what the ledger's documents promise, in Python, sharing no line with the ledger.

It is told the same items as the ledger, in the order in which they count, and says what must come of each. Work that was
rolled back is taken back by what was noted while it was done, so several transactions may be open at once, as long as no
two of them touch the same account with a limit, the same hold, the same original or the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from troth import Money
from troth.ledger import (
    Compound,
    Debit,
    Hold,
    Linked,
    PostHold,
    Reversal,
    Transfer,
    VoidHold,
)

Item = Transfer | Compound | Hold | PostHold | VoidHold | Reversal
Undo = list[Callable[[], None]]
FIELDS = {
    "hold": "pending_id",
    "of": "reversed_id",
    "timeout": "timeout",
    "debit": "debit_account_id",
    "credit": "credit_account_id",
    "legs": "legs",
    "amount": "amount",
    "code": "code",
}
LINKED = "linked_event_failed"


@dataclass
class Account:
    """What is on it: each side's posted and pending, in minor units."""

    code: str
    currency: str
    side: str
    limit: str
    minimum: int = 0
    closed: bool = False
    posted: dict[str, int] = field(default_factory=lambda: {"debit": 0, "credit": 0})
    pending: dict[str, int] = field(default_factory=lambda: {"debit": 0, "credit": 0})
    expired: dict[str, int] = field(default_factory=lambda: {"debit": 0, "credit": 0})


@dataclass
class Kept:
    """A transfer that is in the books. *legs*: account and minor units, debits greater than 0."""

    item: Item
    legs: tuple[tuple[str, int], ...]
    amount: int | None
    reversed: int = 0
    left: int = 0  # of a hold
    state: str = ""  # of a hold: open, posted, voided, expired (over, whether booked or not)


class Refusal(Exception):
    """The outcome of an item that cannot be."""


class Auditor:
    """The books as they must be."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self.accounts = {each.code: each for each in accounts}
        self.kept: dict[str, Kept] = {}
        self.refused: dict[str, str] = {}
        self.closed_before: datetime | None = None

    # What is posted ---------------------------------------------------------------------------------------------------

    def post(self, items: Sequence[Item | Linked]) -> tuple[list[str], Undo]:
        """The outcome of each item, and how to take it all back."""
        outcomes: list[str] = []
        undo: Undo = []
        for each in items:
            group = list(each.items) if isinstance(each, Linked) else [each]
            outcomes += self._group(group, undo, linked=isinstance(each, Linked))
        return outcomes, undo

    def _group(self, group: list[Item], undo: Undo, *, linked: bool) -> list[str]:
        said: list[str] = []
        mine: Undo = []
        if linked and any(self._knows(item) for item in group):
            return [self._one(item, mine) if self._knows(item) else LINKED for item in group]
        for place, item in enumerate(group):
            outcome = self._one(item, mine)
            said.append(outcome)
            if linked and outcome not in {"created", "exists"}:
                take_back(mine)
                if is_final(outcome):
                    self._refuse(str(item.id), outcome, undo)
                return [LINKED if n != place else outcome for n in range(len(group))]
            if is_final(outcome) and outcome != "created":
                self._refuse(str(item.id), outcome, mine)
        undo += mine
        return said

    def _knows(self, item: Item) -> bool:
        return str(item.id) in self.kept or str(item.id) in self.refused

    def _refuse(self, key: str, outcome: str, undo: Undo) -> None:
        self.refused[key] = outcome
        undo.append(lambda: self.refused.pop(key))

    def _one(self, item: Item, undo: Undo) -> str:
        key = str(item.id)
        if key in self.kept:
            return self._repeated(item, self.kept[key])
        if key in self.refused:
            return "id_already_failed"
        try:
            kept = self._judge(item)
        except Refusal as no:
            return str(no)
        self._do(item, kept, undo)
        return "created"

    def _repeated(self, item: Item, first: Kept) -> str:
        """The first field that differs from what is kept, in the order in which they are looked at."""
        was = first.item
        flags = (type(item), getattr(item, "keep_rest", None))
        if flags != (type(was), getattr(was, "keep_rest", None)):
            return "exists_with_different_flags"
        for name, word in FIELDS.items():
            now, then = getattr(item, name, None), getattr(was, name, None)
            if name == "amount":
                then = None if now is None else Money(first.amount, now.currency)
            if name == "legs" and now is not None:
                now, then = set(now), set(then)
            if now != then:
                return f"exists_with_different_{word}"
        return "exists"

    # What must be so before -------------------------------------------------------------------------------------------

    def _judge(self, item: Item) -> Kept:
        match item:
            case Transfer() | Hold():
                legs = ((item.debit, item.amount.minor), (item.credit, -item.amount.minor))
                kept = Kept(item, legs, item.amount.minor)
                self._found(legs)
                currencies = {self.accounts[code].currency for code, _ in legs}
                if len(currencies) > 1:
                    raise Refusal("accounts_must_have_the_same_currency")
                if currencies != {item.amount.currency}:
                    raise Refusal("transfer_must_have_the_same_currency_as_accounts")
                if isinstance(item, Hold):
                    kept.left, kept.state = item.amount.minor, "open"
            case Compound():
                legs = tuple(
                    (leg.account, leg.amount.minor if isinstance(leg, Debit) else -leg.amount.minor)
                    for leg in item.legs
                )
                kept = Kept(item, legs, None)
                self._found(legs)
                if any(
                    self.accounts[leg.account].currency != leg.amount.currency for leg in item.legs
                ):
                    raise Refusal("transfer_must_have_the_same_currency_as_accounts")
            case PostHold() | VoidHold():
                kept = self._of_hold(item)
            case Reversal():
                kept = self._of_original(item)
        effective = item.effective_at
        if (
            effective is not None
            and self.closed_before is not None
            and effective < self.closed_before
        ):
            raise Refusal("period_closed")
        self._open(item, kept)
        self._within_limits(item, kept)
        return kept

    def _found(self, legs: Sequence[tuple[str, int]]) -> None:
        for sign, side in ((1, "debit"), (-1, "credit")):
            if any(code not in self.accounts for code, minor in legs if minor * sign > 0):
                raise Refusal(f"{side}_account_not_found")

    def _of_hold(self, item: PostHold | VoidHold) -> Kept:
        hold = self.kept.get(str(item.hold))
        if hold is None:
            raise Refusal("pending_transfer_not_found")
        if not isinstance(hold.item, Hold):
            raise Refusal("pending_transfer_not_pending")
        asked = item.amount.minor if isinstance(item, PostHold) and item.amount else None
        if asked is not None and hold.state == "open" and asked > hold.left:
            raise Refusal("exceeds_pending_transfer_amount")
        if asked is not None and asked > hold.amount:
            raise Refusal("exceeds_pending_transfer_amount")
        if hold.state != "open":
            raise Refusal(
                "pending_transfer_expired"
                if hold.state == "expired"
                else f"pending_transfer_already_{hold.state}"
            )
        amount = hold.left if asked is None else asked
        legs = tuple((code, amount if minor > 0 else -amount) for code, minor in hold.legs)
        return Kept(item, legs, amount)

    def _of_original(self, item: Reversal) -> Kept:
        original = self.kept.get(str(item.of))
        if original is None:
            raise Refusal("reversed_transfer_not_found")
        if isinstance(original.item, Hold | VoidHold):
            raise Refusal("reversed_transfer_not_posted")
        if original.amount is None:
            if original.reversed or item.amount is not None:
                raise Refusal("exceeds_reversible")
            return Kept(item, tuple((code, -minor) for code, minor in original.legs), None)
        left = original.amount - original.reversed
        amount = left if item.amount is None else item.amount.minor
        if not left or amount > left:
            raise Refusal("exceeds_reversible")
        legs = tuple((code, -amount if minor > 0 else amount) for code, minor in original.legs)
        return Kept(item, legs, amount)

    def _open(self, item: Item, kept: Kept) -> None:
        if isinstance(item, VoidHold):
            return
        for sign, side in ((1, "debit"), (-1, "credit")):
            if any(self.accounts[code].closed for code, minor in kept.legs if minor * sign > 0):
                raise Refusal(f"{side}_account_already_closed")

    def _within_limits(self, item: Item, kept: Kept) -> None:
        if isinstance(item, PostHold | VoidHold):
            return  # was counted when it was held
        names = {
            "debits_must_not_exceed_credits": "exceeds_credits",
            "credits_must_not_exceed_debits": "exceeds_debits",
            "minimum_balance": "balance_below_minimum",
        }
        broken = {
            self.accounts[code].limit
            for code, minor in kept.legs
            if self.room(self.accounts[code], "debit" if minor > 0 else "credit") < abs(minor)
        }
        for limit, outcome in names.items():
            if limit in broken:
                raise Refusal(outcome)

    @staticmethod
    def room(account: Account, side: str) -> float:
        """How much more may be booked or held on this side of an account now."""
        held = account.pending[side] - account.expired[side]
        debits, credits_ = account.posted["debit"], account.posted["credit"]
        match account.limit, side:
            case "debits_must_not_exceed_credits", "debit":
                return credits_ - debits - held
            case "credits_must_not_exceed_debits", "credit":
                return debits - credits_ - held
            case "minimum_balance", "debit" if account.side == "credit":
                return credits_ - debits - held - account.minimum
            case "minimum_balance", "credit" if account.side == "debit":
                return debits - credits_ - held - account.minimum
            case _:
                return float("inf")

    # Doing it ---------------------------------------------------------------------------------------------------------

    def _do(self, item: Item, kept: Kept, undo: Undo) -> None:
        key = str(item.id)
        self.kept[key] = kept
        undo.append(lambda: self.kept.pop(key))
        for code, minor in kept.legs:
            side = "debit" if minor > 0 else "credit"
            account = self.accounts[code]
            if isinstance(item, Hold):
                self._add(account.pending, side, abs(minor), undo)
            elif not isinstance(item, VoidHold):
                self._add(account.posted, side, abs(minor), undo)
        if isinstance(item, PostHold | VoidHold):
            hold = self.kept[str(item.hold)]
            keeps = isinstance(item, PostHold) and item.keep_rest
            gone = kept.amount if keeps else hold.left
            assert gone is not None
            for code, minor in hold.legs:
                self._add(
                    self.accounts[code].pending, "debit" if minor > 0 else "credit", -gone, undo
                )
            self._set(hold, "left", hold.left - gone, undo)
            if not hold.left:
                state = "voided" if isinstance(item, VoidHold) else "posted"
                self._set(hold, "state", state, undo)
        if isinstance(item, Reversal):
            original = self.kept[str(item.of)]
            self._set(original, "reversed", original.reversed + (kept.amount or 1), undo)

    @staticmethod
    def _add(totals: dict[str, int], side: str, change: int, undo: Undo) -> None:
        totals[side] += change

        def back() -> None:
            totals[side] -= change

        undo.append(back)

    @staticmethod
    def _set(kept: Kept, name: str, value: object, undo: Undo) -> None:
        before = getattr(kept, name)
        setattr(kept, name, value)
        undo.append(lambda: setattr(kept, name, before))

    # Time, closing ----------------------------------------------------------------------------------------------------

    def pass_time_of(self, key: str) -> None:
        """The hold is over: it counts no more in limits, whether or not that is booked."""
        hold = self.kept[key]
        hold.state = "expired"
        for code, minor in hold.legs:
            self.accounts[code].expired["debit" if minor > 0 else "credit"] += hold.left

    def book_expiries(self) -> int:
        """All that is over is booked as released; how many."""
        over = [each for each in self.kept.values() if each.state == "expired" and each.left]
        for hold in over:
            for code, minor in hold.legs:
                side = "debit" if minor > 0 else "credit"
                self.accounts[code].pending[side] -= hold.left
                self.accounts[code].expired[side] -= hold.left
            hold.left = 0
        return len(over)

    def totals(self) -> dict[str, tuple[int, int, int, int]]:
        """Each account: debits and credits posted, debits and credits pending; what is over is not pending any more."""
        return {
            code: (
                a.posted["debit"],
                a.posted["credit"],
                a.pending["debit"] - a.expired["debit"],
                a.pending["credit"] - a.expired["credit"],
            )
            for code, a in self.accounts.items()
        }


def is_final(outcome: str) -> bool:
    """Is it an answer that the id keeps?"""
    return outcome not in {"exists", "id_already_failed", LINKED} and not outcome.startswith(
        "exists_"
    )


def take_back(undo: Undo) -> None:
    """Undo what was noted, the last first."""
    while undo:
        undo.pop()()
