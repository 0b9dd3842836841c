"""Compares what a run has staged: one transaction, so that a run is compared whole or not at all.

Items with a key are grouped by it in the database, which keeps to itself what simply agrees; the odd ones come here, key by
key, and are judged by `rules`. What is left goes through the fallback rules, bucket by bucket, and what is left then is
alone. Nothing of this holds more than a bucket, or some hundred findings, in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any, Final, NamedTuple

from troth.base import codec
from troth.reconcile import breaks_store, compare_store, pairing, proof, rules, store
from troth.reconcile.model import (
    ARITHMETIC,
    Counts,
    Feed,
    Finding,
    Kind,
    Match,
    Side,
    Staged,
    Verdict,
    Window,
)
from troth.reconcile.pairing import Ground, Rule
from troth.reconcile.rules import Policy
from troth.store.queries import Queries
from troth.store.tx import Tx

_BATCH: Final = 500
_MOST_NEWS: Final = 10_000  # breaks of one run that are told of one by one


@dataclass(frozen=True, slots=True)
class Terms:
    """What a reconciliation compares by."""

    name: str
    rules: Sequence[Rule]
    policy: Policy


def describe(terms: Terms) -> list[dict[str, Any]]:
    """What a run compares by, as it is kept with it."""
    policy = {"kind": "Policy", "name": "policy", "version": 1, "said": repr(terms.policy)}
    return [policy, *pairing.describe(terms.rules)]


class News(NamedTuple):
    """Of a break that is new, or has become another one: without its evidence, since there may be many. Or of several."""

    kind: Kind
    what: str
    minor: int
    currency: str
    at: datetime
    breaks: int = 1

    def and_(self, other: News) -> News:
        """Both together, of one kind and currency."""
        return self._replace(
            minor=self.minor + other.minor,
            at=min(self.at, other.at),
            breaks=self.breaks + other.breaks,
        )


@dataclass(slots=True)
class Outcome:
    """What a comparison came to. *news*: what is to be told of breaks: of the first 10,000 one by one, of the rest by kind."""

    counts: Counts
    verdict: Verdict
    result: bytes
    news: list[News]


@dataclass(slots=True)
class _Sums:
    by_key: int = 0
    by_rule: int = 0
    broken: int = 0
    void: int = 0
    beyond: int = 0
    breaks: dict[str, int] = field(default_factory=dict)
    unproven: dict[Side, dict[str, tuple[int, int]]] = field(
        default_factory=lambda: {side: {} for side in Side}
    )
    suspects: dict[tuple[Side, str, int], list[str]] = field(default_factory=dict)


class Comparison:
    """One comparison, in the transaction *tx*."""

    def __init__(
        self, tx: Tx, schema: str, terms: Terms, run: int, window: Window, feeds: tuple[Feed, Feed]
    ) -> None:
        self._tx = tx
        self._q = store.queries(schema)
        self._breaks_q: Queries = breaks_store.queries(schema)
        self._terms = terms
        self._run = run
        self._window = window
        ours, theirs = feeds
        self._feeds = {
            Side.OURS: proof.is_empty(ours, theirs),
            Side.THEIRS: proof.is_empty(theirs, ours),
        }
        self._judged = dict(self._feeds)  # without what a person has explained
        self._sums = _Sums()
        self._digest = hashlib.sha256()
        self._findings: list[Finding] = []
        self._news: list[News] = []
        self._more_news: dict[tuple[Kind, str, str], News] = {}
        self._matches = 0

    async def compare(self) -> Outcome:
        """Find all matches and breaks, and keep them."""
        await self._vouch()
        keyed = await compare_store.begin_comparing(self._tx, self._q, self._run)
        await self._by_key(keyed)
        await compare_store.loosen_keyless(self._tx, self._q, self._run)
        for rule in self._terms.rules:
            await self._by_rule(rule)
        await self._alone()
        await self._wrong_feeds()
        await self._flush()
        return await self._conclude()

    async def _vouch(self) -> None:
        """A statement that is wrong by so much, and of which a person has explained that, is as good as one that is right."""
        accepted = await breaks_store.accepted_statements(
            self._tx, self._breaks_q, self._terms.name
        )
        for side, feed in self._feeds.items():
            doubtful = [
                flaw
                for flaw in feed.flaws
                if flaw.fault not in ARITHMETIC
                or accepted.get(f"statement:{side.word}:{flaw.about}") != abs(flaw.minor)
            ]
            self._judged[side] = replace(feed, flaws=tuple(doubtful))

    # Steps ----------------------------------------------------------------------------------------------------------------

    async def _by_key(self, keyed: int) -> None:
        odd = 0
        policy, until_s = self._terms.policy, self._feeds[Side.THEIRS].until.timestamp()
        loose: list[Staged] = []
        async for key, items in _grouped(
            compare_store.odd(self._tx, self._q, self._run, policy), lambda each: each.item.key
        ):
            odd += len(items)
            judged = rules.judge(str(key), items, policy, self._window, until_s)
            self._sums.by_key += judged.agree
            self._sums.broken += judged.broken
            loose += judged.loose
            await self._find(judged.findings)
            if len(loose) >= _BATCH:
                await compare_store.loosen(self._tx, self._q, loose)
                loose = []
        await compare_store.loosen(self._tx, self._q, loose)
        self._sums.by_key += keyed - odd

    async def _by_rule(self, rule: Rule) -> None:
        until_s = self._feeds[Side.THEIRS].until.timestamp()
        ground = Ground(self._terms.policy, self._window, until_s)
        matches: list[Match] = []
        gone: list[Staged] = []
        async for bucket in _buckets(
            compare_store.eligible(self._tx, self._q, self._run, rule), rule
        ):
            if len({each.side for each in bucket}) < 2:
                continue
            made = rule.pair(bucket, ground)
            left = {each.name for each in made.left}
            matches += made.matches
            gone += [each for each in bucket if each.name not in left]
            self._sums.by_rule += len(bucket) - len(left) - made.broken
            self._sums.broken += made.broken
            await self._find(made.findings)
            if len(matches) >= _BATCH or len(gone) >= _BATCH:
                await self._keep(matches, gone)
                matches, gone = [], []
        await self._keep(matches, gone)

    async def _keep(self, matches: Sequence[Match], gone: Sequence[Staged]) -> None:
        for each in matches:
            self._digest.update(codec.encode(each))
        await compare_store.matched(self._tx, self._q, self._run, self._matches + 1, matches, gone)
        self._matches += len(matches)

    async def _alone(self) -> None:
        sums = self._sums
        async for each in compare_store.single(self._tx, self._q, self._run):
            found = rules.alone(
                each, self._judged[each.side.other], self._terms.policy, self._window
            )
            if found == "void":
                sums.void += 1
            elif found == "beyond":
                sums.beyond += 1
            elif found == "unproven":
                self._suspect(each)
            else:
                sums.broken += 1
                await self._find([found])

    def _suspect(self, each: Staged) -> None:
        """The other side may have it: count it, and remember whether it is just what a statement is wrong by."""
        currency, amount = each.item.currency, each.item.amount
        of_side = self._sums.unproven[each.side]
        count, minor = of_side.get(currency, (0, 0))
        of_side[currency] = (count + 1, minor + abs(amount))
        other = self._feeds[each.side.other]
        if any(
            flaw.fault in ARITHMETIC and flaw.minor == amount and flaw.currency == currency
            for flaw in other.flaws
        ):
            named = self._sums.suspects.setdefault((each.side, currency, amount), [])
            if len(named) < 2:
                named.append(each.item.id)

    async def _wrong_feeds(self) -> None:
        for side, feed in self._feeds.items():
            hints: dict[str, str] = {}
            for flaw in feed.flaws:
                named = self._sums.suspects.get((side.other, flaw.currency, flaw.minor), [])
                if len(named) == 1:
                    hints[flaw.about] = (
                        f"that is just {named[0]} of {side.other.word}, which is missing in it"
                    )
            unproven = self._sums.unproven[side.other]
            await self._find(proof.findings_of(feed, self._window, unproven, hints))

    # Keeping --------------------------------------------------------------------------------------------------------------

    async def _find(self, findings: Sequence[Finding]) -> None:
        for each in findings:
            self._digest.update(
                codec.encode(
                    [each.subject, each.kind, each.at, each.minor, each.currency, each.note]
                )
            )
            counted = self._sums.breaks
            counted[each.kind] = counted.get(each.kind, 0) + 1
        self._findings += findings
        if len(self._findings) >= _BATCH:
            await self._flush()

    async def _flush(self) -> None:
        told = await breaks_store.write(
            self._tx, self._breaks_q, self._terms.name, self._run, self._findings
        )
        for each, what in told:
            news = News(each.kind, what, each.minor, each.currency, each.at)
            if len(self._news) < _MOST_NEWS:
                self._news.append(news)
                continue
            key = (news.kind, what, news.currency)
            so_far = self._more_news.get(key)
            self._more_news[key] = news if so_far is None else so_far.and_(news)
        self._findings = []

    async def _conclude(self) -> Outcome:
        sums, name = self._sums, self._terms.name
        proven = all(feed.proven for feed in self._judged.values())
        await breaks_store.resolve_rest(
            self._tx, self._breaks_q, name, self._run, self._window, proven=proven
        )
        if not proven:
            verdict = Verdict.UNPROVEN
        elif not sums.breaks:
            verdict = Verdict.CLEAN
        elif await breaks_store.open_found(self._tx, self._breaks_q, name, self._run):
            verdict = Verdict.BREAKS
        else:
            verdict = Verdict.EXPLAINED
        unproven = sum(
            count for count, _ in chain(*(each.values() for each in sums.unproven.values()))
        )
        counts = Counts(
            sums.by_key, sums.by_rule, sums.broken, sums.void, unproven, sums.beyond,
            dict(sorted(sums.breaks.items())),
        )  # fmt: skip
        news = [*self._news, *self._more_news.values()]
        return Outcome(counts, verdict, self._digest.digest(), news)


async def _grouped(
    items: AsyncIterator[Staged], by: Callable[[Staged], object]
) -> AsyncIterator[tuple[object, list[Staged]]]:
    group: list[Staged] = []
    async for each in items:
        if group and by(group[-1]) != by(each):
            yield by(group[-1]), group
            group = []
        group.append(each)
    if group:
        yield by(group[-1]), group


async def _buckets(items: AsyncIterator[Staged], rule: Rule) -> AsyncIterator[list[Staged]]:
    bucket: list[Staged] = []
    async for each in items:
        if bucket and pairing.ends(bucket[-1], each, rule):
            yield bucket
            bucket = []
        bucket.append(each)
    if bucket:
        yield bucket


def stale(feed_of: Side, source: str, window: Window, said: str) -> Finding:
    """What it is when a side cannot be read at all."""
    return Finding(
        f"feed:{feed_of.word}", Kind.STALE_SOURCE, proof.moment_of(window), 0, "",
        f"{source}: {said}", proof.READ_AGAIN,
    )  # fmt: skip
