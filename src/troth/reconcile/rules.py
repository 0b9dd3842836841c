"""What two items that are the same thing disagree about, and what an item without an other half is. Pure.

An absence is evidence only in a feed that is known to be complete; a presence always is. So an item without an other half is
a break if the other feed is proven, and is only counted if it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fractions import Fraction
from typing import Final, Literal, TypeAlias

from troth.base.errors import UsageError
from troth.reconcile.model import (
    EVIDENCE,
    Action,
    Feed,
    Finding,
    Item,
    Kind,
    Side,
    Staged,
    Standing,
    Window,
)

LIMIT: Final = 2**63 - 1  # what an amount may be


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """What the other side keeps of an item: a share, and so many minor units; rounded half up.

    *kinds*: of which of their items that is so; none named: of all. A fee that differs by more than *tolerance* minor units
    is a break.
    """

    rate: Fraction = Fraction(0)
    fixed: int = 0
    tolerance: int = 0
    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.rate, Fraction):
            raise UsageError(f"a rate is a Fraction, such as Fraction(14, 1000), not {self.rate!r}")
        numbers: tuple[object, ...] = (self.fixed, self.tolerance)
        if not 0 <= self.rate <= 1 or not all(type(n) is int and 0 <= n <= LIMIT for n in numbers):
            msg = f"a fee needs a rate of 0 to 1, and fixed and tolerance are whole numbers from 0: {self}"
            raise UsageError(msg)
        if self.rate.denominator > LIMIT // 4:
            msg = f"a rate of so many decimals is no agreement with anybody, write Fraction(14, 1000): {self}"
            raise UsageError(msg)

    def of(self, amount: int) -> int:
        """The fee that is expected, in minor units. The database computes the same (`reconcile_fee`)."""
        numerator, denominator = self.rate.numerator, self.rate.denominator
        return (2 * abs(amount) * numerator + denominator) // (2 * denominator) + self.fixed


@dataclass(frozen=True, slots=True)
class Policy:
    """How strict a reconciliation is.

    *grace*: an item may be so long alone, or under way, before that means anything. *tolerance*: a difference of so many
    minor units is `fx_rounding`, which is booked rather than asked about. *fees*: what the other side may keep.
    """

    grace: timedelta = timedelta(days=1)
    tolerance: int = 0
    fees: FeeTerms | None = None

    def __post_init__(self) -> None:
        grace: object = self.grace
        tolerance: object = self.tolerance
        if not isinstance(grace, timedelta) or grace < timedelta(0):
            raise UsageError(f"grace is a timedelta, not negative: {self}")
        if type(tolerance) is not int or not 0 <= tolerance <= LIMIT:
            raise UsageError(f"tolerance is a whole number of minor units from 0: {self}")
        fees: object = self.fees
        if fees is not None and not isinstance(fees, FeeTerms):
            raise UsageError(f"fees are FeeTerms, not {fees!r}")


# Two items ------------------------------------------------------------------------------------------------------------

_Standings: TypeAlias = Literal["agree", "under way", "settles", "differ"]

_DIFFER: Final = "differ"
_STANDINGS: Final[dict[tuple[Standing, Standing], _Standings]] = {
    (Standing.PENDING, Standing.PENDING): "agree",
    (Standing.DONE, Standing.DONE): "agree",
    (Standing.FAILED, Standing.FAILED): "agree",
    (Standing.REVERSED, Standing.REVERSED): "agree",
    (Standing.PENDING, Standing.DONE): "under way",
    (Standing.DONE, Standing.PENDING): "under way",
    (Standing.IN_DOUBT, Standing.PENDING): "under way",
    (Standing.IN_DOUBT, Standing.DONE): "settles",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two items disagree about, and the money at risk."""

    kind: Kind
    minor: int
    currency: str
    said: str
    action: Action


def differences(ours: Item, theirs: Item, policy: Policy, until_s: float) -> list[Difference]:
    """What they disagree about, the gravest first; nothing: they agree. *until_s*: how far their feed goes, since 1970."""
    found = [
        *_currency(ours, theirs),
        *_standing(ours, theirs, policy, until_s),
        *_amount(ours, theirs, policy),
        *_fee(ours, theirs, policy),
    ]
    return sorted(found, key=lambda each: _GRAVITY.index(each.kind))


_GRAVITY: Final = (
    Kind.CURRENCY,
    Kind.AMOUNT,
    Kind.STATE,
    Kind.FEE,
    Kind.FX_ROUNDING,
    Kind.TIMING,
)


def agree(ours: Item, theirs: Item, policy: Policy) -> bool:
    """Do they agree in everything, whatever the day? What the database finds to agree, and no more, by `reconcile_odd`."""
    return (
        ours.currency == theirs.currency
        and ours.amount == theirs.amount
        and ours.standing == theirs.standing
        and ours.standing is not Standing.IN_DOUBT
        and not _fee(ours, theirs, policy)
    )


def _currency(ours: Item, theirs: Item) -> list[Difference]:
    if ours.currency == theirs.currency:
        return []
    said = f"{ours.currency} with us, {theirs.currency} with them"
    return [Difference(Kind.CURRENCY, abs(ours.amount), ours.currency, said, Action.ASK)]


def _standing(ours: Item, theirs: Item, policy: Policy, until_s: float) -> list[Difference]:
    how = _STANDINGS.get((ours.standing, theirs.standing), _DIFFER)
    if how == "agree":
        return []
    said = f"{ours.standing.word} with us, {theirs.standing.word} with them"
    kind, action = Kind.STATE, Action.ASK
    if how == "settles":
        said, action = "in doubt with us, and done with them", Action.SETTLE_DONE
    elif how == "under way" and _young(theirs, policy, until_s):
        kind, action = Kind.TIMING, Action.WAIT
    elif (ours.standing, theirs.standing) == (Standing.IN_DOUBT, Standing.FAILED):
        action = Action.SETTLE_NOT_DONE
    elif theirs.standing is Standing.REVERSED:
        action = Action.BOOK
    return [Difference(kind, abs(ours.amount), ours.currency, said, action)]


def _amount(ours: Item, theirs: Item, policy: Policy) -> list[Difference]:
    if ours.currency != theirs.currency or ours.amount == theirs.amount:
        return []
    by = theirs.amount - ours.amount
    said = f"{ours.amount} with us, {theirs.amount} with them: {by:+d}"
    if abs(by) <= policy.tolerance:
        kind, action = Kind.FX_ROUNDING, Action.CORRECT
    elif theirs.fee and by == -theirs.fee:
        kind, action, said = Kind.FEE, Action.CORRECT, f"{said}, which is their fee"
    else:
        kind, action = Kind.AMOUNT, Action.ASK
    return [Difference(kind, abs(by), ours.currency, said, action)]


def _fee(ours: Item, theirs: Item, policy: Policy) -> list[Difference]:
    if policy.fees is None or (policy.fees.kinds and theirs.kind not in policy.fees.kinds):
        return []
    expected = policy.fees.of(ours.amount)
    by = theirs.fee - expected
    if abs(by) <= policy.fees.tolerance:
        return []
    said = f"a fee of {theirs.fee}, where {expected} was agreed: {by:+d}"
    return [Difference(Kind.FEE, abs(by), theirs.currency, said, Action.ASK)]


def _young(item: Item, policy: Policy, until_s: float) -> bool:
    return until_s - item.at.timestamp() < policy.grace.total_seconds()


# All items of one key -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Judged:
    """What became of some items: *findings*, how many *agree*, and those that are *loose*: without an other half so far."""

    findings: list[Finding] = field(default_factory=list)
    agree: int = 0
    broken: int = 0
    loose: list[Staged] = field(default_factory=list)


def judge(
    key: str, items: Sequence[Staged], policy: Policy, window: Window, their_until_s: float
) -> Judged:
    """Judge all items of both sides that have one key. A break about them is named after the key.

    Of several on a side, the one that agrees best is the item, and the others are duplicates; those that failed moved
    nothing, and are none. What counts outside the window is the business of another run.
    """
    judged = Judged()
    ours, ours_failed = _alive(items, Side.OURS)
    theirs, theirs_failed = _alive(items, Side.THEIRS)
    judged.agree += ours_failed + theirs_failed
    if ours and theirs:
        mine, yours = min(
            ((o, t) for o in ours for t in theirs),
            key=lambda pair: _discord(pair[0], pair[1], policy, their_until_s),
        )
        found = differences(mine.item, yours.item, policy, their_until_s)
        if found and window.covers(min(mine.item.at, yours.item.at)):
            judged.findings.append(_of_pair(key, mine, yours, found))
            judged.broken += 2
        else:
            judged.agree += 2
        kept = {mine.name, yours.name}
    else:
        alone = [*ours, *theirs][:1]
        judged.loose += alone
        kept = {each.name for each in alone}
    for each in (*ours, *theirs):
        if each.name not in kept:
            if window.covers(each.item.at):
                judged.findings.append(_duplicate(key, each, [*ours, *theirs]))
                judged.broken += 1
            else:
                judged.agree += 1
    return judged


def _alive(items: Iterable[Staged], side: Side) -> tuple[list[Staged], int]:
    """Those of a side, in order, without those that failed while another did not; and how many these are."""
    mine = sorted((each for each in items if each.side is side), key=lambda each: each.order)
    alive = [each for each in mine if each.item.standing is not Standing.FAILED]
    kept = alive or mine[:1]
    return kept, len(mine) - len(kept)


def _discord(
    ours: Staged, theirs: Staged, policy: Policy, until_s: float
) -> tuple[int, int, object, object]:
    found = differences(ours.item, theirs.item, policy, until_s)
    worst = len(_GRAVITY) - _GRAVITY.index(found[0].kind) if found else 0
    return (worst, sum(each.minor for each in found), ours.order, theirs.order)


def _of_pair(key: str, ours: Staged, theirs: Staged, found: Sequence[Difference]) -> Finding:
    first = found[0]
    action = first.action
    if action is Action.SETTLE_DONE and len(found) > 1:
        action = Action.ASK  # it happened, and not as it was meant to: a person looks
    return Finding(
        subject=f"key:{key}",
        kind=first.kind,
        at=min(ours.item.at, theirs.item.at),
        minor=first.minor,
        currency=first.currency,
        note="; ".join(each.said for each in found),
        action=action,
        ours=(ours.item,),
        theirs=(theirs.item,),
    )


def _duplicate(key: str, extra: Staged, all_of_key: Sequence[Staged]) -> Finding:
    ours = extra.side is Side.OURS
    others = [each for each in all_of_key if each.name != extra.name]
    kept = [extra, *others][:EVIDENCE]
    where = "we have" if ours else "they have"
    count = sum(each.side is extra.side for each in all_of_key)
    return Finding(
        subject=extra.name,
        kind=Kind.DUPLICATE_OURS if ours else Kind.DUPLICATE_THEIRS,
        at=extra.item.at,
        minor=abs(extra.item.amount),
        currency=extra.item.currency,
        note=f"{where} {count} items for the key {key}; {extra.item.id} is one too many",
        action=Action.CORRECT if ours else Action.REFUND,
        ours=tuple(each.item for each in kept if each.side is Side.OURS),
        theirs=tuple(each.item for each in kept if each.side is Side.THEIRS),
        more=len(all_of_key) - len(kept),
    )


# One item -------------------------------------------------------------------------------------------------------------

Alone: TypeAlias = Finding | Literal["void", "unproven", "beyond"]


def alone(staged: Staged, other: Feed, policy: Policy, window: Window) -> Alone:
    """What an item without an other half is. *other*: the feed that does not have it."""
    item, ours = staged.item, staged.side is Side.OURS
    if ours and item.standing is Standing.FAILED:
        return "void"  # it never reached them
    if not window.covers(item.at):
        return "beyond"
    if not other.proven:
        return "unproven"
    kind = Kind.MISSING_THEIRS if ours else Kind.MISSING_OURS
    note, action = (
        ("they do not have it", Action.ASK) if ours else ("only they have it", Action.BOOK)
    )
    if _young(item, policy, other.until.timestamp()):
        kind, action = Kind.TIMING, Action.WAIT
        note = f"{note}, yet"
    elif item.standing is Standing.IN_DOUBT:
        action, note = Action.SETTLE_NOT_DONE, f"{note}, and we are in doubt about it"
    elif not ours and item.standing is Standing.FAILED:
        note, action = f"{note}, and there it failed", Action.ASK
    moved = 0 if item.standing is Standing.FAILED else abs(item.amount)
    return Finding(
        subject=f"key:{item.key}" if item.key is not None else staged.name,
        kind=kind,
        at=item.at,
        minor=moved,
        currency=item.currency,
        note=note,
        action=action,
        ours=(item,) if ours else (),
        theirs=() if ours else (item,),
    )
