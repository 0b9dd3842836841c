"""Two sides of any size that are made as they are read, with breaks of every kind planted in them: one of each in 10,000."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from troth.reconcile import FeeTerms, Item, OneToOne, Page, Standing, Window
from troth.reconcile.rules import Policy

EVERY = 10_000
DAY = timedelta(days=1)
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
WINDOW = Window(UNTIL - 31 * DAY, UNTIL, DAY)
FEES = FeeTerms(Fraction(14, 1000), 25, kinds=("",))
TERMS = {
    "grace": DAY, "tolerance": 2, "fees": FEES, "rules": [OneToOne("amount and day", 1, on=("kind",), days=1)],
}  # fmt: skip
POLICY = Policy(DAY, 2, FEES)


def amount_of(n: int) -> int:
    return 1000 + n * 7919 % 90_000


def at_of(n: int) -> datetime:
    return UNTIL - 2 * DAY - timedelta(seconds=n * 2_400_000 // 1_000_003 % 2_400_000)


def ours_of(n: int, **more: object) -> Item:
    base = {"amount": amount_of(n), "at": at_of(n), "key": f"run-{n}/charge"}
    return Item(**{"id": f"run-{n}/charge", "currency": "EUR", **base, **more})  # type: ignore[arg-type]


def theirs_of(n: int, **more: object) -> Item:
    base = {
        "amount": amount_of(n),
        "at": at_of(n) + timedelta(seconds=40),
        "key": f"run-{n}/charge",
    }
    fee = FEES.of(amount_of(n))
    return Item(**{"id": f"ch_{n}", "currency": "EUR", "fee": fee, **base, **more})  # type: ignore[arg-type]


Both = tuple[list[Item], list[Item]]
Young = UNTIL - timedelta(hours=2)


def _lonely(n: int, kind: str) -> Item:
    return Item(f"{kind}-{n}", 10**9 + n * 1000, "EUR", at_of(n), kind="transfer")


# What is planted: both sides, then the breaks by subject that this makes.
PLANTS: dict[str, Callable[[int], tuple[Both, dict[str, str]]]] = {
    "missing_theirs": lambda n: (([ours_of(n)], []), {f"key:run-{n}/charge": "missing_theirs"}),
    "missing_ours": lambda n: (([], [theirs_of(n)]), {f"key:run-{n}/charge": "missing_ours"}),
    "theirs greater": lambda n: (
        ([ours_of(n)], [theirs_of(n, amount=amount_of(n) + 100, fee=FEES.of(amount_of(n)))]),
        {f"key:run-{n}/charge": "amount"},
    ),
    "theirs less": lambda n: (
        ([ours_of(n)], [theirs_of(n, amount=amount_of(n) - 100)]), {f"key:run-{n}/charge": "amount"},
    ),
    "currency": lambda n: (([ours_of(n)], [theirs_of(n, currency="USD")]), {f"key:run-{n}/charge": "currency"}),
    "state": lambda n: (
        ([ours_of(n)], [theirs_of(n, standing=Standing.REVERSED)]), {f"key:run-{n}/charge": "state"},
    ),
    "duplicate_theirs": lambda n: (
        ([ours_of(n)], [theirs_of(n), theirs_of(n, id=f"ch_{n}_again", at=at_of(n) + timedelta(seconds=90))]),
        {f"theirs:ch_{n}_again": "duplicate_theirs"},
    ),
    "duplicate_ours": lambda n: (
        ([ours_of(n), ours_of(n, id=f"run-{n}/charge-again", at=at_of(n) + timedelta(seconds=1))], [theirs_of(n)]),
        {f"ours:run-{n}/charge-again": "duplicate_ours"},
    ),
    "timing": lambda n: (([ours_of(n, at=Young)], []), {f"key:run-{n}/charge": "timing"}),
    "fee": lambda n: (
        ([ours_of(n)], [theirs_of(n, fee=FEES.of(amount_of(n)) + 9)]), {f"key:run-{n}/charge": "fee"},
    ),
    "fx_rounding": lambda n: (
        ([ours_of(n)], [theirs_of(n, amount=amount_of(n) + 1)]), {f"key:run-{n}/charge": "fx_rounding"},
    ),
    "ambiguous": lambda n: (
        ([_lonely(n, "a"), _lonely(n, "b")], [_lonely(n, "x")]), {f"ours:a-{n}": "ambiguous"},
    ),
    "an attempt that failed": lambda n: (
        ([ours_of(n)], [theirs_of(n, id=f"ch_{n}_0", standing=Standing.FAILED), theirs_of(n)]), {},
    ),
    "matched by a rule": lambda n: (([_lonely(n, "r")], [_lonely(n, "s")]), {}),
}  # fmt: skip
_NAMES = list(PLANTS)


def both_of(n: int) -> tuple[Both, dict[str, str]]:
    """What both sides have of the number *n*, and the breaks in it."""
    offset, step = n % EVERY, EVERY // len(_NAMES)
    if offset % step == 0 and offset // step < len(_NAMES):
        return PLANTS[_NAMES[offset // step]](n)
    return ([ours_of(n)], [theirs_of(n)]), {}


def planted(count: int) -> dict[str, str]:
    """All that is planted in so many, by subject."""
    step = EVERY // len(_NAMES)
    found: dict[str, str] = {}
    for n in range(count):
        if n % EVERY % step == 0:
            found |= both_of(n)[1]
    return found


@dataclass
class Made:
    """One side, made page by page. Theirs comes in another order than ours."""

    name: str
    side: int  # 0 ours, 1 theirs
    count: int
    size: int = 2000
    given: int = field(default=0)

    async def page(self, cursor: str | None, window: Window) -> Page:
        first = int(cursor or 0)
        last = min(first + self.size, self.count)
        step = (
            range(first, last)
            if self.side == 0
            else range(self.count - 1 - first, self.count - 1 - last, -1)
        )
        items = [each for n in step for each in both_of(n)[0][self.side]]
        said = self._all() if last == self.count else None
        return Page(items, str(last) if last < self.count else None, said, None, UNTIL)

    def _all(self) -> int:
        """How many there are: counted independently of the pages."""
        extra = 0
        step = EVERY // len(_NAMES)
        for n in range(self.count):
            if n % EVERY % step == 0:
                extra += len(both_of(n)[0][self.side]) - 1
        return self.count + extra
