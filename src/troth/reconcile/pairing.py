"""Rules for items that share no key: how they may be found to be the same, and when nobody may say so. Pure.

A rule matches what cannot be matched otherwise: where an item has two candidates, all of them are *ambiguous*, and a person
chooses. No later rule tries them again, since rules come in order from strict to loose, and a looser one could only guess.

A rule has a version. Change it when you change what the rule does: matches and runs keep by which version they were made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import combinations
from typing import Any, Final, Literal, Protocol, TypeAlias

from troth.base.errors import UsageError
from troth.reconcile.model import (
    EVIDENCE,
    Action,
    Finding,
    Kind,
    Match,
    Side,
    Staged,
    Standing,
    Window,
)
from troth.reconcile.rules import LIMIT, Policy, differences

On: TypeAlias = Literal["kind", "reference", "group"]

_ON: Final = ("kind", "reference", "group")
MOST_PAIRS: Final = 100_000  # of one bucket: with more, all of it is ambiguous


@dataclass(slots=True)
class Paired:
    """What a rule made of some items: matches, breaks, and the items that are in neither."""

    matches: list[Match] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    broken: int = 0
    left: list[Staged] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a rule knows of its run. *until_s*: how far their feed goes, in seconds since 1970."""

    policy: Policy
    window: Window
    until_s: float


class Rule(Protocol):
    """A fallback rule: items come in buckets, and what it says of one bucket does not depend on others."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def version(self) -> int:
        """Grows when the rule changes."""

    @property
    def on(self) -> Sequence[On]:
        """What items of a bucket have in common, besides the currency; an item without one of these is left out."""

    def apart(self, before: Staged, after: Staged) -> bool:
        """May a bucket end between these? They have the same currency and *on*, and come in the order of their amounts."""

    def pair(self, items: Sequence[Staged], ground: Ground) -> Paired:
        """Match one bucket."""


def bucket_of(item: Staged, on: Sequence[On]) -> tuple[str, ...] | None:
    """What the items of a bucket have in common; None: it is in none."""
    texts = tuple(getattr(item.item, name) for name in on)
    return (item.item.currency, *texts) if all(texts) else None


def ends(before: Staged, after: Staged, rule: Rule) -> bool:
    """Does a bucket end between these two, which follow each other in the order of currency, *on* and amount?"""
    return bucket_of(before, rule.on) != bucket_of(after, rule.on) or rule.apart(before, after)


def describe(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """The rules as they are kept with a run."""
    return [
        {
            "kind": type(rule).__name__,
            "name": rule.name,
            "version": rule.version,
            "said": repr(rule),
        }
        for rule in rules
    ]


def check(rules: Sequence[Rule]) -> None:
    """Raise `UsageError` for two rules of one name, and for one without a name or version."""
    for rule in rules:
        named = getattr(rule, "name", None)
        if (
            not isinstance(named, str)
            or not named
            or not _number(getattr(rule, "version", None), 1)
        ):
            raise UsageError(f"a rule needs a name and a version from 1: {rule}")
    names = [rule.name for rule in rules]
    if len(set(names)) < len(names):
        raise UsageError(f"two rules have the same name: {', '.join(names)}")


def _number(given: object, least: int = 0, most: int = LIMIT) -> bool:
    return type(given) is int and least <= given <= most


def _fields(given: object) -> bool:
    return isinstance(given, tuple | list) and all(each in _ON for each in given)


def _sides(items: Sequence[Staged]) -> tuple[list[Staged], list[Staged]]:
    ordered = sorted(items, key=lambda each: each.order)
    return (
        [each for each in ordered if each.side is Side.OURS],
        [each for each in ordered if each.side is Side.THEIRS],
    )


def _days(days: int) -> timedelta:
    return timedelta(days=days)


# One and one ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OneToOne:
    """One item is one item: same currency and *on*, at most *tolerance* minor units and *days* apart.

    Two items with keys are never the same by a rule: their keys said that they are not.
    """

    name: str
    version: int
    on: tuple[On, ...] = ()
    tolerance: int = 0
    days: int = 0

    def __post_init__(self) -> None:
        if not _number(self.tolerance) or not _number(self.days) or not _fields(self.on):
            raise UsageError(f"tolerance and days are whole numbers from 0, on is of {_ON}: {self}")

    def apart(self, before: Staged, after: Staged) -> bool:
        return after.item.amount - before.item.amount > self.tolerance

    def pair(self, items: Sequence[Staged], ground: Ground) -> Paired:
        made = Paired()
        ours, theirs = _sides(items)
        edges = self._edges(ours, theirs)
        if edges is None:
            _flag(made, [*ours, *theirs], self, ground, f"more than {MOST_PAIRS} pairs fit")
            return made
        groups = _components(edges, ours, theirs)
        for mine, yours in groups:
            if len(mine) == len(yours) == 1:
                _match(made, self, mine, yours, self._why(mine[0], yours[0]))
                _differ(made, mine[0], yours[0], ground, self.tolerance)
            elif mine and yours:
                _flag(made, [*mine, *yours], self, ground, f"{len(mine)} and {len(yours)} fit")
            else:
                made.left += [*mine, *yours]
        return made

    def fits(self, ours: Staged, theirs: Staged) -> bool:
        """May these two be the same?"""
        o, t = ours.item, theirs.item
        return (
            bucket_of(ours, self.on) == bucket_of(theirs, self.on) is not None
            and not (o.key is not None and t.key is not None)
            and abs(o.amount - t.amount) <= self.tolerance
            and abs(o.at - t.at) <= _days(self.days)
        )

    def _edges(
        self, ours: Sequence[Staged], theirs: Sequence[Staged]
    ) -> list[tuple[int, int]] | None:
        """The pairs that fit, as places in the two lists, which are in the order of time; None: too many."""
        times = [each.item.at for each in theirs]
        edges = []
        for i, mine in enumerate(ours):
            first = bisect_left(times, mine.item.at - _days(self.days))
            last = bisect_right(times, mine.item.at + _days(self.days))
            edges += [(i, j) for j in range(first, last) if self.fits(mine, theirs[j])]
            if len(edges) > MOST_PAIRS:
                return None
        return edges

    def _why(self, ours: Staged, theirs: Staged) -> str:
        same = [f"{name} {getattr(ours.item, name)!r}" for name in self.on]
        by = theirs.item.amount - ours.item.amount
        amount = f"{by:+d} (at most {self.tolerance})" if by else "the same amount"
        apart = abs(theirs.item.at - ours.item.at) / timedelta(days=1)
        return ", ".join([*same, amount, f"{apart:.3g} days apart (at most {self.days})"])


def _components(
    edges: Sequence[tuple[int, int]], ours: Sequence[Staged], theirs: Sequence[Staged]
) -> list[tuple[list[Staged], list[Staged]]]:
    """Items that hang together, in order; those without any edge by themselves."""
    parent = list(range(len(ours) + len(theirs)))

    def root(x: int) -> int:
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    for i, j in edges:
        parent[root(len(ours) + j)] = root(i)
    groups: dict[int, tuple[list[Staged], list[Staged]]] = defaultdict(lambda: ([], []))
    for i, each in enumerate(ours):
        groups[root(i)][0].append(each)
    for j, each in enumerate(theirs):
        groups[root(len(ours) + j)][1].append(each)
    return list(groups.values())


# Sums -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ByGroup:
    """All of ours and all of theirs that share a *group* (a payout, an invoice, a batch file) come to the same sum.

    *by*: which text it is. Where both sides have some and the sums differ by more than *tolerance* minor units, that is one
    break about the group, and not one for each item. Only what is done counts. Nothing is matched where both sides have
    keys: these have said already what is the same.
    """

    name: str
    version: int
    by: On = "group"
    tolerance: int = 0

    def __post_init__(self) -> None:
        if not _number(self.tolerance) or not _fields((self.by,)):
            raise UsageError(f"tolerance is a whole number from 0, by is one of {_ON}: {self}")

    @property
    def on(self) -> tuple[On, ...]:
        return (self.by,)

    def apart(self, _before: Staged, _after: Staged) -> bool:
        return False

    def pair(self, items: Sequence[Staged], ground: Ground) -> Paired:
        made = Paired()
        counted = [each for each in items if each.item.standing is Standing.DONE]
        rest = [each for each in items if each.item.standing is not Standing.DONE]
        ours, theirs = _sides(counted)
        keyed = all(any(each.item.key is not None for each in side) for side in (ours, theirs))
        if not ours or not theirs or keyed:
            made.left += items
            return made
        made.left += rest
        sums = [sum(each.item.amount for each in side) for side in (ours, theirs)]
        by = sums[1] - sums[0]
        said = f"{self.by} {getattr(ours[0].item, self.by)!r}: {len(ours)} of ours are {sums[0]}, {len(theirs)} of theirs {sums[1]}"
        if abs(by) <= self.tolerance:
            _match(made, self, ours, theirs, said)
        if by:
            self._differ(made, ours, theirs, by, f"{said}: {by:+d}", ground)
        return made

    def _differ(
        self, made: Paired, ours: list[Staged], theirs: list[Staged], by: int, said: str, ground: Ground
    ) -> None:  # fmt: skip
        at = min(each.item.at for each in (*ours, *theirs))
        latest = max(each.item.at for each in (*ours, *theirs)).timestamp()
        rounding = abs(by) <= self.tolerance
        kind, action = (Kind.FX_ROUNDING, Action.CORRECT) if rounding else (Kind.AMOUNT, Action.ASK)
        if not rounding:
            made.broken += len(ours) + len(theirs)
            if ground.until_s - latest < ground.policy.grace.total_seconds():
                kind, action = Kind.TIMING, Action.WAIT
        if ground.window.covers(at):
            group = getattr(ours[0].item, self.by)
            made.findings.append(
                _finding(f"{self.by}:{group}", kind, at, abs(by), said, action, [*ours, *theirs])
            )


@dataclass(frozen=True, slots=True)
class Parts:
    """One item of a side is the exact sum of two to *most* items of the other, at most *days* apart; *one*: which side has the one.

    Only where exactly one choice of parts fits. Sums are tried in buckets (same currency and *on*) of at most *among* items
    a side, since what fits by chance grows with the bucket, and so does the work; in larger ones nothing is matched.
    """

    name: str
    version: int
    one: Side = Side.THEIRS
    on: tuple[On, ...] = ()
    days: int = 3
    most: int = 4
    among: int = 20

    def __post_init__(self) -> None:
        if not (_number(self.most, 2, 6) and _number(self.among, 2, 30) and _number(self.days)):
            raise UsageError(f"most is 2 to 6, among 2 to 30, days a whole number from 0: {self}")
        if self.one not in tuple(Side) or not _fields(self.on):
            raise UsageError(f"one is a Side, on is of {_ON}: {self}")

    def apart(self, _before: Staged, _after: Staged) -> bool:
        return False

    def pair(self, items: Sequence[Staged], ground: Ground) -> Paired:
        made = Paired()
        counted = [each for each in items if each.item.standing is Standing.DONE]
        sides = dict(zip((Side.OURS, Side.THEIRS), _sides(counted), strict=True))
        wholes, parts = sides[self.one], sides[self.one.other]
        if max(len(wholes), len(parts)) > self.among or not wholes or len(parts) < 2:
            made.left += items
            return made
        solutions = [
            (whole, chosen) for whole in wholes for chosen in self._solutions(whole, parts)
        ]
        used: dict[str, int] = defaultdict(int)
        for whole, chosen in solutions:
            for each in (whole, *chosen):
                used[each.name] += 1
        done: set[str] = set()
        for whole, chosen in solutions:
            if all(used[each.name] == 1 for each in (whole, *chosen)):
                pair = ([whole], list(chosen))
                mine, yours = pair if self.one is Side.OURS else pair[::-1]
                why = f"{whole.item.amount} is the sum of {len(chosen)} within {self.days} days, and of no others"
                _match(made, self, mine, yours, why)
                done |= {each.name for each in (whole, *chosen)}
        for group in _entangled([s for s in solutions if s[0].name not in done]):
            _flag(made, group, self, ground, "several sums fit")
            done |= {each.name for each in group}
        made.left += [each for each in items if each.name not in done]
        return made

    def _solutions(self, whole: Staged, parts: Sequence[Staged]) -> list[tuple[Staged, ...]]:
        near = [
            each
            for each in parts
            if abs(each.item.at - whole.item.at) <= _days(self.days)
            and not (each.item.key is not None and whole.item.key is not None)
        ]
        return [
            chosen
            for count in range(2, self.most + 1)
            for chosen in combinations(near, count)
            if sum(each.item.amount for each in chosen) == whole.item.amount
        ]


def _entangled(solutions: Sequence[tuple[Staged, tuple[Staged, ...]]]) -> list[list[Staged]]:
    """Solutions that share an item, as groups of items."""
    groups: list[dict[str, Staged]] = []
    for whole, chosen in solutions:
        merged = {each.name: each for each in (whole, *chosen)}
        rest = []
        for group in groups:
            if group.keys() & merged.keys():
                merged |= group
            else:
                rest.append(group)
        groups = [*rest, merged]
    return [sorted(group.values(), key=lambda each: each.order) for group in groups]


# What comes of it -----------------------------------------------------------------------------------------------------


def _match(
    made: Paired, rule: Rule, ours: Sequence[Staged], theirs: Sequence[Staged], why: str
) -> None:
    made.matches.append(
        Match(
            rule.name, rule.version, tuple(each.n for each in ours), tuple(each.n for each in theirs), why
        )
    )  # fmt: skip


def _differ(made: Paired, ours: Staged, theirs: Staged, ground: Ground, tolerance: int) -> None:
    """They are the same, and may still disagree."""
    policy = replace(ground.policy, tolerance=max(ground.policy.tolerance, tolerance))
    found = differences(ours.item, theirs.item, policy, ground.until_s)
    at = min(ours.item.at, theirs.item.at)
    if not found or not ground.window.covers(at):
        return
    first = found[0]
    action = first.action
    if action is Action.SETTLE_DONE:
        action = Action.ASK  # only a key is certain enough to settle by
    said = "; ".join(each.said for each in found)
    subject = f"key:{ours.item.key}" if ours.item.key is not None else ours.name
    made.findings.append(
        _finding(subject, first.kind, at, first.minor, said, action, [ours, theirs])
    )


def _flag(made: Paired, items: Sequence[Staged], rule: Rule, ground: Ground, said: str) -> None:
    """Nobody can say which belong together."""
    ordered = sorted(items, key=lambda each: each.order)
    made.broken += len(ordered)
    if not any(ground.window.covers(each.item.at) for each in ordered):
        return
    at = min(each.item.at for each in ordered if ground.window.covers(each.item.at))
    sums = [sum(abs(each.item.amount) for each in ordered if each.side is side) for side in Side]
    first = ordered[0]
    subject = f"key:{first.item.key}" if first.item.key is not None else first.name
    note = f"by {rule.name}, version {rule.version}: {said}"
    made.findings.append(
        _finding(subject, Kind.AMBIGUOUS, at, max(sums), note, Action.CHOOSE, ordered)
    )


def _finding(
    subject: str, kind: Kind, at: Any, minor: int, note: str, action: Action, items: Sequence[Staged]
) -> Finding:  # fmt: skip
    ours, theirs = _sides(items)
    shown = (
        (*(each.item for each in ours[:EVIDENCE]),),
        (*(each.item for each in theirs[:EVIDENCE]),),
    )
    return Finding(
        subject, kind, at, minor, items[0].item.currency, note, action, *shown,
        more=len(items) - len(shown[0]) - len(shown[1]),
    )  # fmt: skip
