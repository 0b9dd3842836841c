"""One sender or timer races a run, at each moment of each flush and with workers that are dropped: no run is stuck, nothing
is doubled, nothing is lost, and what came of it is what the sender was told."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

from tests.workflow.place import QUICK, Place
from tests.workflow.steered import Conductor, Halt, Moment, Race, moments
from troth import RunCancelledError, TimedOut, Topic, Troth, Tx
from troth.base import codec
from troth.journal import store
from troth.journal.model import CANCEL_TOPIC
from troth.worker.node import Node
from troth.workflow.definition import Workflow

SHORT_S, LONG_S = 0.02, 1.1  # in memory; let go of, and claimed when it is time
ENOUGH_S = 60.0  # for a run among some hundreds, on a busy machine
word = Topic[int]("word")


def drops(batch: int) -> dict[int, Halt]:
    """At which flushes of this batch of races the worker is dropped, and where."""
    halts = list(Halt)
    return {2 + batch % 7: halts[batch % 3], 12 + batch % 11: halts[batch // 3 % 3]}


SIZES = [
    432,
    pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)]),
]


@asynccontextmanager
async def conducted(
    place: Place, troth: Troth, act: object, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Conductor]:
    """A worker and a client, whose flushes are steered."""
    other = place.troth()
    async with troth.worker(QUICK), other.client():
        conductor = Conductor(place, troth.node, other.node, act)  # type: ignore[arg-type]
        monkeypatch.setattr(store, "flush", conductor.flush)
        try:
            yield conductor
        finally:
            await conductor.close()


# ── a message ∥ the time-out of the receive ─────────────────────────────────────────────────────


def tell(node: Node, race: Race, tx: Tx | None) -> Awaitable[None]:
    said = codec.encode(race.n)
    if tx is None:
        return node.requests.send(None, race.key, word.name, said)
    return node.requests.send_in(tx, None, race.key, word.name, said)


@pytest.mark.parametrize("count", SIZES)
async def test_a_message_races_the_timeout_of_its_receive(
    place: Place, troth: Troth, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    arrived: dict[int, asyncio.Event] = {}

    @troth.step
    async def arrive(n: int) -> None:
        arrived[n].set()

    @troth.workflow
    async def listen(n: int, seconds: float, stays: bool) -> list[int]:
        heard = [await troth.receive(word, timeout=seconds)]
        if stays:
            await arrive(n)
            await troth.receive("answered")
            heard.append(await troth.receive(word, timeout=0))
        return [said for said in heard if not isinstance(said, TimedOut)]

    cases = list(itertools.product(moments(range(1, 6)), (SHORT_S, LONG_S), (False, True)))
    won: Counter[str] = Counter()

    async def one(race: Race, seconds: float, stays: bool, conductor: Conductor) -> None:
        arrived[race.n] = asyncio.Event()
        run = await troth.start(listen, race.n, seconds, stays, key=race.key)
        if stays:
            await arrived[race.n].wait()
            await conductor.settle([race])
            await troth.send(run, "answered")
        heard = await run.result(ENOUGH_S)
        await conductor.settle([race])
        if stays:
            assert heard == [race.n], race
            assert race.accepted, race
        elif race.accepted:
            assert heard in ([race.n], []), race  # in the second case it lay there, unread
        else:
            assert heard == [], race
        journal = await asyncio.to_thread(place.journal, run.id)
        first = next(
            ok for path, kind, _, _, ok, _ in journal if (path, kind) == ("receive.word", 2)
        )
        won["the message" if first else "the time-out"] += 1
        won["refused"] += not race.accepted

    async with conducted(place, troth, tell, monkeypatch) as conductor:
        for number in range(0, count, len(cases)):
            races = [Race(number + n, *case[0]) for n, case in enumerate(cases)]
            conductor.race(races, drops(number // len(cases)))
            async with asyncio.timeout(3 * ENOUGH_S), asyncio.TaskGroup() as group:
                for race, (_, seconds, stays) in zip(races, cases, strict=True):
                    group.create_task(one(race, seconds, stays, conductor))
    assert min(won["the message"], won["the time-out"]) > count // 10, won
    assert won["refused"] > count // 50, won
    assert all(conductor.halts[halt] > count // 20 for halt in Halt), conductor.halts
    assert conductor.takeovers >= count // len(cases), conductor.takeovers
    assert not place.rows("SELECT 1 FROM {s}.run UNION ALL SELECT 1 FROM {s}.message")


# ── a cancellation ∥ the end ────────────────────────────────────────────────────────────────────


def cancel(node: Node, race: Race, tx: Tx | None) -> Awaitable[None]:
    assert race.run_id is not None
    if tx is None:
        return node.requests.send(race.run_id, None, CANCEL_TOPIC, b"null")
    return node.requests.send_in(tx, race.run_id, None, CANCEL_TOPIC, b"null")


def ordering(place: Place, troth: Troth) -> Workflow[[int, int], int]:
    """A workflow that books something, and goes on as itself so many times."""
    place.rows("CREATE TABLE {s}.booked (n integer, turn integer, what text)")

    async def write(tx: Tx, *row: object) -> None:
        await tx.execute(f"INSERT INTO {place.schema}.booked VALUES (%s, %s, %s)", row)

    @troth.transaction
    async def book(tx: Tx, n: int, turn: int) -> None:
        await write(tx, n, turn, "booked")

    @book.undo
    async def unbook(tx: Tx, done: None, n: int, turn: int) -> None:
        await write(tx, n, turn, "taken back")

    @troth.step
    async def look(n: int) -> int:
        return n

    @troth.workflow
    async def order(n: int, turn: int) -> int:
        await look(n)
        await book(n, turn)
        await look(n)
        if turn:
            return troth.continue_as(n, turn - 1)
        return n

    return order


@pytest.mark.parametrize("count", SIZES)
async def test_a_cancellation_races_the_end(
    place: Place, troth: Troth, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    order = ordering(place, troth)
    # Before its start is durable a run cannot be named by its id.
    ways = [(moment, by) for moment, by in moments(range(1, 5)) if moment > Moment(1, Halt.BEFORE)]
    ways = [(moment, by) for moment, by in ways if moment != Moment(1, Halt.INSIDE)]
    cases = list(itertools.product(ways, (0, 1))) * 4
    won: Counter[str] = Counter()

    async def one(race: Race, turns: int, conductor: Conductor) -> None:
        run = await troth.start(order, race.n, turns, key=race.key)
        try:
            state = "succeeded" if await run.result(ENOUGH_S) == race.n else "wrong"
        except RunCancelledError:
            state = "cancelled"
        race.run_id = run.id
        await conductor.settle([race])
        assert state == ("cancelled" if race.accepted else "succeeded"), race
        won[state] += 1

    async with conducted(place, troth, cancel, monkeypatch) as conductor:
        for number in range(0, count, len(cases)):
            races = [Race(number + n, *way) for n, (way, _) in enumerate(cases)]
            conductor.race(races, drops(number // len(cases)))
            async with asyncio.timeout(3 * ENOUGH_S), asyncio.TaskGroup() as group:
                for race, (_, turns) in zip(races, cases, strict=True):
                    group.create_task(one(race, turns, conductor))
    assert min(won["succeeded"], won["cancelled"]) > count // 10, won
    assert all(conductor.halts[halt] > count // 20 for halt in Halt), conductor.halts
    assert conductor.takeovers >= count // len(cases), conductor.takeovers
    assert not place.rows("SELECT 1 FROM {s}.run UNION ALL SELECT 1 FROM {s}.message")
    assert_taken_back(place)


def assert_taken_back(place: Place) -> None:
    """What a run has booked stands if it has succeeded, and was taken back, once, if it was cancelled."""
    done = Counter(place.rows("SELECT n, turn, what FROM {s}.booked"))
    for state, data in place.rows("SELECT state::text, input FROM {s}.run_history"):
        n, turn = codec.decode(bytes(data)).values()
        both = done[n, turn, "booked"], done[n, turn, "taken back"]
        assert both in ({(1, 0)} if state == "succeeded" else {(0, 0), (1, 1)}), (n, turn, state)
