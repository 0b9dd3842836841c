"""The decisions by themselves: pairs, keys, loners. And that the database keeps to itself just what `agree` allows it to."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reconcile.conftest import DAY, NOW, Books, item
from troth.base.errors import UsageError
from troth.reconcile import compare_store, rules, store
from troth.reconcile.model import (
    Action,
    Feed,
    Finding,
    Item,
    Kind,
    Phase,
    Side,
    Staged,
    Standing,
    Window,
)
from troth.reconcile.proof import Kept, Said
from troth.reconcile.rules import FeeTerms, Policy
from troth.store.isolation import transaction_async

WINDOW = Window(NOW - 30 * DAY, NOW, DAY)
UNTIL_S = NOW.timestamp()
POLICY = Policy(grace=DAY, tolerance=2)
TERMS = FeeTerms(Fraction(14, 1000), 25, tolerance=1)
FEES = Policy(grace=DAY, fees=TERMS)
SOME_FEES = Policy(grace=DAY, fees=replace(TERMS, kinds=("charge", "topup")))


def staged(*items: tuple[Side, Item]) -> list[Staged]:
    return [Staged(side, n, each) for n, (side, each) in enumerate(items, start=1)]


# Pairs ----------------------------------------------------------------------------------------------------------------

OURS, THEIRS = Side.OURS, Side.THEIRS
DONE, PENDING, FAILED, REVERSED, DOUBT = (
    Standing.DONE,
    Standing.PENDING,
    Standing.FAILED,
    Standing.REVERSED,
    Standing.IN_DOUBT,
)

PAIRS = [
    # ours, theirs, policy, the first difference (kind, money, action), None: they agree
    (item("o"), item("t"), POLICY, None),
    (item("o", 1000), item("t", 1002), POLICY, (Kind.FX_ROUNDING, 2, Action.CORRECT)),
    (item("o", 1000), item("t", 998), POLICY, (Kind.FX_ROUNDING, 2, Action.CORRECT)),
    (item("o", 1000), item("t", 1003), POLICY, (Kind.AMOUNT, 3, Action.ASK)),
    (item("o", 1000), item("t", -1000), POLICY, (Kind.AMOUNT, 2000, Action.ASK)),
    (item("o", 1000), item("t", 1000, currency="USD"), POLICY, (Kind.CURRENCY, 1000, Action.ASK)),
    (item("o", 1000), item("t", 960, fee=40), POLICY, (Kind.FEE, 40, Action.CORRECT)),
    (item("o", 1000), item("t", 1000, fee=39), FEES, None),
    (item("o", 1000), item("t", 1000, fee=41), FEES, (Kind.FEE, 2, Action.ASK)),
    (item("o", standing=DOUBT), item("t"), POLICY, (Kind.STATE, 1000, Action.SETTLE_DONE)),
    (item("o", standing=DOUBT), item("t", standing=FAILED), POLICY, (Kind.STATE, 1000, Action.SETTLE_NOT_DONE)),
    (item("o", standing=DOUBT), item("t", standing=REVERSED), POLICY, (Kind.STATE, 1000, Action.BOOK)),
    (item("o"), item("t", standing=REVERSED), POLICY, (Kind.STATE, 1000, Action.BOOK)),
    (item("o", standing=FAILED), item("t"), POLICY, (Kind.STATE, 1000, Action.ASK)),
    (item("o", standing=PENDING), item("t", days_ago=0.5), POLICY, (Kind.TIMING, 1000, Action.WAIT)),
    (item("o", standing=PENDING), item("t"), POLICY, (Kind.STATE, 1000, Action.ASK)),
    (item("o", standing=FAILED), item("t", standing=FAILED), POLICY, None),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "policy", "expected"), PAIRS)
def test_what_a_pair_disagrees_about(
    ours: Item, theirs: Item, policy: Policy, expected: tuple[Kind, int, Action] | None
) -> None:
    found = rules.differences(ours, theirs, policy, UNTIL_S)
    first = (found[0].kind, found[0].minor, found[0].action) if found else None
    assert first == expected
    assert rules.agree(ours, theirs, policy) == (not found)


def test_an_effect_in_doubt_that_happened_otherwise_is_not_settled() -> None:
    """It was done, with another amount: settling it would make the books believe the wrong one."""
    judged = rules.judge(
        "k",
        staged((OURS, item("o", standing=DOUBT)), (THEIRS, item("t", 900))),
        POLICY,
        WINDOW,
        UNTIL_S,
    )
    (found,) = judged.findings
    assert (found.kind, found.action) == (Kind.AMOUNT, Action.ASK)


@pytest.mark.parametrize(
    ("side", "standing", "days_ago", "kind", "minor"),
    [
        (OURS, DONE, 5, Kind.MISSING_THEIRS, 1000),
        (OURS, DOUBT, 5, Kind.MISSING_THEIRS, 1000),
        (OURS, DONE, 0.5, Kind.TIMING, 1000),
        (OURS, FAILED, 5, "void", 0),
        (OURS, DONE, 30.5, "beyond", 0),
        (THEIRS, DONE, 5, Kind.MISSING_OURS, 1000),
        (THEIRS, FAILED, 5, Kind.MISSING_OURS, 0),
        (THEIRS, DONE, 0.5, Kind.TIMING, 1000),
    ],
)
def test_what_a_loner_is(
    side: Side, standing: Standing, days_ago: float, kind: object, minor: int
) -> None:
    feed = Feed(side.other, "other", 3, 1, b"", {}, NOW)
    (one,) = staged((side, item("x", standing=standing, days_ago=days_ago)))
    found = rules.alone(one, feed, POLICY, WINDOW)
    if isinstance(found, Finding):
        assert (found.kind, found.minor) == (kind, minor)
        if standing is DOUBT:
            assert found.action is Action.SETTLE_NOT_DONE
    else:
        assert found == kind


# Keys -----------------------------------------------------------------------------------------------------------------


@st.composite
def of_one_key(draw: st.DrawFn, key: str = "k") -> list[tuple[Side, Item]]:
    made = []
    for n in range(draw(st.integers(1, 5))):
        side = draw(st.sampled_from(Side))
        standing = draw(
            st.sampled_from(
                [DONE, DONE, DONE, PENDING, FAILED, REVERSED, DOUBT]
                if side is OURS
                else [DONE, DONE, DONE, PENDING, FAILED, REVERSED]
            )
        )
        made.append((side, item(
            f"{key}/{n}", draw(st.sampled_from([1000, 1000, 1001, 999, 1500])), key=key, standing=standing,
            currency=draw(st.sampled_from(["EUR", "EUR", "EUR", "USD"])), fee=draw(st.sampled_from([0, 39, 39, 45])),
            kind=draw(st.sampled_from(["charge", "refund"])),
            days_ago=draw(st.sampled_from([0.5, 3, 5, 30.5])),
        )))  # fmt: skip
    return made


@given(of_one_key(), st.sampled_from([POLICY, FEES, SOME_FEES]))
def test_each_item_of_a_key_is_consumed_once(
    items: list[tuple[Side, Item]], policy: Policy
) -> None:
    given_ = staged(*items)
    judged = rules.judge("k", given_, policy, WINDOW, UNTIL_S)
    assert judged.agree + judged.broken + len(judged.loose) == len(given_)
    subjects = [each.subject for each in judged.findings]
    assert len(set(subjects)) == len(subjects)
    alive = {
        side: [s for s in given_ if s.side is side and s.item.standing is not FAILED]
        for side in Side
    }
    extra = sum(max(0, len(alive[side]) - 1) for side in Side)
    duplicates = [each for each in judged.findings if each.kind.startswith("duplicate")]
    assert len(duplicates) <= extra
    if all(WINDOW.covers(s.item.at) for s in given_):
        assert len(duplicates) == extra
    if judged.loose:
        assert not (alive[OURS] and alive[THEIRS])


@given(of_one_key(), st.randoms())
def test_the_order_of_a_feed_does_not_matter(items: list[tuple[Side, Item]], random) -> None:
    given_ = staged(*items)
    shuffled = list(given_)
    random.shuffle(shuffled)
    one = rules.judge("k", given_, POLICY, WINDOW, UNTIL_S)
    other = rules.judge("k", shuffled, POLICY, WINDOW, UNTIL_S)
    assert (one.findings, one.agree, one.loose) == (other.findings, other.agree, other.loose)


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=25, unique=True).flatmap(
        lambda keys: st.tuples(*(of_one_key(f"k{key}") for key in keys))
    ),
    st.sampled_from([POLICY, FEES, SOME_FEES]),
)
async def test_the_database_keeps_to_itself_what_agrees(
    books: Books, groups: tuple[list[tuple[Side, Item]], ...], policy: Policy
) -> None:
    """`odd` gives exactly the keys that are not one and one in agreement, whole, and in order."""
    everything = [each for group in groups for each in group]
    expected = {
        group[0][1].key
        for group in groups
        if not (
            sorted(side for side, _ in group) == [OURS, THEIRS]
            and rules.agree(*(each for _, each in sorted(group, key=lambda g: g[0])), policy)
        )
    }
    q = store.queries(books.schema)
    async with books.pool.connection() as connection:
        run = await books.ask()
        await store.make_room(connection, q, run)
        async with transaction_async(connection, "read committed"):
            for side in Side:
                mine = [each for its, each in everything if its is side]
                kept = Kept(1, None, None, b"", Said(len(mine), len(mine), {}))
                await store.stage(connection, q, run, side, kept, mine, 0)
            assert await compare_store.begin_comparing(connection, q, run) == len(everything)
            found = [each async for each in compare_store.odd(connection, q, run, policy)]
        await connection.execute(f"DELETE FROM {books.schema}.reconcile_run")
    assert {each.item.key for each in found} == expected
    wanted = sorted(
        (each for _, each in everything if each.key in expected), key=lambda i: (i.key, i.id)
    )
    assert sorted((each.item for each in found), key=lambda i: (i.key or "", i.id)) == wanted
    keys = [each.item.key for each in found]
    assert keys == sorted(keys, key=str)


@given(
    st.integers(-(10**12), 10**12), st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**4)
)  # fmt: skip
def test_a_fee_is_rounded_half_up(amount: int, a: int, b: int, fixed: int) -> None:
    rate = Fraction(min(a, b), max(a, b))
    exact = abs(amount) * rate
    found = FeeTerms(rate, fixed).of(amount) - fixed
    assert abs(found - exact) <= Fraction(1, 2)
    assert found - exact != Fraction(-1, 2)


async def test_the_database_computes_the_same_fee(books: Books) -> None:
    terms = [
        (10**15 + 1, 14, 1000, 25),
        (-250, 1, 100, 0),
        (50, 1, 100, 0),
        (49, 1, 100, 3),
        (0, 0, 1, 7),
    ]
    for amount, a, b, fixed in terms:
        ((found,),) = await books.rows(
            "SELECT {}.reconcile_fee(%s::bigint, %s::bigint, %s::bigint, %s::bigint)",
            amount,
            a,
            b,
            fixed,
        )
        assert int(found) == FeeTerms(Fraction(a, b), fixed).of(amount)


def test_what_cannot_be_a_policy() -> None:
    for wrong in (
        lambda: Policy(grace=timedelta(seconds=-1)),
        lambda: Policy(tolerance=-1),
        lambda: Policy(tolerance=0.5),  # type: ignore[arg-type]
        lambda: FeeTerms(0.014),  # type: ignore[arg-type]
        lambda: FeeTerms(Fraction(3, 2)),
    ):
        with pytest.raises(UsageError):
            wrong()


def test_phases_are_named_as_people_read_them() -> None:
    assert [phase.value for phase in Phase] == [
        "asked", "reading ours", "reading theirs", "matching", "settling", "ended",
    ]  # fmt: skip
