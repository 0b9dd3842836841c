"""A reconciler that is killed in every phase, one that wakes up too late, and two at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest

from tests.cli.parked import Journal, in_doubt, park
from tests.harness.postgres import wait_until
from tests.reconcile import kill_program
from tests.reconcile.conftest import Books, both, item, kinds
from troth.base import codec
from troth.command.model import Author
from troth.reconcile import OneToOne, ReconcileError, acts, breaks_store
from troth.store.isolation import transaction_async

SOME = ["theirs:200", "matching", "settling"]
OTHERS = ["ours:None", "ours:100", "theirs:None", "again:None", "again:100"]
PLACES = [*SOME, *(pytest.param(place, marks=pytest.mark.slow) for place in OTHERS)]
EXPECTED = {
    "key:doubt": ("state", "resolved"),
    "theirs:ch_twice": ("duplicate_theirs", "open"),
    "ours:lonely": ("missing_theirs", "open"),
    "theirs:stranger": ("missing_ours", "open"),
}


def doubtful(books: Books) -> str:
    journal = Journal().sent("refund", 1).lost("refund", 1)
    return str(park((books.url, books.schema), journal, "in_doubt", in_doubt()))


@asynccontextmanager
async def reconciling(books: Books, run: str, place: str) -> AsyncIterator[subprocess.Popen[str]]:
    command = [
        sys.executable, "-m", "tests.reconcile.kill_program", books.url, books.schema, run, place,
    ]  # fmt: skip
    child = subprocess.Popen(  # noqa: ASYNC220  (it takes milliseconds)
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


async def until_it_says(child: subprocess.Popen[str], place: str) -> list[str]:
    said: list[str] = []
    while not said or said[-1] != place:
        assert child.stdout is not None
        line = await asyncio.to_thread(child.stdout.readline)
        if not line:
            raise AssertionError(f"it ended after {said}: {child.stderr and child.stderr.read()}")
        said.append(line.strip())
    return said


@pytest.mark.parametrize("place", PLACES)
async def test_killed_anywhere_it_goes_on_and_comes_to_the_same(books: Books, place: str) -> None:
    run = doubtful(books)
    number = await books.ask()
    lock: Any = None
    if place == "settling":  # its act at the desk waits for the table
        lock = await psycopg.AsyncConnection.connect(books.url)
        await lock.execute(f"LOCK TABLE {books.schema}.operator_act")
    async with reconciling(books, run, place) as child:
        if place == "settling":
            await asyncio.to_thread(wait_until, lambda: waits_for_a_lock(books), "it settles")
            before = ["ours:None"]
        else:
            before = await until_it_says(child, place)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    if lock is not None:
        await lock.close()
    line = await books.line(number)
    assert line.ended_at is None
    await lease_is_over(books)
    async with reconciling(books, run, "nowhere") as child:
        after = await until_it_says(child, "done")
    line = await books.line(number)
    assert line.verdict == "breaks", line.error
    assert {each.subject: (each.kind, each.state) for each in await books.breaks()} == EXPECTED
    assert line.counts is not None
    assert line.counts["settled"] == 1
    asked = Counter(
        each.replace("again", "theirs") for each in (*before[:-1], *after) if ":" in each
    )
    if place != "settling":
        cursors = (None, 100, 200)
        expected = {f"ours:{at}": 1 for at in cursors} | {f"theirs:{at}": 2 for at in cursors}
        assert asked == expected, "each page is read once, theirs twice, by whichever process"
    settled = await books.rows(
        "SELECT count(*) FROM {}.journal WHERE run_id = %s AND path = 'refund' AND kind = 2", run
    )
    assert settled == [(1,)]
    assert await result_of_an_undisturbed_run(books, run) == line.result


def waits_for_a_lock(books: Books) -> bool:
    with psycopg.connect(books.url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND strpos(query, %s) > 0",
            (f"{books.schema}.operator_act",),
        ).fetchone()
    return row is not None and row[0] > 0


async def lease_is_over(books: Books) -> None:
    """As if the time had passed for which a run is held."""
    await books.rows(
        "UPDATE {}.reconcile_run SET held_until = clock_timestamp() WHERE ended_at IS NULL"
    )


async def result_of_an_undisturbed_run(books: Books, run: str) -> bytes | None:
    """The same sides, compared by a run that nobody killed."""
    mine, yours = kill_program.sides(run)
    line = await books.run("other", ours=mine, theirs=yours, rules=[kill_program.Gate("nowhere")])
    return line.result


# Too late, and two at once --------------------------------------------------------------------------------------------


async def held_up(books: Books) -> tuple[asyncio.Task[float], asyncio.Event]:
    """A reconciler that stands still before their second page, and what lets it go on."""
    books.ours.items, books.theirs.items = both(250)
    there, go = asyncio.Event(), asyncio.Event()

    async def wait(cursor: str | None) -> None:
        if cursor == "100" and not there.is_set():
            there.set()
            await go.wait()

    books.theirs.before = wait
    task = asyncio.ensure_future(books.relay().look(books.pool))
    async with asyncio.timeout(30):
        await there.wait()
    return task, go


async def test_who_wakes_up_too_late_writes_nothing(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    number = await books.ask()
    task, go = await held_up(books)
    await lease_is_over(books)
    await books.relay().look(books.pool)
    after = await books.line(number)
    assert after.verdict == "clean"
    kept = await books.rows("SELECT count(*) FROM {}.reconcile_page")
    caplog.set_level("INFO", "troth.reconcile")
    go.set()
    await task
    assert await books.line(number) == after
    assert await books.rows("SELECT count(*) FROM {}.reconcile_page") == kept
    assert "another process is at run" in caplog.text


async def test_who_wakes_up_while_another_reads_writes_nothing(books: Books) -> None:
    """Both are in the same phase of the same run, and have the same page in hand."""
    number = await books.ask()
    task, go = await held_up(books)
    await lease_is_over(books)
    other_there, other_go = asyncio.Event(), asyncio.Event()

    async def wait(cursor: str | None) -> None:
        if cursor == "100":
            other_there.set()
            await other_go.wait()

    books.theirs.before = wait
    other = asyncio.ensure_future(books.relay().look(books.pool))
    async with asyncio.timeout(30):
        await other_there.wait()
    go.set()
    await task
    pages = await books.rows(
        "SELECT side, count(*) FROM {}.reconcile_page GROUP BY side ORDER BY side"
    )
    assert pages == [(1, 3), (2, 1)], "the first one has written a page after it had lost its turn"
    other_go.set()
    await other
    line = await books.line(number)
    assert (line.verdict, line.theirs and line.theirs.items) == ("clean", 250)


@pytest.mark.parametrize("step", ["_compare", "_settle"])
async def test_who_wakes_up_too_late_to_compare_or_to_end_writes_nothing(
    books: Books, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    """As above, but it has read everything: what it would write are breaks, and the end of the run."""
    books.ours.items, books.theirs.items = both(5)
    books.theirs.items.append(item("ch_twice", 1002, key="k2"))
    number = await books.ask()
    relay = books.relay()
    there, go = asyncio.Event(), asyncio.Event()
    work = getattr(relay, step)

    async def slowly(*given: Any) -> None:
        there.set()
        await go.wait()
        await work(*given)

    setattr(relay, step, slowly)
    task = asyncio.ensure_future(relay.look(books.pool))
    async with asyncio.timeout(30):
        await there.wait()
    await lease_is_over(books)
    await books.relay().look(books.pool)
    after = await books.line(number)
    assert (after.verdict, after.phase) == ("breaks", "ended")
    told = await books.rows("SELECT * FROM {}.reconcile_event")
    stand = await books.breaks()
    caplog.set_level("INFO", "troth.reconcile")
    go.set()
    await task
    assert await books.line(number) == after
    assert await books.breaks() == stand
    assert await books.rows("SELECT * FROM {}.reconcile_event") == told
    assert "another process is at run" in caplog.text


async def test_of_two_at_once_one_works_and_the_other_says_so(books: Books) -> None:
    number = await books.ask()
    task, go = await held_up(books)
    await books.relay().look(books.pool)
    assert (await books.line(number)).phase == "reading theirs"
    async with books.pool.connection() as tx, transaction_async(tx, "read committed"):
        with pytest.raises(
            ReconcileError, match=rf"run {number} of bank.* is at it \(reading theirs\)"
        ):
            await acts.request(tx, books.schema, "bank", Author("bob"))
    go.set()
    await task
    assert (await books.line(number)).verdict == "clean"


async def test_what_a_person_explains_before_it_is_settled_is_left_to_them(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = doubtful(books)
    mine, yours = kill_program.sides(run)
    look = breaks_store.to_settle

    async def meanwhile(*given: Any) -> list[int]:
        waiting = await look(*given)
        await books.rows(
            "UPDATE {}.reconcile_break SET state = 'accepted', until = now() + interval '1 day', explained_by = 'ada'"
            " WHERE id = %s",
            *waiting,
        )
        return waiting

    monkeypatch.setattr(breaks_store, "to_settle", meanwhile)
    line = await books.run(ours=mine, theirs=yours)
    assert line.counts is not None
    assert line.counts["settled"] == 0
    (found,) = [each for each in await books.breaks() if each.subject == "key:doubt"]
    assert found.state == "accepted"
    settled = await books.rows(
        "SELECT count(*) FROM {}.journal WHERE run_id = %s AND kind = 2", run
    )
    assert settled == [(0,)]


async def test_the_input_is_kept_so_the_result_can_be_computed_again(books: Books) -> None:
    """Two runs of one window have the same digests of both inputs and of the result; another input has others."""
    books.ours.items, books.theirs.items = both(120)
    books.theirs.items.pop()
    first, second = await books.run(), await books.run()
    books.theirs.items.pop()
    third = await books.run()

    def digests(line: Any) -> list[bytes]:
        return [line.ours.digest, line.theirs.digest, line.result]

    assert digests(first) == digests(second)
    assert digests(third)[0] == digests(first)[0]
    assert digests(third)[1] != digests(first)[1]
    assert digests(third)[2] != digests(first)[2]
    assert set(kinds(await books.breaks()).values()) == {"missing_theirs"}
    results = set()
    for cents in (
        998,
        999,
    ):  # breaks of the same kinds, about the same things: another amount is another result
        books.theirs.items[0] = item("ch_0", cents, key="k0", days_ago=2)
        results.add((await books.run()).result)
    assert len(results) == 2
    assert codec.encode(first.rules) == codec.encode(second.rules)


async def test_what_older_runs_have_read_is_forgotten_and_what_they_came_to_is_not(
    books: Books,
) -> None:
    books.ours.items, books.theirs.items = both(5)
    books.ours.items.append(item("run/keyless", 77))
    books.theirs.items.append(item("ch_keyless", 77))
    lines = [await books.run(keep=2, rules=[OneToOne("amount", 1)]) for _ in range(4)]
    runs = [(line.id,) for line in lines]
    for table in ("item", "page", "match"):
        left = await books.rows(f"SELECT DISTINCT run FROM {{}}.reconcile_{table} ORDER BY run")
        assert left == runs[-2:], table
    tables = await books.rows(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = '{}.reconcile_item'::regclass"
    )
    assert tables == [(2,)]
    first = await books.line(lines[0].id)
    assert (first.verdict, first.counts, first.result, first.ours, first.theirs) == (
        "clean", lines[0].counts, lines[0].result, lines[0].ours, lines[0].theirs,
    )  # fmt: skip
    looked = await books.rows(
        "SELECT id FROM {}.reconcile_run WHERE ended_at IS NOT NULL AND NOT forgotten ORDER BY id"
    )
    assert looked == runs[-2:], "the next run looks at no others"


async def test_who_wakes_up_when_all_is_forgotten_makes_no_room_again(books: Books) -> None:
    """It took up a run to read the second side; by then the run is over, and what it had read is gone."""
    books.ours.items, books.theirs.items = both(5)
    number = await books.ask()

    def away(_cursor: str | None) -> None:
        raise ConnectionResetError("not now")

    books.theirs.before = away
    await books.relay().look(books.pool)
    assert (await books.line(number)).phase == "reading theirs"
    await books.rows("UPDATE {}.reconcile_run SET due_at = '-infinity'")
    books.theirs.before = None
    there, go = asyncio.Event(), asyncio.Event()
    relay = books.relay()
    take = relay._take

    async def slowly(bench: Any, taken: Any) -> None:
        there.set()
        await go.wait()
        await take(bench, taken)

    relay._take = slowly  # type: ignore[method-assign]
    task = asyncio.ensure_future(relay.look(books.pool))
    async with asyncio.timeout(30):
        await there.wait()
    await lease_is_over(books)
    await books.relay(keep=1).look(books.pool)
    assert (await books.line(number)).verdict == "clean"
    await books.run(keep=1)
    go.set()
    await task
    left = await books.rows(
        "SELECT to_regclass('{}.reconcile_item_%s') IS NULL".replace("%s", str(number))
    )
    assert left == [(True,)]
