"""The audit as it is read: pages, filters, and an end to how far one page looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from troth.base.errors import UsageError
from troth.command.acts import ACTS
from troth.store.connect import connect_async
from troth.view import acts as view
from troth.view.filters import Since
from troth.view.store import reading

FILL = """
INSERT INTO {s}.operator_act (at, by, role, via, act, about, details, outcome)
SELECT now() - make_interval(hours => 1000 - n), 'p' || n %% 3, 'operator', 'console', 'run.cancel', 'run-' || n %% 7,
       '{{"n": 123456789012345678901234567890}}', 'done'
FROM generate_series(1, %s) n
"""


def fill(cell, count: int) -> None:
    with psycopg.connect(cell[0]) as connection:
        connection.execute(FILL.format(s=cell[1]), (count,))


async def page(cell, which: view.ActFilter | None = None, **more):
    async with await connect_async(cell[0]) as opened, reading(opened, cell[1]) as tx:
        return await view.acts(tx, cell[1], which or view.ActFilter(), **more)


async def every(cell, which: view.ActFilter, **more) -> list[int]:
    """The ids on all pages, one after the other."""
    found: list[int] = []
    after = None
    while True:
        part = await page(cell, which, after=after, **more)
        found += [line.id for line in part.rows]
        if part.next is None:
            return found
        after = part.next


async def test_nobody_did_anything(migrated):
    assert await page(migrated) == view.Page(())


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (view.ActFilter(), lambda _: True),
        (view.ActFilter(by="p1"), lambda n: n % 3 == 1),
        (view.ActFilter(about="run-3"), lambda n: n % 7 == 3),
        (view.ActFilter(by="p1", about="run-3"), lambda n: n % 21 == 10),
        (view.ActFilter(act="run"), lambda _: True),
        (view.ActFilter(act="run.resume"), lambda _: False),
        (view.ActFilter(via=view.ActVia.PROGRAM), lambda _: False),
        (view.ActFilter(outcome=view.ActOutcome.DONE), lambda _: True),
    ],
)
async def test_pages_follow_each_other_without_gap_or_overlap(migrated, which, left):
    fill(migrated, 50)
    expected = [n for n in range(50, 0, -1) if left(n)]
    assert await every(migrated, which, limit=4) == expected
    assert await every(migrated, which, limit=4, scan=5) == expected, "in small looks, too"


async def test_a_page_says_how_far_it_has_looked(migrated):
    fill(migrated, 50)
    found = await page(migrated, view.ActFilter(act="run.resume"), scan=10)
    assert (found.rows, found.cut) == ((), True)
    assert found.next is not None


async def test_what_is_older_than_asked_for_is_not_looked_for(migrated):
    fill(migrated, 50)
    newest = datetime.now(UTC) - timedelta(hours=953.5)
    which = view.ActFilter(since=Since(newest.isoformat()))
    found = await page(migrated, which, scan=10)
    assert [line.id for line in found.rows] == [50, 49, 48, 47]
    assert (found.next, found.cut) == (None, False)


async def test_numbers_are_exact_and_ages_come_from_the_database(migrated):
    fill(migrated, 1)
    (line,) = (await page(migrated)).rows
    assert line.details == {"n": 123456789012345678901234567890}
    assert line.age_s == pytest.approx(999 * 3600, abs=60)
    assert (line.result, line.agrees_with, line.note) == (None, None, None)


@pytest.mark.parametrize(
    "more", [{"limit": 0}, {"limit": 1001}, {"after": "x"}, {"after": "WyJhIl0"}]
)
async def test_what_is_no_page(migrated, more):
    with pytest.raises(UsageError):
        await page(migrated, **more)


def test_a_filter_is_an_address_and_options():
    which = view.ActFilter(by="ada", outcome=view.ActOutcome.REFUSED, since=Since("7d"))
    assert view.ActFilter.from_query(which.to_query()) == which
    assert which.to_flags() == ["--by", "ada", "--outcome", "refused", "--since", "7d"]


async def test_rules_are_those_of_the_table(migrated):
    with psycopg.connect(migrated[0]) as connection:
        connection.execute(
            f"INSERT INTO {migrated[1]}.act_rule VALUES ('run.fork', 2), ('gone', 2)"
        )
    async with await connect_async(migrated[0]) as opened, reading(opened, migrated[1]) as tx:
        found = await view.rules(tx, migrated[1])
    assert {each.kind.name: each.eyes for each in found} == dict.fromkeys(ACTS, 1) | {"run.fork": 2}


async def test_what_waits_is_told_without_what_is_confidential(migrated):
    with psycopg.connect(migrated[0]) as connection:
        connection.cursor().executemany(
            f"INSERT INTO {migrated[1]}.act_proposal (act, about, content, details, by, until)"
            " VALUES (%s, 'r', %s, %s, 'ada', now() + %s::interval)",
            [
                ("run.send", b"1", b'{"topic":"go","key":null,"value":1234}', "1 d"),
                ("run.send", b"2", b'{"topic":"go","value":"' + b"x" * 70_000 + b'"}', "1 d"),
                ("run.cancel", b"3", b"{}", "-1 s"),
                ("of.tomorrow", b"4", b'{"a":1}', "1 d"),
            ],
        )
    async with await connect_async(migrated[0]) as opened, reading(opened, migrated[1]) as tx:
        first = await view.waiting(tx, migrated[1], limit=2)
        rest = await view.waiting(tx, migrated[1], after=first.next)
    small, large = first.rows
    assert (small.details, small.hidden, small.untold) == (
        {"topic": "go", "key": None},
        ("value",),
        False,
    )
    assert (large.details, large.untold) == ({}, True)
    assert [(each.act, each.details) for each in rest.rows] == [("of.tomorrow", {})]
    assert rest.next is None
