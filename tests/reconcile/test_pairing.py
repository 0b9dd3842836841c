"""Fallback rules, beside an oracle that tries everything; and in whole runs."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reconcile.conftest import DAY, NOW, Books, item, kinds
from troth.base.errors import UsageError
from troth.reconcile import ByGroup, OneToOne, Parts, Standing, pairing
from troth.reconcile.model import Item, Kind, Side, Staged, Window
from troth.reconcile.pairing import Ground, Rule
from troth.reconcile.rules import Policy

GROUND = Ground(Policy(grace=DAY), Window(NOW - 30 * DAY, NOW, DAY), NOW.timestamp())
OURS, THEIRS = Side.OURS, Side.THEIRS


@st.composite
def crowd(draw: st.DrawFn) -> list[Staged]:
    """Few amounts, few days, few references: so that much fits, and some of it twice."""
    return [
        Staged(draw(st.sampled_from(Side)), n, item(
            str(n), draw(st.sampled_from([100, 100, 101, 105, 200, 305])),
            key=draw(st.sampled_from([None, None, None, f"k{n}"])),
            days_ago=draw(st.sampled_from([3, 3, 4, 6])),
            reference=draw(st.sampled_from(["a", "a", "b", ""])),
            currency=draw(st.sampled_from(["EUR", "EUR", "USD"])),
        ))
        for n in range(draw(st.integers(0, 9)))
    ]  # fmt: skip


def in_buckets(items: list[Staged], rule: Rule) -> list[list[Staged]]:
    """As a run gives them to a rule."""
    ordered = sorted(
        (each for each in items if pairing.bucket_of(each, rule.on) is not None),
        key=lambda each: (pairing.bucket_of(each, rule.on), each.item.amount, each.order),
    )
    buckets: list[list[Staged]] = []
    for each in ordered:
        if not buckets or pairing.ends(buckets[-1][-1], each, rule):
            buckets.append([])
        buckets[-1].append(each)
    return buckets


@given(crowd(), st.sampled_from([
    OneToOne("same", 1, on=("reference",)), OneToOne("near", 1, tolerance=4, days=1),
    OneToOne("wide", 1, on=("reference",), tolerance=5, days=3), OneToOne("exact", 1),
]))  # fmt: skip
def test_one_is_one_only_where_nothing_else_fits(items: list[Staged], rule: OneToOne) -> None:
    pairs = [
        (a, b)
        for a in items
        for b in items
        if a.side is OURS and b.side is THEIRS and rule.fits(a, b)
    ]
    expected, ambiguous = set(), set()
    for a, b in pairs:
        if sum(a in pair for pair in pairs) == sum(b in pair for pair in pairs) == 1:
            expected.add((a.n, b.n))
        else:
            ambiguous |= {a.n, b.n}
    found, flagged, left = set(), 0, set()
    for bucket in in_buckets(items, rule):
        made = rule.pair(bucket, GROUND)
        found |= {(*match.ours, *match.theirs) for match in made.matches}
        flagged += made.broken
        left |= {each.n for each in made.left}
    assert found == expected
    assert flagged == len(ambiguous)
    assert left.isdisjoint(ambiguous | set(chain.from_iterable(expected)))


@given(crowd())
def test_parts_are_a_sum_only_where_no_other_fits(items: list[Staged]) -> None:
    rule = Parts("batch", 1, days=2, most=3)
    made = [rule.pair(bucket, GROUND) for bucket in in_buckets(items, rule)]
    found = {(match.theirs, tuple(sorted(match.ours))) for each in made for match in each.matches}
    solutions = [
        (whole, parts)
        for whole in items
        if whole.side is THEIRS
        for count in (2, 3)
        for parts in combinations([each for each in items if each.side is OURS], count)
        if len({each.item.currency for each in (whole, *parts)}) == 1
        and sum(each.item.amount for each in parts) == whole.item.amount
        and all(abs(each.item.at - whole.item.at) <= 2 * DAY for each in parts)
        and not any(each.item.key and whole.item.key for each in parts)
    ]
    expected = {
        ((whole.n,), tuple(sorted(each.n for each in parts)))
        for whole, parts in solutions
        if all(sum(each in (w, *p) for w, p in solutions) == 1 for each in (whole, *parts))
    }
    assert found == expected
    once = [n for each in made for m in each.matches for n in (*m.ours, *m.theirs)]
    assert len(once) == len(set(once))


@given(crowd(), st.integers(0, 5))
def test_a_group_is_matched_if_its_sums_are(items: list[Staged], tolerance: int) -> None:
    rule = ByGroup("by reference", 1, by="reference", tolerance=tolerance)
    for bucket in in_buckets(items, rule):
        made = rule.pair(bucket, GROUND)
        sums = {side: [e.item.amount for e in bucket if e.side is side] for side in Side}
        keyed = all(any(e.item.key for e in bucket if e.side is side) for side in Side)
        if not sums[OURS] or not sums[THEIRS] or keyed:
            assert (made.matches, made.findings, len(made.left)) == ([], [], len(bucket))
            continue
        by = abs(sum(sums[OURS]) - sum(sums[THEIRS]))
        assert bool(made.matches) == (by <= tolerance)
        assert [each.kind for each in made.findings] == (
            [] if by == 0 else [Kind.FX_ROUNDING if by <= tolerance else Kind.AMOUNT]
        )


def test_rules_that_cannot_be() -> None:
    for wrong in (
        lambda: OneToOne("x", 1, days=-1),
        lambda: Parts("x", 1, most=9),
        lambda: pairing.check([OneToOne("x", 1), OneToOne("x", 2)]),
        lambda: pairing.check([OneToOne("x", 0)]),
    ):
        with pytest.raises(UsageError):
            wrong()


# In whole runs --------------------------------------------------------------------------------------------------------


async def test_rules_come_after_keys_and_say_why(books: Books) -> None:
    books.ours.items = [
        item("run/1", 500, key="k1"),
        item("run/2", 700, key="k2", reference="INV-2"),
        item("run/3", 300, key="k3", group="po_1", days_ago=4),
        item("run/4", 200, key="k4", group="po_1", days_ago=4),
        item("run/5", -50, key="k5", group="po_1", days_ago=4),
        item("run/6", 60, days_ago=8), item("run/7", 70, days_ago=8), item("run/8", 90, days_ago=8),
    ]  # fmt: skip
    books.theirs.items = [
        item("t1", 500, key="k1"),
        item("t2", 701, reference="INV-2", days_ago=4),
        item("t3", 450, group="po_1", days_ago=3),
        item("t4", 130, days_ago=7),
    ]
    line = await books.run(
        rules=[
            OneToOne("invoice", 3, on=("reference",), tolerance=2, days=3),
            ByGroup("payout", 1),
            Parts("batch", 2, days=2),
        ]
    )
    assert line.counts is not None
    assert (line.counts["by_key"], line.counts["by_rule"]) == (2, 9)
    matches = await books.rows(
        "SELECT rule, version, ours, theirs, why FROM {}.reconcile_match ORDER BY n"
    )
    assert [row[:4] for row in matches] == [
        ("invoice", 3, [2], [2]), ("payout", 1, [3, 4, 5], [3]), ("batch", 2, [6, 7], [4]),
    ]  # fmt: skip
    assert matches[0][4] == "reference 'INV-2', +1 (at most 2), 1 days apart (at most 3)"
    assert kinds(await books.breaks()) == {"key:k2": "fx_rounding", "ours:run/8": "missing_theirs"}


async def test_two_that_fit_are_not_guessed_between(books: Books) -> None:
    books.ours.items = [item("a", 500, days_ago=5), item("b", 500, days_ago=4)]
    books.theirs.items = [item("x", 500, days_ago=4)]
    rules = [OneToOne("exact", 1, days=2), OneToOne("loose", 1, tolerance=100, days=9)]
    await books.run(rules=rules)
    (found,) = await books.breaks()
    assert (found.subject, found.kind, found.minor) == ("ours:a", "ambiguous", 1000)
    assert found.note == "by exact, version 1: 2 and 1 fit"
    assert [[each.id for each in side] for side in (found.ours, found.theirs)] == [
        ["a", "b"],
        ["x"],
    ]


async def test_two_keys_that_differ_are_never_the_same(books: Books) -> None:
    books.ours.items = [item("a", 500, key="k1", reference="R")]
    books.theirs.items = [item("x", 500, key="k2", reference="R")]
    await books.run(
        rules=[OneToOne("reference", 1, on=("reference",)), ByGroup("group", 1, by="reference")]
    )
    assert kinds(await books.breaks()) == {"key:k1": "missing_theirs", "key:k2": "missing_ours"}


async def test_a_group_that_differs_is_one_break(books: Books) -> None:
    books.ours.items = [item("a", 500, group="po_1"), item("b", 400, group="po_1")]
    books.theirs.items = [item("x", 1000, group="po_1")]
    await books.run(rules=[ByGroup("payout", 1)])
    (found,) = await books.breaks()
    assert (found.subject, found.kind, found.minor) == ("group:po_1", "amount", 100)
    assert len(found.ours) == 2


async def test_only_a_key_is_certain_enough_to_settle_by(books: Books) -> None:
    books.ours.items = [item("a", 500, key="k1", standing=Standing.IN_DOUBT, reference="R")]
    books.theirs.items = [item("x", 500, reference="R")]
    await books.run(rules=[OneToOne("reference", 1, on=("reference",))])
    (found,) = await books.breaks()
    assert (found.kind, found.action) == ("state", "ask")


def test_a_crowd_of_the_same_amount_does_not_take_for_ever() -> None:
    many = [
        Staged(side, n, Item(f"{side}{n}", 999, "EUR", NOW - 3 * DAY))
        for side in Side
        for n in range(2000)
    ]
    made = OneToOne("exact", 1, days=1).pair(many, GROUND)
    assert (len(made.findings), made.broken, made.matches) == (1, 4000, [])
    assert made.findings[0].more == 3960
