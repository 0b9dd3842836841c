"""Is a feed complete? Pure: pages in, a feed with its flaws out.

"There is nothing" and "we got nothing" look the same, and so do half a list and a whole one. So a feed is complete only if
something says so that does not depend on the pages themselves: a count, the arithmetic of a statement, or a second reading
that gave the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec

from troth.base import codec
from troth.reconcile.model import (
    ARITHMETIC,
    Action,
    Fault,
    Feed,
    Finding,
    Flaw,
    Kind,
    Page,
    Side,
    Statement,
    Window,
)

READ_AGAIN: Final = Action.READ_AGAIN


class Said(msgspec.Struct, frozen=True):
    """What is kept of a page: how many items it gave, what they come to by currency, and what it says of completeness.

    *staged*: how many of them count in the window or its margins; a statement has others, too.
    """

    items: int
    staged: int
    sums: dict[str, int]
    count: int | None = None
    statement: Statement | None = None
    until: datetime | None = None
    again: bool = False  # a statement that had come before: not kept a second time


@dataclass(frozen=True, slots=True)
class Kept:
    """A page that was read: its number, the cursor that it began at, the next one, and the digest of what it gave."""

    n: int
    cursor: str | None
    next: str | None
    digest: bytes
    said: Said


def digest_of(page: Page) -> bytes:
    """Sixteen bytes that identify what a page gave and said."""
    return codec.digest(codec.encode([list(page.items), page.count, page.statement, page.until]))


def said_by(page: Page, staged: int, *, again: bool = False) -> Said:
    """What is kept of a page, of whose items so many are staged."""
    sums: dict[str, int] = {}
    for item in page.items:
        sums[item.currency] = sums.get(item.currency, 0) + item.amount
    return Said(len(page.items), staged, sums, page.count, page.statement, page.until, again)


def came_before(pages: Sequence[Kept], page: Page, digest: bytes) -> bool:
    """Is it a part of a statement that has come before, word for word? A file that is sent twice counts once."""
    return page.statement is not None and any(
        each.digest == digest and each.said.items > 0 for each in pages
    )


def needs_second_reading(pages: Sequence[Kept]) -> bool:
    """Does the feed prove nothing by itself? Then it is read again, and must give the same."""
    counted = any(each.said.count is not None for each in pages)
    return not counted and not all(each.said.statement is not None for each in pages)


@dataclass(slots=True)
class _Statement:
    first: Statement
    sums: int = 0
    items: int = 0
    others: set[str] = field(default_factory=set)


def feed_of(
    side: Side,
    source: str,
    pages: Sequence[Kept],
    window: Window,
    now: datetime,
    *,
    grace: timedelta = timedelta(0),
    repeated: Sequence[str] = (),
    moved: str | None = None,
) -> Feed:
    """What a side gave, and what is wrong with it.

    *now*: when it was read; it cannot say anything of later. It may end by *grace* before the window does. *repeated*: ids
    that came more than once. *moved*: what was different when it was read again.
    """
    kept = [each for each in pages if not each.said.again]
    flaws = [*_counted(kept), *_arithmetic(kept)]
    if repeated:
        named = ", ".join(repeated[:5])
        flaws.append(Flaw(Fault.REPEATED, f"it gave {len(repeated)} items twice: {named}"))
    if moved is not None:
        flaws.append(Flaw(Fault.MOVED, moved))
    silent = all(each.said.count is None and each.said.statement is None for each in kept)
    if silent and not any(each.said.items for each in kept):
        flaws.append(Flaw(Fault.EMPTY, "it gave nothing, and does not say that there is nothing"))
    until = min(now, window.last)
    told = [each.said.until for each in kept if each.said.until is not None]
    if told:
        until = min(until, max(told))
        if until + grace < min(window.until, now):
            flaws.append(Flaw(Fault.BEHIND, f"it ends at {until:%F %T%z}"))
    sums: dict[str, int] = {}
    for each in kept:
        for currency, minor in each.said.sums.items():
            sums[currency] = sums.get(currency, 0) + minor
    return Feed(
        side=side,
        source=source,
        items=sum(each.said.staged for each in kept),
        pages=len(pages),
        digest=chained(pages),
        sums=dict(sorted(sums.items())),
        until=until,
        flaws=tuple(flaws),
        repeated=sum(each.said.items for each in pages if each.said.again),
    )


def chained(pages: Sequence[Kept]) -> bytes:
    """A digest of a whole feed: of all pages, in order."""
    total = hashlib.sha256()
    for each in pages:
        total.update(each.digest)
    return total.digest()


def _counted(pages: Sequence[Kept]) -> list[Flaw]:
    told = {each.said.count for each in pages if each.said.count is not None}
    given = sum(each.said.items for each in pages)
    if not told or told == {given}:
        return []
    says = " and then ".join(str(each) for each in sorted(told))
    return [Flaw(Fault.COUNT, f"it says that it has {says} items, and gave {given}")]


def _arithmetic(pages: Sequence[Kept]) -> list[Flaw]:
    statements: dict[str, _Statement] = {}
    flaws = []
    for page in pages:
        statement = page.said.statement
        if statement is None:
            continue
        found = statements.setdefault(statement.id, _Statement(statement))
        if found.first != statement:
            said = f"statement {statement.id} came twice, and not the same"
            flaws.append(Flaw(Fault.REPEATED, said, statement.id))
            continue
        found.items += page.said.items
        found.sums += page.said.sums.get(statement.currency, 0)
        found.others |= set(page.said.sums) - {statement.currency}
    for each in statements.values():
        flaws += _of_statement(each)
    return flaws + _chain([each.first for each in statements.values()])


def _of_statement(found: _Statement) -> list[Flaw]:
    told = found.first
    flaws = []
    by = told.closing - told.opening - found.sums
    if by or found.others:
        said = (
            f"statement {told.id}: {told.opening} and entries of {found.sums} are not {told.closing}: {by:+d} {told.currency}"
            if by
            else f"statement {told.id} is in {told.currency}, with entries in {', '.join(sorted(found.others))}"
        )
        flaws.append(Flaw(Fault.SUM, said, told.id, by, told.currency))
    if told.entries is not None and told.entries != found.items:
        said = (
            f"statement {told.id} says that it has {told.entries} entries, and gave {found.items}"
        )
        flaws.append(Flaw(Fault.COUNT, said, told.id))
    return flaws


def _chain(statements: Sequence[Statement]) -> list[Flaw]:
    flaws = []
    before: dict[str, Statement] = {}
    for each in statements:
        last = before.get(each.account)
        before[each.account] = each
        if last is None:
            continue
        by = each.opening - last.closing
        skipped = (
            last.number is not None
            and each.number is not None
            and each.number not in {last.number + 1, 1}  # many begin anew with the year
        )
        if by or skipped:
            said = f"statement {each.id} begins with {each.opening}, and {last.id} before it ended with {last.closing}"
            if skipped:
                said = f"after statement number {last.number} of {each.account} comes {each.number}"
            flaws.append(Flaw(Fault.GAP, said, each.id, by, each.currency))
    return flaws


# What a flaw is to people ---------------------------------------------------------------------------------------------


def moment_of(window: Window) -> datetime:
    """When a break about a whole feed counts: at the end of its window, so that a later run that covers that can resolve it."""
    return window.until - timedelta(microseconds=1)


def is_empty(feed: Feed, other: Feed) -> Feed:
    """The feed with a flaw more if it has nothing at all where the other one has something."""
    if feed.items or not other.items or any(each.fault is Fault.EMPTY for each in feed.flaws):
        return feed
    said = f"it is empty, and {other.source} has {other.items} items"
    return replace(feed, flaws=(*feed.flaws, Flaw(Fault.EMPTY, said)))


def findings_of(
    feed: Feed, window: Window, unproven: dict[str, tuple[int, int]], gap: dict[str, str]
) -> list[Finding]:
    """The breaks that the flaws of a feed are. *unproven*: of the other side, what it might have: by currency, how many items
    and what they come to. *gap*: by statement, which item of the other side it seems to have left out.
    """
    side = feed.side.word
    found = []
    for flaw in feed.flaws:
        if flaw.fault in ARITHMETIC:
            hint = f"; {gap[flaw.about]}" if flaw.about in gap else ""
            subject, minor = f"statement:{side}:{flaw.about}", abs(flaw.minor)
            found.append(
                _about_feed(
                    Kind.STATEMENT_ARITHMETIC,
                    subject,
                    feed,
                    window,
                    minor,
                    flaw.currency,
                    f"{flaw.said}{hint}",
                )
            )
    stale = [flaw for flaw in feed.flaws if flaw.fault not in ARITHMETIC]
    if stale:
        said = "; ".join(flaw.said for flaw in stale)
        for currency, (count, minor) in sorted(unproven.items() or [("", (0, 0))]):
            subject = f"feed:{side}:{currency}" if currency else f"feed:{side}"
            alone = f"; {count} items of the other side are not judged" if count else ""
            found.append(
                _about_feed(
                    Kind.STALE_SOURCE, subject, feed, window, minor, currency, f"{said}{alone}"
                )
            )
    return found


def _about_feed(
    kind: Kind, subject: str, feed: Feed, window: Window, minor: int, currency: str, said: str
) -> Finding:
    note = f"{feed.source}: {said}"
    return Finding(subject, kind, moment_of(window), minor, currency, note, READ_AGAIN)
