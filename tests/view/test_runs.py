"""Pages of runs: what one page looks at has an end, and the next one begins there."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest
import pytest_asyncio

from troth.base import ids
from troth.journal.model import Reason, RunState
from troth.store.connect import connect_async
from troth.view import store
from troth.view.filters import Since
from troth.view.runs import RunFilter, count, live_ids, page


@pytest_asyncio.fixture
async def read(migrated):
    """Read in one snapshot: `await read(page, which, …)`."""
    url, schema = migrated
    async with await connect_async(url) as connection:

        async def do(function, *args, **more):
            async with store.reading(connection, schema) as tx:
                return await function(tx, schema, *args, **more)

        yield do


def fill(migrated, table: str, workflows: list[str], state: str, reason: str | None = None) -> list:
    """Runs of these workflows, in the order of their ids."""
    url, schema = migrated
    made = sorted(ids.new_id() for _ in workflows)
    more = ", wake_at, reason" if table == "run" else ""
    values = ", clock_timestamp(), %s" if table == "run" else ""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO {schema}.{table} (id, workflow, input, state, claim, starts_at{more}) "
            f"VALUES (%s, %s, '{{}}', %s, 1, clock_timestamp(){values})",
            [
                (run, name, state, *([reason] if table == "run" else []))
                for run, name in zip(made, workflows, strict=True)
            ],
        )
    return made


async def every_page(read, which: RunFilter, **more) -> tuple[list, int]:
    """All runs of all pages, and how many pages there were."""
    seen, pages, after = [], 0, None
    while True:
        found = await read(page, which, after=after, **more)
        seen += [line.id for line in found.rows]
        pages += 1
        if found.next is None:
            return seen, pages
        after = UUID(found.next)


async def test_a_rare_workflow_is_found_page_by_page(migrated, read):
    names = ["rare" if n % 40 == 7 else "plain" for n in range(200)]
    ended = fill(migrated, "run_history", names, "succeeded")
    wanted = [run for run, name in zip(ended, names, strict=True) if name == "rare"]
    seen, pages = await every_page(read, RunFilter(workflow="rare"), scan=30, limit=10)
    assert seen == wanted[::-1]
    assert pages == 7, "30 of 200 at a time"


@pytest.mark.parametrize("limit", [4, 50])
@pytest.mark.parametrize("scan", [3, 7, 1000])
async def test_runs_alive_and_ended_interleave_without_gap_or_repetition(
    scan, limit, migrated, read
):
    made = []
    for n in range(30):
        table, state = ("run", "waiting") if n % 3 else ("run_history", "failed")
        made += fill(migrated, table, ["w"], state)
    seen, _ = await every_page(read, RunFilter(), scan=scan, limit=limit)
    assert seen == sorted(made, reverse=True)


async def test_since_ends_the_looking(migrated, read):
    fill(migrated, "run_history", ["w"] * 20, "succeeded")
    found = await read(page, RunFilter(workflow="none", since=Since("2100-01-01")), scan=5)
    assert (found.rows, found.next, found.cut) == ((), None, False)
    found = await read(page, RunFilter(workflow="none"), scan=5)
    assert found.cut
    assert found.next is not None


async def test_a_filter_by_reason_leaves_what_has_ended_alone(migrated, read):
    fill(migrated, "run_history", ["w"] * 3, "failed")
    bug = fill(migrated, "run", ["w"] * 2, "attention", "bug")
    fill(migrated, "run", ["w"], "attention", "in_doubt")
    which = RunFilter(reasons=frozenset({Reason.BUG}))
    assert not which.ended
    found = await read(page, which)
    assert [line.id for line in found.rows] == bug[::-1]
    assert (await read(count, which)).n == 2
    assert await read(live_ids, which, 1) == [bug[-1]]


async def test_counts_stop_at_their_cap(migrated, read):
    fill(migrated, "run", ["w"] * 12, "waiting")
    assert str(await read(count, RunFilter(workflow="w"), cap=10)) == "10+"
    assert str(await read(count, RunFilter(workflow="w"), cap=12)) == "12"
    assert (await read(count, RunFilter(states=frozenset({RunState.FAILED})))).n == 0


def test_the_filter_is_a_query_and_flags_at_once():
    said = [("state", "attention"), ("state", "failed"), ("workflow", "checkout"), ("since", "2h")]
    which = RunFilter.from_query(said)
    assert which.to_query() == said
    assert which.to_flags() == [
        *("--state", "attention", "--state", "failed", "--workflow", "checkout", "--since", "2h")
    ]
