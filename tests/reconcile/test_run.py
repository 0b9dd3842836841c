"""Whole runs: what is clean, what is not, and what is never called clean."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.reconcile.conftest import DAY, NOW, Books, both, item, kinds
from troth import events
from troth.base.telemetry import Telemetry
from troth.reconcile import Standing, matching
from troth.reconcile.model import BreakState


async def test_what_agrees_is_clean(books: Books) -> None:
    books.ours.items, books.theirs.items = both(250)
    books.theirs.items.reverse()
    line = await books.run()
    assert line.verdict == "clean", line
    assert line.counts is not None
    assert line.counts["by_key"] == 500
    assert line.ours is not None
    assert (line.ours.items, line.ours.pages, line.ours.proven) == (250, 3, True)
    assert await books.breaks() == []


async def test_both_directions_are_looked_at(books: Books) -> None:
    books.ours.items, books.theirs.items = both(3)
    books.ours.items.append(item("run/only", 700, key="ours alone"))
    books.theirs.items.append(item("ch_only", 900, key="theirs alone"))
    books.theirs.items.append(item("ch_keyless", -400))
    line = await books.run()
    assert line.verdict == "breaks"
    found = await books.breaks()
    assert kinds(found) == {
        "key:ours alone": "missing_theirs",
        "key:theirs alone": "missing_ours",
        "theirs:ch_keyless": "missing_ours",
    }
    assert {each.subject: each.minor for each in found} == {
        "key:ours alone": 700, "key:theirs alone": 900, "theirs:ch_keyless": 400,
    }  # fmt: skip


# What is never clean --------------------------------------------------------------------------------------------------


async def test_an_empty_feed_is_stale_and_invents_nothing(books: Books) -> None:
    books.ours.items, _ = both(50)
    line = await books.run()
    assert line.verdict == "unproven"
    (found,) = await books.breaks()
    assert (found.subject, found.kind) == ("feed:theirs:EUR", "stale_source")
    assert found.minor == sum(each.amount for each in books.ours.items)
    assert "50 items of the other side are not judged" in found.note
    assert line.counts is not None
    assert line.counts["unproven"] == 50


async def test_two_empty_feeds_are_clean_only_if_both_say_that_there_is_nothing(
    books: Books,
) -> None:
    assert (await books.run()).verdict == "clean"
    books.theirs.counts = False
    assert (await books.run()).verdict == "unproven"
    assert kinds(await books.breaks()) == {"feed:theirs": "stale_source"}


async def test_a_partial_feed_is_stale_and_what_is_there_is_judged(books: Books) -> None:
    books.ours.items, books.theirs.items = both(20)
    books.theirs.items[3] = item("ch_3", 1, key="k3")
    books.theirs.says = 20
    books.theirs.items = books.theirs.items[:15]
    line = await books.run()
    assert line.verdict == "unproven"
    found = await books.breaks()
    assert kinds(found) == {"feed:theirs:EUR": "stale_source", "key:k3": "amount"}
    assert "has 20 items, and gave 15" in found[0].note


async def test_nothing_is_resolved_by_a_feed_that_is_not_proven(books: Books) -> None:
    books.ours.items, books.theirs.items = both(5)
    extra = item("ch_again", key="k1")
    books.theirs.items.append(extra)
    await books.run()
    books.theirs.items.remove(extra)
    books.theirs.says = 6
    await books.run()
    assert {each.kind: each.state for each in await books.breaks()} == {
        "duplicate_theirs": BreakState.OPEN, "stale_source": BreakState.OPEN,
    }  # fmt: skip
    books.theirs.says = None
    assert (await books.run()).verdict == "clean"
    assert {each.state for each in await books.breaks()} == {BreakState.RESOLVED}


async def test_a_feed_that_ends_too_early_is_stale(books: Books) -> None:
    books.ours.items, books.theirs.items = both(3)
    books.theirs.until = NOW - 2 * DAY
    assert (await books.run()).verdict == "unproven"
    (found,) = await books.breaks()
    assert found.kind == "stale_source"
    assert "it ends at" in found.note
    assert (await books.run(grace=3 * DAY)).verdict == "clean"


async def test_what_is_younger_than_the_end_of_their_feed_is_timing(books: Books) -> None:
    books.ours.items, books.theirs.items = both(3)
    books.ours.items.append(item("run/new", key="new", days_ago=1.2))
    books.theirs.until = NOW - 1 * DAY
    await books.run(grace=DAY)
    assert kinds(await books.breaks()) == {"key:new": "timing"}


# Kinds ----------------------------------------------------------------------------------------------------------------


async def test_a_duplicate_charge_is_found(books: Books) -> None:
    books.ours.items, books.theirs.items = both(4)
    books.theirs.items.append(item("ch_twice", 1002, key="k2", days_ago=3))
    await books.run()
    (found,) = await books.breaks()
    assert (found.subject, found.kind, found.minor) == ("theirs:ch_twice", "duplicate_theirs", 1002)
    assert {each.id for each in found.theirs} == {"ch_twice", "ch_2"}
    assert found.action == "refund"


async def test_an_attempt_that_failed_is_no_duplicate(books: Books) -> None:
    books.ours.items, books.theirs.items = both(4)
    books.theirs.items.append(
        item("ch_declined", 1002, key="k2", days_ago=3, standing=Standing.FAILED)
    )
    assert (await books.run()).verdict == "clean"


async def test_theirs_greater_is_a_break_as_theirs_less(books: Books) -> None:
    books.ours.items, books.theirs.items = both(4)
    books.theirs.items[1] = item("ch_1", 1001 + 5, key="k1")
    books.theirs.items[2] = item("ch_2", 1002 - 5, key="k2")
    await books.run()
    assert {each.subject: (each.kind, each.minor) for each in await books.breaks()} == {
        "key:k1": ("amount", 5), "key:k2": ("amount", 5),
    }  # fmt: skip


async def test_timing_ages_into_what_it_is(books: Books) -> None:
    books.ours.items, books.theirs.items = both(4)
    books.ours.items.append(item("run/late", key="late", days_ago=3))
    await books.run(until=2, grace=2 * DAY, margin=timedelta(0))
    (found,) = await books.breaks()
    assert (found.kind, found.action) == ("timing", "wait")
    await books.run(grace=2 * DAY)
    (aged,) = await books.breaks()
    assert (aged.id, aged.kind) == (found.id, "missing_theirs")
    assert await books.history(found.id) == ["found", "became"]


async def test_the_other_half_may_be_in_the_margin(books: Books) -> None:
    """A charge on the last evening is in the bank on the first morning."""
    books.ours.items = [item("run/a", key="a", days_ago=10.1), item("run/b", key="b", days_ago=9.9)]
    books.theirs.items = [item("ch_a", key="a", days_ago=9.8), item("ch_b", key="b", days_ago=9.7)]
    books.theirs.items.append(item("ch_next", key="next", days_ago=9.5))
    line = await books.run(until=10)
    assert line.verdict == "clean", await books.breaks()
    assert line.counts is not None
    assert (line.counts["by_key"], line.counts["beyond"]) == (4, 1)


async def test_beyond_a_limit_breaks_are_told_of_by_kind_and_none_is_left_out(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "_MOST_NEWS", 2)
    books.ours.items, books.theirs.items = both(4)
    books.theirs.items = [*(item(f"lonely{n}", 10 + n) for n in range(5)), books.theirs.items[0]]
    heard: list[events.ReconcileBreak] = []
    relay = books.relay()
    relay._telemetry = Telemetry()
    relay._telemetry.listen(heard.append, events.ReconcileBreak)  # type: ignore[arg-type]
    await books.ask()
    await relay.look(books.pool)
    found = await books.breaks()
    assert len(found) == 8
    assert [each.breaks for each in heard[:2]] == [1, 1]
    assert len(heard) == 4, "two alone, and the rest of two kinds"
    for kind in ("missing_ours", "missing_theirs"):
        of_kind = [each for each in heard if each.kind == kind]
        assert sum(each.breaks for each in of_kind) == len([e for e in found if e.kind == kind])
        assert sum(each.minor for each in of_kind) == sum(e.minor for e in found if e.kind == kind)


async def test_a_break_that_comes_again_keeps_its_history(books: Books) -> None:
    books.ours.items, books.theirs.items = both(4)
    charge = books.theirs.items.pop()
    await books.run()
    books.theirs.items.append(charge)
    await books.run()
    books.theirs.items.pop()
    await books.run()
    (found,) = await books.breaks()
    assert found.state is BreakState.OPEN
    assert await books.history(found.id) == ["found", "resolved", "reopened"]


# Feeds that change ----------------------------------------------------------------------------------------------------


async def test_a_feed_that_proves_nothing_is_read_twice(books: Books) -> None:
    books.ours.items, books.theirs.items = both(250)
    books.theirs.counts = False
    assert (await books.run()).verdict == "clean"
    assert books.theirs.asked == [None, "100", "200", None, "100", "200"]


async def test_a_history_that_changes_between_pages_is_noticed(books: Books) -> None:
    """Something is taken off the first page while the second is read: so one item moves up, and is never given."""
    books.ours.items, books.theirs.items = both(250)
    books.theirs.counts = False
    gone = books.theirs.items[0]

    def change(cursor: str | None) -> None:
        if cursor == "100" and gone in books.theirs.items:
            books.theirs.items.remove(gone)

    books.theirs.before = change
    line = await books.run()
    assert books.theirs.asked[:4] == [None, "100", "200", None]
    assert books.theirs.asked[4] is None, "it was to be read anew"
    assert line.verdict == "breaks"
    assert kinds(await books.breaks()) == {"key:k0": "missing_theirs"}


async def test_a_feed_that_never_holds_still_is_stale(books: Books) -> None:
    books.ours.items, books.theirs.items = both(250)
    books.theirs.counts = False
    numbers = iter(range(10_000))
    books.theirs.before = lambda _: books.theirs.items.insert(0, item(f"ch_new_{next(numbers)}"))
    line = await books.run()
    assert line.verdict == "unproven"
    assert [each.kind for each in await books.breaks() if each.subject.startswith("feed")] == [
        "stale_source"
    ]
    assert line.theirs is not None
    assert [flaw.fault for flaw in line.theirs.flaws][-1] == "moved"


async def test_an_item_that_comes_twice_counts_once(books: Books) -> None:
    books.ours.items, books.theirs.items = both(10)
    books.theirs.items.append(books.theirs.items[0])
    line = await books.run()
    assert line.verdict == "unproven"
    (found,) = await books.breaks()
    assert found.kind == "stale_source"
    assert "gave 1 items twice: ch_0" in found.note


async def test_pages_that_go_in_a_circle_end(books: Books) -> None:
    books.ours.items, books.theirs.items = both(250)
    give = books.theirs.page

    async def circle(cursor: str | None, window: object) -> object:
        page = await give(cursor, window)  # type: ignore[arg-type]
        object.__setattr__(page, "next", "100")
        return page

    books.theirs.page = circle  # type: ignore[method-assign, assignment]
    line = await books.run()
    assert line.verdict == "failed"
    assert "in a circle" in (line.error or "")
    assert kinds(await books.breaks()) == {"feed:theirs": "stale_source"}


async def test_a_source_that_gives_what_is_no_item_is_not_believed(books: Books) -> None:
    books.ours.items, _ = both(2)
    books.theirs.items = [item("ch_1", 10.5)]  # type: ignore[arg-type]
    line = await books.run()
    assert line.verdict == "failed"
    assert "whole numbers of minor units" in (line.error or "")


@pytest.mark.parametrize("side", ["ours", "theirs"])
async def test_a_side_that_cannot_be_read_is_a_break(books: Books, side: str) -> None:
    books.ours.items, books.theirs.items = both(2)

    def down(_cursor: str | None) -> None:
        raise ConnectionResetError("the other side is down")

    getattr(books, side).before = down
    line = await books.run()
    assert line.verdict == "failed"
    (found,) = await books.breaks()
    assert (found.subject, found.kind) == (f"feed:{side}", "stale_source")
    assert "the other side is down" in found.note
