"""Claims from queues, flush by flush: shares, priorities, limits that hold while others count, and what they cost."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.harness.cell import Cell, batch, end, rest, send, start
from troth.base import ids
from troth.journal import store
from troth.journal.model import Batch, Left, Line, Place, Release, Reply, Start

NO_QUEUE = Line(None, None, None, "")


def place(partition: str = "", priority: int = 0, *, queue: str = "q", at: float = 0.0) -> Start:
    """A start that stands in line."""
    return start()._replace(place=Place(queue, partition, priority), starts_at=at)


def asks(
    limit: int,
    *,
    concurrency: int | None = None,
    per_partition: int | None = None,
    after: str = "",
) -> Batch:
    """A claim from the queue `q`."""
    made = batch(claim=limit)
    made.lines.append(Line("q", concurrency, per_partition, after))
    return made


class Worker:
    """A worker id and the number of its next flush."""

    def __init__(self, cell: Cell, worker: int) -> None:
        self.cell = cell
        self.id = worker
        self._n = 0

    async def flush(self, made: Batch, tx: Any = None) -> Reply:
        self._n += 1
        return await self.cell.flush(self.id, self._n, made, tx)

    async def starts(self, *starts: Start) -> list[UUID]:
        await self.flush(batch(*starts))
        return [start.id for start in starts]


async def joined(cell: Cell) -> Worker:
    return Worker(cell, await cell.member())


async def partitions(cell: Cell, reply: Reply) -> dict[str, int]:
    """How many runs of each partition were claimed."""
    query = "SELECT partition, count(*) FROM {}.run WHERE id = ANY (%s) GROUP BY 1"
    return dict(await cell.rows(query, reply.claimed))


# ── who is next ─────────────────────────────────────────────────────────────────────────────────


async def test_every_partition_gets_an_equal_share(cell):
    worker = await joined(cell)
    await worker.starts(*(place(name) for name in ["big"] * 50 + ["small"] * 2 + ["tiny"]))
    reply = await worker.flush(asks(9))
    assert await partitions(cell, reply) == {"big": 6, "small": 2, "tiny": 1}
    assert reply.lines["q"] == ("big", Left.MORE)


async def test_the_round_goes_on_where_it_stopped(cell):
    """One slot at a time: nobody waits for more than one round."""
    worker = await joined(cell)
    await worker.starts(*(place(name) for name in ["a"] * 20 + ["b", "c"]))
    served, after = [], ""
    for _ in range(5):
        reply = await worker.flush(asks(1, after=after))
        after = reply.lines["q"][0]
        served += await partitions(cell, reply)
    assert served == ["a", "b", "c", "a", "a"]


async def test_smaller_priorities_go_first_and_older_runs_within_them(cell):
    worker = await joined(cell)
    runs = await worker.starts(
        place("a", 5), place("a", 0), place("b", 0), place("a", 0), place("b", -5)
    )
    order = []
    for _ in runs:
        reply = await worker.flush(asks(1, after="~"))  # always from the first partition on
        order += [runs.index(run) for run in reply.claimed]
    assert order == [4, 1, 3, 2, 0]


async def test_what_this_program_does_not_know_is_passed_over(cell):
    worker = await joined(cell)
    strange = place("a")._replace(workflow="other")
    _, mine = await worker.starts(strange, place("b"))
    reply = await worker.flush(asks(1))
    assert reply.claimed == [mine]


async def test_lines_share_the_room_in_turn(cell):
    worker = await joined(cell)
    loose = await worker.starts(*(start() for _ in range(10)))
    await worker.starts(*(place() for _ in range(10)))
    first = asks(4)
    first.lines.append(NO_QUEUE)
    reply = await worker.flush(first)
    assert len(reply.claimed) == 4
    assert len(set(reply.claimed) & set(loose)) == 2
    alone = batch(claim=20)
    reply = await worker.flush(alone)  # a program without queues takes nothing that stands in one
    assert set(reply.claimed) <= set(loose)
    assert len(reply.claimed) == 8


async def test_who_is_not_due_is_not_in_line(cell):
    worker = await joined(cell)
    later, sooner = await worker.starts(place(at=4e9), place())
    assert (await worker.flush(asks(5))).claimed == [sooner]
    await cell.rows("UPDATE {}.run SET wake_at = clock_timestamp() WHERE id = %s", later)
    assert (await worker.flush(asks(5))).claimed == [later]


async def test_a_heartbeat_says_what_is_due_and_where_somebody_stands(cell):
    worker = await joined(cell)
    session = await cell.session()

    async def beat() -> dict[str, Any]:
        row = await (await session.execute(cell.q.beat, (worker.id, 0))).fetchone()
        return store.codec.decode(row[0].encode())

    assert (await beat())["queues"] == []
    await worker.starts(place(queue="a", at=4e9), place(queue="b"), place(queue="c"))
    answer = await beat()
    assert answer["queues"] == ["b", "c"]
    assert answer["due"] == 4e9


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


async def test_limits_count_what_all_workers_have_in_hand(cell):
    one, two = await joined(cell), await joined(cell)
    await one.starts(*(place(name) for name in ["a"] * 10 + ["b"] * 10))
    reply = await one.flush(asks(3, concurrency=7, per_partition=4))
    assert await partitions(cell, reply) == {"a": 2, "b": 1}
    reply = await two.flush(asks(10, concurrency=7, per_partition=4))
    assert await partitions(cell, reply) == {"a": 2, "b": 2}
    assert reply.lines["q"][1] is Left.LIMIT
    await one.flush(batch(end(reply.claimed[0])))  # not its own: nothing ends
    reply = await one.flush(asks(10, concurrency=7, per_partition=4))
    assert reply.claimed == []
    assert reply.lines["q"][1] is Left.LIMIT


async def test_a_slot_is_free_when_a_run_ends_or_rests(cell):
    worker = await joined(cell)
    await worker.starts(*(place() for _ in range(4)))
    held = (await worker.flush(asks(9, concurrency=2))).claimed
    assert len(held) == 2
    for freed in (end(held[0]), rest(held[1])):
        assert len((await worker.flush(asks(9, concurrency=2))).claimed) == 0
        await worker.flush(batch(freed))
        assert len((await worker.flush(asks(9, concurrency=2))).claimed) == 1


async def test_nobody_counts_while_another_flush_may_add(cell):
    """The lock is held until the commit: a count on its way would miss what is claimed and not yet visible."""
    one, two = await joined(cell), await joined(cell)
    await one.starts(*(place() for _ in range(10)))
    session = await cell.session()
    await session.execute("BEGIN")
    assert len((await one.flush(asks(9, concurrency=3), session)).claimed) == 3
    reply = await two.flush(asks(9, concurrency=3))
    assert reply.claimed == []
    assert reply.lines["q"][1] is Left.BUSY
    free = await two.flush(asks(9))  # without a limit nobody needs to count
    assert len(free.claimed) == 7
    await session.execute("COMMIT")
    await two.starts(place())
    assert (await two.flush(asks(9, concurrency=3))).lines["q"][1] is Left.LIMIT


async def test_what_others_have_locked_is_gone_round(cell):
    """The first partition gives nothing since a peer holds it: the next claim begins after it."""
    worker = await joined(cell)
    locked, other = await worker.starts(place("a"), place("b"))
    session = await cell.session()
    await session.execute("BEGIN")
    await session.execute(f"SELECT 1 FROM {cell.schema}.run WHERE id = %s FOR UPDATE", (locked,))
    reply = await worker.flush(asks(1))
    assert reply.claimed == []
    assert reply.lines["q"] == ("a", Left.BUSY)
    assert (await worker.flush(asks(1, after="a"))).claimed == [other]


# ── coming back ─────────────────────────────────────────────────────────────────────────────────


async def test_who_is_woken_or_orphaned_stands_in_line_again(cell):
    worker, heir = await joined(cell), await joined(cell)
    await worker.starts(place(), place())
    woken, orphaned = (await worker.flush(asks(2))).claimed
    await worker.flush(batch(rest(woken)))
    assert (await heir.flush(asks(2))).claimed == []
    await heir.flush(batch(send(woken)))
    assert (await heir.flush(asks(2))).claimed == [woken]
    session = await cell.session()
    await store.takeover(session, cell.q, worker.id, await cell.beat_of(worker.id))
    assert (await heir.flush(asks(2))).claimed == [orphaned]


async def test_a_message_does_not_cost_the_place_in_line(cell):
    worker = await joined(cell)
    first, second = await worker.starts(place(), place())
    await worker.flush(batch(send(first)))
    assert (await worker.flush(asks(1))).claimed == [first]
    assert (await worker.flush(asks(1))).claimed == [second]


async def test_runs_of_a_queue_that_is_no_more_are_moved(cell):
    worker = await joined(cell)
    a, b, c = await worker.starts(
        place("p", 3, queue="old"),
        place(queue="old")._replace(workflow="loose"),
        place(queue="old")._replace(workflow="unknown"),
    )
    session = await cell.session()
    assert await store.adopt(session, cell.q, "old", 60.0, {"w": "q", "loose": None}) == 0
    assert await store.adopt(session, cell.q, "old", 0.0, {"w": "q", "loose": None}) == 2
    query = "SELECT queue, partition, priority FROM {}.run WHERE id = %s"
    assert await cell.rows(query, a) == [("q", "p", 3)]
    assert await cell.rows(query, b) == [(None, None, None)]
    assert await cell.rows(query, c) == [("old", "", 0)]
    assert (await worker.flush(asks(5))).claimed == [a]
    both = batch(claim=5)
    both.workflows = ["w", "loose"]
    assert (await worker.flush(both)).claimed == [b]


async def test_a_start_in_a_transaction_has_a_place_too(cell):
    worker = await joined(cell)
    session = await cell.session()
    run_id = ids.new_id()
    await store.start_run(
        session, cell.q, run_id, "w", None, b"{}", b"", 0.0, Place("q", "tenant", -3)
    )
    assert (await worker.flush(asks(5))).claimed == [run_id]
    await worker.flush(batch(end(run_id)))
    query = "SELECT queue, partition, priority FROM {}.run_history WHERE id = %s"
    assert await cell.rows(query, run_id) == [("q", "tenant", -3)]


# ── undoing ─────────────────────────────────────────────────────────────────────────────────────


def undoes(*runs: UUID) -> Batch:
    made = Batch()
    made.undoing.extend(runs)
    return made


async def test_a_run_that_began_to_undo_says_so(cell):
    worker, other = await joined(cell), await joined(cell)
    (mine,) = await worker.starts(start(claim=True))
    await other.flush(undoes(mine))
    assert await cell.run(mine) == ("running", worker.id)  # only its owner says what it does
    assert bool(undoes(mine))
    assert undoes(mine).runs() == [mine]
    await worker.flush(undoes(mine).split()[1])
    assert await cell.run(mine) == ("undoing", worker.id)


async def test_what_cannot_be_said_now_is_said_again(cell):
    """A step's transaction holds the row: a flush waits for nobody."""
    worker = await joined(cell)
    (mine,) = await worker.starts(start(claim=True))
    session = await cell.session()
    await session.execute("BEGIN")
    await session.execute(f"SELECT 1 FROM {cell.schema}.run WHERE id = %s FOR SHARE", (mine,))
    reply = await worker.flush(undoes(mine))
    assert reply.busy_undoing == {mine}
    assert await cell.run(mine) == ("running", worker.id)


async def test_an_undo_that_waits_is_claimed_when_it_is_due_and_a_message_does_not_hide_it(cell):
    worker = await joined(cell)
    (mine,) = await worker.starts(start(claim=True))
    await worker.flush(batch(Release(mine, "undoing", 4e9, None, None, None)))
    assert await cell.run(mine) == ("undoing", None)
    assert (await worker.flush(batch(claim=1))).claimed == []
    await worker.flush(batch(send(mine)))
    assert await cell.run(mine) == ("undoing", None)
    assert (await worker.flush(batch(claim=1))).claimed == [mine]
    assert await cell.run(mine) == ("running", worker.id)


# ── what it costs ───────────────────────────────────────────────────────────────────────────────

FILL = """
INSERT INTO {}.run (id, workflow, input, state, wake_at, starts_at, queue, partition, priority, in_line)
SELECT gen_random_uuid(), 'w', '', 'ready', to_timestamp(CASE WHEN n <= 12000 THEN 0 ELSE 4e9 END), to_timestamp(0), 'q',
       CASE WHEN n <= 10000 THEN 'big' WHEN n <= 12000 THEN 'small-' || n ELSE 'asleep-' || n END, 0, n <= 12000
FROM generate_series(1, 22000) AS n
"""


async def read_by(cell: Cell, worker: Worker, claim: Batch) -> tuple[Reply, int]:
    """The answer to a claim, and how many rows it read, by indexes alone."""
    query = (
        "SELECT pg_stat_get_xact_numscans(t.oid),"
        " (SELECT sum(pg_stat_get_xact_tuples_returned(i.indexrelid)) FROM pg_index i WHERE i.indrelid = t.oid)"
        " FROM pg_class t WHERE t.oid = %s::regclass"
    )
    session = await cell.session()
    await session.execute("BEGIN")
    reply = await worker.flush(claim, session)
    row = await (await session.execute(query, (f"{cell.schema}.run",))).fetchone()
    await session.execute("COMMIT")
    assert row is not None
    assert row[0] == 0, "the table was read from end to end"
    return reply, int(row[1])


@pytest.mark.parametrize("after", ["", "big", "small-11000", "~"])
@pytest.mark.parametrize("limits", [{}, {"concurrency": 1000, "per_partition": 5}])
async def test_a_claim_reads_what_it_takes_and_not_the_line(cell, after, limits):
    """10,000 runs of one partition, 2,000 partitions with one run, 10,000 that sleep: it reads only where it looks."""
    worker = await joined(cell)
    await cell.rows(FILL)
    reply, read = await read_by(cell, worker, asks(100, after=after, **limits))
    assert len(reply.claimed) == 100
    assert read < 1000, "a claim of 100 runs read much of the line"
    reply, read = await read_by(cell, worker, asks(100, concurrency=100))
    assert reply.claimed == []
    assert read < 200, "to find that the queue is full it read much of the line"


@pytest.mark.parametrize("after", ["", "big", "a", "~"])
async def test_a_full_partition_costs_a_look(cell, after):
    """Its 10,000 runs are passed, wherever the round begins, and the round ends where it began."""
    worker = await joined(cell)
    await cell.rows(FILL + " WHERE n <= 10000")
    (small,) = await worker.starts(place("a"))
    reply, _ = await read_by(cell, worker, asks(2, per_partition=1))
    assert small in reply.claimed
    reply, read = await read_by(cell, worker, asks(10, per_partition=1, after=after))
    assert reply.claimed == []
    assert reply.lines["q"][1] is Left.LIMIT
    assert read < 50
