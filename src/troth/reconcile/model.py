"""The words of reconciliation: items and how they come, differences and how they end. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum
from typing import Final, Protocol, TypeAlias, runtime_checkable

import msgspec

from troth.base.errors import TrothError
from troth.store.parts import Connections

DAY: Final = timedelta(days=1)


class ReconcileError(TrothError):
    """A reconciliation cannot do what is asked of it, as it stands."""


class BreakNotFoundError(TrothError):
    """No break has this number."""


class PeriodError(TrothError):
    """A period cannot be closed: something in it is unexplained, unread or already closed."""


class SourceError(TrothError):
    """What a source was given to read is not what it says it is: a file that is damaged, a column that is missing."""


# Items ----------------------------------------------------------------------------------------------------------------


class Side(IntEnum):
    """Whose truth an item is."""

    OURS = 1
    THEIRS = 2

    @property
    def word(self) -> str:
        """`ours` or `theirs`."""
        return self.name.lower()

    @property
    def other(self) -> Side:
        """The opposite one."""
        return Side.THEIRS if self is Side.OURS else Side.OURS


class Standing(IntEnum):
    """What its side says of an item. Numbers, because they are stored a million times."""

    PENDING = 1  # under way: it will be done, or fail
    DONE = 2
    FAILED = 3  # it moved nothing, and will not
    REVERSED = 4  # it was done, and taken back
    IN_DOUBT = 5  # ours alone: nobody could find out

    @property
    def word(self) -> str:
        """As people read it."""
        return self.name.lower().replace("_", " ")


class Item(msgspec.Struct, frozen=True):
    """One thing that a side says has happened.

    *id*: its name on that side, unique there. *amount*: minor units, positive if money comes to us, negative if it
    leaves. *currency*: of ISO 4217, or one that the reconciliation declares. *at*: when it counts (value date), aware. *key*: the effect key, if this side
    knows it: items of both sides with one key are the same thing, whatever else they say. *fee*: minor units that the
    other side kept, not negative; *amount* is before it. *kind*: charge, refund, payout … in words that both sides share.
    *reference* and *group*: what fallback rules compare: a text of its own, and what it was paid out or invoiced with.
    *evidence*: where to look it up.
    """

    id: str
    amount: int
    currency: str
    at: datetime
    key: str | None = None
    standing: Standing = Standing.DONE
    kind: str = ""
    fee: int = 0
    reference: str = ""
    group: str = ""
    evidence: str = ""


class Staged(msgspec.Struct, frozen=True):
    """An item of a run: *n* is its place in the feed of its side, from 1."""

    side: Side
    n: int
    item: Item

    @property
    def order(self) -> tuple[datetime, int, str]:
        """A total order that does not depend on how the feed was read: by time, side, id."""
        return (self.item.at, self.side, self.item.id)

    @property
    def name(self) -> str:
        """Its side and id."""
        return f"{self.side.word}:{self.item.id}"


# Feeds ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Window:
    """What a run is about: items from *since* to before *until*, both aware.

    *margin*: sources give what is so far outside, too, to find the other half of what is inside. What is outside and has
    no other half is the business of another run. *read_at*: when the run has begun to read; of what came later it asks
    nothing, so that both sides may go on while they are read, and read again.
    """

    since: datetime
    until: datetime
    margin: timedelta = timedelta(0)
    read_at: datetime | None = None

    @property
    def first(self) -> datetime:
        """From when on a source gives items."""
        return self.since - self.margin

    @property
    def last(self) -> datetime:
        """Until before when."""
        last = self.until + self.margin
        return last if self.read_at is None else min(last, self.read_at)

    def covers(self, at: datetime) -> bool:
        """Is it about something that counts *at*?"""
        return self.since <= at < self.until

    def reaches(self, at: datetime) -> bool:
        """Would a source give it?"""
        return self.first <= at < self.last


class Statement(msgspec.Struct, frozen=True):
    """A bank's statement: what was there before, and after. Minor units.

    *number*: of its account, so that one which is missing is noticed. *entries*: how many it says it has.
    """

    id: str
    account: str
    currency: str
    opening: int
    closing: int
    number: int | None = None
    entries: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a feed. *next*: the cursor of the part after it; None: this was the last.

    What of completeness the other side can be held to: *count*, how many items it says the window and its margins have;
    *statement*, to which all items of this page belong (a long one comes in several pages, one after the other);
    *until*, up to when everything is there.
    """

    items: Sequence[Item]
    next: str | None = None
    count: int | None = None
    statement: Statement | None = None
    until: datetime | None = None


class Source(Protocol):
    """One side of a reconciliation, to be read in parts.

    The same cursor and window give the same part, also in another process a day later, as long as the other side has not
    changed: a reader that was killed goes on from its last cursor, and a feed that proves nothing else is read twice.
    """

    @property
    def name(self) -> str:
        """What it is, for people: `stripe charges`."""

    async def page(self, cursor: str | None, window: Window) -> Page:
        """The part that begins at *cursor*; None: the first. May raise anything: it is tried again later."""


@runtime_checkable
class OwnSource(Protocol):
    """A source that reads troth's own tables, so it needs to know where they are."""

    @property
    def name(self) -> str:
        """What it is, for people: `effect charge`."""

    def within(self, schema: str, connections: Connections) -> Source:
        """The source, for one schema."""


class Fault(StrEnum):
    """Why a feed is not proven to be complete."""

    EMPTY = "empty"  # it gave nothing, and the other side has something
    COUNT = "count"  # it says that it has more items, or fewer, than it gave
    REPEATED = "repeated"  # it gave an item twice
    MOVED = "moved"  # it gave something else when it was read again
    BEHIND = "behind"  # it ends before the window does
    SUM = "sum"  # opening + entries is not closing
    GAP = "gap"  # a statement does not begin where the one before ended


ARITHMETIC: Final = frozenset({Fault.SUM, Fault.GAP})


@dataclass(frozen=True, slots=True)
class Flaw:
    """A fault of a feed. *about*: of which statement; empty: of the whole feed. *minor*: by how much it is wrong."""

    fault: Fault
    said: str
    about: str = ""
    minor: int = 0
    currency: str = ""


@dataclass(frozen=True, slots=True)
class Feed:
    """What one side gave. *sums* and *counts*: by currency. *until*: up to when everything is there, as far as it is said."""

    side: Side
    source: str
    items: int
    pages: int
    digest: bytes
    sums: dict[str, int]
    until: datetime
    flaws: tuple[Flaw, ...] = ()
    repeated: int = 0  # items of statements that came a second time, and count once

    @property
    def proven(self) -> bool:
        """Does the absence of an item in it mean anything?"""
        return not self.flaws


# Breaks ---------------------------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What kind of difference it is."""

    MISSING_OURS = "missing_ours"  # theirs only
    MISSING_THEIRS = "missing_theirs"  # ours only
    AMOUNT = "amount"
    CURRENCY = "currency"
    STATE = "state"
    DUPLICATE_OURS = "duplicate_ours"
    DUPLICATE_THEIRS = "duplicate_theirs"  # two objects for one effect key
    TIMING = "timing"  # one side only, and young enough to be under way
    FEE = "fee"
    FX_ROUNDING = "fx_rounding"  # within the tolerance; booked, not ignored
    STALE_SOURCE = "stale_source"  # a feed that is empty, partial or too old: nothing is clean
    STATEMENT_ARITHMETIC = "statement_arithmetic"
    AMBIGUOUS = "ambiguous"  # several could be meant, and nobody guesses


class BreakState(StrEnum):
    """How a break stands."""

    OPEN = "open"
    ACCEPTED = "accepted"  # a person has explained it, until a day
    CORRECTED = "corrected"  # a transfer has put it right; the next run sees to it that it has
    RESOLVED = "resolved"  # a later run found no difference any more, or it was settled


# Every legal change of state, with what causes it.
TRANSITIONS: Final[dict[BreakState, dict[BreakState, str]]] = {
    BreakState.OPEN: {
        BreakState.ACCEPTED: "explained by a person",
        BreakState.CORRECTED: "a transfer was booked for it",
        BreakState.RESOLVED: "not found any more, or settled",
    },
    BreakState.ACCEPTED: {
        BreakState.OPEN: "the acceptance has expired, or it has become another difference",
        BreakState.ACCEPTED: "explained anew",
        BreakState.RESOLVED: "not found any more",
    },
    BreakState.CORRECTED: {
        BreakState.OPEN: "it has become another difference",
        BreakState.RESOLVED: "not found any more",
    },
    BreakState.RESOLVED: {BreakState.OPEN: "found again"},
}


class Action(StrEnum):
    """What is proposed to be done about a break."""

    WAIT = "wait"
    SETTLE_DONE = (
        "settle_done"  # their side shows the effect that is in doubt: it is settled by that
    )
    SETTLE_NOT_DONE = "settle_not_done"  # their side does not have it
    BOOK = "book"  # book what they have and we do not
    CORRECT = "correct"  # book the difference
    REFUND = "refund"  # it was taken twice
    ASK = "ask"  # ask the other side
    READ_AGAIN = "read_again"  # get the whole feed
    CHOOSE = "choose"  # say which belong together


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference that a run has found, before it is known whether it is a new one.

    *subject* is what it is about, the same in every run, whatever kind of difference it is by then. *minor*: the money at
    risk, not negative. *at*: when the earliest of what it is about counts.
    """

    subject: str
    kind: Kind
    at: datetime
    minor: int
    currency: str
    note: str
    action: Action
    ours: tuple[Item, ...] = ()
    theirs: tuple[Item, ...] = ()
    more: int = 0  # items besides these


class Match(msgspec.Struct, frozen=True):
    """Items that were found to be the same by a rule, as their places in the feeds, and why."""

    rule: str
    version: int
    ours: tuple[int, ...]
    theirs: tuple[int, ...]
    why: str


Items: TypeAlias = Sequence[Staged]


@dataclass(frozen=True, slots=True)
class Break:
    """A break as it is kept. Amounts in minor units; times aware.

    *owner*: who looks after it. *until*: of an accepted one, when that ends. *explained_by*, *explanation*: by whom and how
    it was accepted, corrected or settled. *correction*: what was booked for it; *wanted*: who wants that to be done. *ours*, *theirs*: evidence, at most
    `EVIDENCE` items a side; there are *more*.
    """

    id: int
    reconciliation: str
    subject: str
    kind: Kind
    state: BreakState
    at: datetime
    minor: int
    currency: str
    note: str
    action: Action
    first_seen: datetime
    last_seen: datetime
    last_run: int
    ours: tuple[Item, ...] = ()
    theirs: tuple[Item, ...] = ()
    more: int = 0
    owner: str | None = None
    until: datetime | None = None
    explained_by: str | None = None
    explanation: str | None = None
    correction: str | None = None
    wanted: str | None = None


EVIDENCE: Final = 20


class Phase(StrEnum):
    """How far a run has come."""

    ASKED = "asked"
    OURS = "reading ours"
    THEIRS = "reading theirs"
    MATCHING = "matching"
    SETTLING = "settling"
    ENDED = "ended"


class Verdict(StrEnum):
    """What a run came to."""

    CLEAN = "clean"  # both feeds are complete, and every item of the window has its other half
    EXPLAINED = "explained"  # so they are, but for differences that somebody has explained
    BREAKS = "breaks"
    UNPROVEN = "unproven"  # a feed is not known to be complete; what was found counts, what is absent does not
    FAILED = "failed"  # it gave up: a source cannot be read


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the items of a run, both sides together; each is counted once.

    *void*: ours that failed and they never had: nothing moved. *unproven*: without an other half, in a feed whose other
    side is not known to be complete. *beyond*: outside the window, without another half.
    """

    by_key: int = 0
    by_rule: int = 0
    broken: int = 0
    void: int = 0
    unproven: int = 0
    beyond: int = 0
    breaks: dict[str, int] = field(default_factory=dict)
    settled: int = 0
