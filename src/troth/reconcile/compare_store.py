"""The only place that runs the statements that compare: items by key, in buckets of a rule, and those that are left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, LiteralString

from troth.reconcile.model import Item, Match, Side, Staged, Standing
from troth.reconcile.pairing import Rule
from troth.reconcile.rules import Policy
from troth.store.queries import Queries
from troth.store.tx import Row, Tx

_NO_FEES: Final = {
    "fees": False,
    "numerator": 0,
    "denominator": 1,
    "fixed": 0,
    "tolerance": 0,
    "kinds": [],
}


async def begin_comparing(tx: Tx, q: Queries, run: int) -> int:
    """How many items have a key. The rest is made ready."""
    await tx.execute(q.memory)
    await tx.execute(q.rest)
    row = await (await tx.execute(q.keyed, {"run": run})).fetchone()
    assert row is not None
    return int(row[0])


async def odd(tx: Tx, q: Queries, run: int, policy: Policy) -> AsyncIterator[Staged]:
    """All items of the keys that do not simply agree, key by key."""
    terms = dict(_NO_FEES)
    if policy.fees is not None:
        rate = policy.fees.rate
        terms = {
            "fees": True, "numerator": rate.numerator, "denominator": rate.denominator,
            "fixed": policy.fees.fixed, "tolerance": policy.fees.tolerance,
            "kinds": list(policy.fees.kinds),
        }  # fmt: skip
    await tx.execute(q.odd, {"run": run, **terms})
    async for each in _fetched(tx, q.fetch_odd, q.close_odd):
        yield each


async def loosen(tx: Tx, q: Queries, items: Sequence[Staged]) -> None:
    """These have no other half so far."""
    if items:
        await tx.execute(q.loose, _places(items))


async def loosen_keyless(tx: Tx, q: Queries, run: int) -> None:
    """Nor has anything without a key."""
    await tx.execute(q.keyless, {"run": run})
    await tx.execute(q.known)


async def eligible(tx: Tx, q: Queries, run: int, rule: Rule) -> AsyncIterator[Staged]:
    """What a rule may look at, in the order of its buckets."""
    on = {name: name in rule.on for name in ("kind", "reference", "group")}
    await tx.execute(q.eligible, {"run": run, **on})
    async for each in _fetched(tx, q.fetch_eligible, q.close_eligible):
        yield each


async def matched(
    tx: Tx, q: Queries, run: int, first: int, matches: Sequence[Match], gone: Sequence[Staged]
) -> None:
    """Keep what a rule has found, from number *first*; what it has *gone* through is not looked at any more."""
    if matches:
        params = {
            "run": run,
            "numbers": list(range(first, first + len(matches))),
            "rules": [each.rule for each in matches],
            "versions": [each.version for each in matches],
            "ours": [_array(each.ours) for each in matches],
            "theirs": [_array(each.theirs) for each in matches],
            "whys": [each.why for each in matches],
        }
        await tx.execute(q.matches, params)
    if gone:
        await tx.execute(q.taken, _places(gone))


async def single(tx: Tx, q: Queries, run: int) -> AsyncIterator[Staged]:
    """What has no other half in the end."""
    await tx.execute(q.single, {"run": run})
    async for each in _fetched(tx, q.fetch_single, q.close_single):
        yield each


async def _fetched(tx: Tx, fetch: LiteralString, close: LiteralString) -> AsyncIterator[Staged]:
    while rows := await (await tx.execute(fetch)).fetchall():
        for row in rows:
            yield _staged(row)
    await tx.execute(close)


def _staged(row: Row) -> Staged:
    side, n, id_, amount, currency, at, key, standing, *rest = row
    item = Item(id_, amount, currency, at, key, Standing(standing), *rest)
    return Staged(Side(side), n, item)


def _places(items: Sequence[Staged]) -> dict[str, Any]:
    return {"sides": [int(each.side) for each in items], "places": [each.n for each in items]}


def _array(numbers: Sequence[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"
