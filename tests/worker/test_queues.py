"""Queues as programs see them: limits under races, turns, and slots that nobody forgets."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.harness.cell import Cell, open_cell, until
from tests.harness.postgres import wait_until
from tests.worker.program import CONCURRENCY, GATE, PER_PARTITION, build
from troth import Troth, UsageError
from troth.worker import node as node_module
from troth.worker.node import NodeOptions
from troth.workflow.definition import Workflow
from troth.workflow.queue import Queue

ROOT = Path(__file__).resolve().parents[2]
QUICK = NodeOptions(lease_s=1.0, connections=2, threads=2)
DEAF = NodeOptions(
    lease_s=60.0, connections=2, threads=2
)  # a heartbeat every 12 s: hints have to do


@pytest.fixture
async def cell(migrated: tuple[str, str]) -> AsyncIterator[Cell]:
    async with open_cell(*migrated) as opened:
        yield opened


class Stage:
    """What the bodies of all workers in this process do, as it happens."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.running: Counter[str] = Counter()
        self.most = 0
        self.most_of_one = 0
        self.gates: dict[str, asyncio.Event] = {}

    async def body(self, who: str, partition: str = "") -> None:
        self.order.append(who)
        self.running[partition] += 1
        self.most = max(self.most, self.running.total())
        self.most_of_one = max(self.most_of_one, self.running[partition])
        if who in self.gates:
            await self.gates[who].wait()
        else:
            for _ in range(5):
                await asyncio.sleep(0)
        self.running[partition] -= 1

    def hold(self, who: str) -> asyncio.Event:
        """This body does not end until the event is set."""
        return self.gates.setdefault(who, asyncio.Event())

    async def has_begun(self, who: str) -> bool:
        return who in self.order


class Program:
    """A Troth with one queue and one workflow in it; each worker has one of its own."""

    def __init__(self, cell: Cell, stage: Stage, queue: Queue | None, name: str = "work") -> None:
        self.troth = Troth(cell.url, schema=cell.schema)

        @self.troth.step
        async def body(who: str, partition: str) -> None:
            await stage.body(who, partition)

        @self.troth.workflow(name=name, queue=queue)
        async def work(who: str, partition: str = "") -> None:
            await body(who, partition)

        @self.troth.workflow(name=f"{name}.sleeps", queue=queue)
        async def sleeps(who: str) -> None:
            await body(who, "")
            await self.troth.sleep(timedelta(days=1))

        self.work: Workflow[[str, str], None] = work
        self.sleeps = sleeps

    async def start(self, who: str, partition: str | None = None, priority: int = 0) -> Any:
        place: dict[str, Any] = {"priority": priority, "partition": partition}
        if partition is None:
            del place["partition"]
        return await self.troth.start(self.work, who, partition or "", **place)


@asynccontextmanager
async def workers(
    cell: Cell, stage: Stage, queue: Queue | None, count: int, options: NodeOptions = QUICK
) -> AsyncIterator[list[Program]]:
    """Workers of one event loop."""
    async with AsyncExitStack() as stack:
        programs = [Program(cell, stage, queue) for _ in range(count)]
        for program in programs:
            await stack.enter_async_context(program.troth.worker(options))
        yield programs


async def ended(cell: Cell, count: int) -> None:
    async def are() -> bool:
        return bool(await cell.value("SELECT count(*) FROM {}.run_history") == count)

    await until(are, f"{count} runs end")


async def in_line(cell: Cell) -> int:
    return int(await cell.value("SELECT count(*) FROM {}.run WHERE in_line"))


# ── limits ──────────────────────────────────────────────────────────────────────────────────────


async def test_limits_hold_while_workers_race(cell):
    """Three workers start and execute at once: never more than the limit, and as many as it allows."""
    stage = Stage()
    async with workers(cell, stage, Queue("q", concurrency=6, per_partition=3), 3) as programs:
        await asyncio.gather(
            *(
                programs[n % 3].start(f"run-{n}", "big" if n % 10 else f"small-{n}")
                for n in range(150)
            )
        )
        await ended(cell, 150)
    assert sorted(stage.order) == sorted(f"run-{n}" for n in range(150))  # each of them once
    assert 3 <= stage.most <= 6
    assert stage.most_of_one == 3


async def test_a_worker_does_not_pass_by_the_limit_with_what_it_starts_itself(cell):
    stage = Stage()
    gate = stage.hold("first")
    async with workers(cell, stage, Queue("q", concurrency=1), 1) as (program,):
        await program.start("first")
        await until(lambda: stage.has_begun("first"), "the first begins")
        await program.start("second")
        assert await in_line(cell) == 1
        gate.set()
        await ended(cell, 2)
    assert stage.most == 1


async def test_a_run_that_sleeps_holds_no_slot(cell):
    stage = Stage()
    async with workers(cell, stage, Queue("q", concurrency=1), 1) as (program,):
        await program.troth.start(program.sleeps, "dozer")
        await program.start("second")
        await ended(cell, 1)
    assert stage.order == ["dozer", "second"]


# ── whose turn it is ────────────────────────────────────────────────────────────────────────────


async def test_the_smaller_priority_goes_first(cell):
    stage = Stage()
    gate = stage.hold("first")
    async with workers(cell, stage, Queue("q", concurrency=1), 1) as (program,):
        await program.start("first")
        await until(lambda: stage.has_begun("first"), "the first begins")
        for who, priority in (("late", 100), ("b", 0), ("c", 0), ("urgent", -100), ("soon", -1)):
            await program.start(who, priority=priority)
        gate.set()
        await ended(cell, 6)
    assert stage.order == ["first", "urgent", "soon", "b", "c", "late"]


async def test_one_tenant_does_not_starve_another(cell):
    """200 runs of one tenant stand in line when another brings its first: each worker serves it in its next round."""
    stage = Stage()
    gate = stage.hold("big-0")
    queue = Queue("q", concurrency=2)
    async with workers(cell, stage, queue, 2) as (one, two):
        for n in range(200):
            await one.start(f"big-{n}", "big")
            if n == 0:
                await until(lambda: stage.has_begun("big-0"), "the first begins")
        before = len(stage.order)
        await two.start("small", "small")
        gate.set()
        await until(lambda: stage.has_begun("small"), "the small one begins")
        waited = stage.order.index("small") - before
        assert waited <= 6, f"{waited} runs of the big tenant began before it"
        await ended(cell, 201)
    assert stage.most <= 2


async def test_tenants_take_turns(cell):
    stage = Stage()
    gate = stage.hold("first")
    async with workers(cell, stage, Queue("q", concurrency=1), 1) as (program,):
        await program.start("first", "z")
        await until(lambda: stage.has_begun("first"), "the first begins")
        for n in range(3):
            for tenant in "abc":
                await program.start(f"{tenant}{n}", tenant)
        gate.set()
        await ended(cell, 10)
    tenants = "".join(who[0] for who in stage.order[1:])
    assert tenants == "abcabcabc"


# ── nothing strands ─────────────────────────────────────────────────────────────────────────────


async def test_a_slot_that_is_freed_here_is_used_at_once(cell):
    """With a heartbeat every 12 s only the worker's own memory can do it."""
    stage = Stage()
    async with workers(cell, stage, Queue("q", concurrency=1), 1, DEAF) as (program,):
        for n in range(30):
            await program.start(f"run-{n}")
        await ended(cell, 30)


async def test_a_worker_without_room_asks_when_a_slot_is_free(cell):
    """It had no room when the others came, so it does not know that they stand in line."""
    stage = Stage()
    gate = stage.hold("first")
    full = NodeOptions(lease_s=60.0, connections=2, threads=2, concurrency=1)
    async with workers(cell, stage, Queue("q", concurrency=5), 1, full) as (program,):
        await program.start("first")
        await until(lambda: stage.has_begun("first"), "the first begins")
        await program.start("second")
        gate.set()
        await ended(cell, 2)


async def test_a_slot_that_a_leaving_worker_frees_is_told_to_the_others(cell):
    """By a hint: the heart of the one who stays beats every 12 s."""
    stage = Stage()
    gate = stage.hold("first")
    queue = Queue("q", concurrency=1)
    async with AsyncExitStack() as stack:
        leaving = Program(cell, stage, queue)
        worker = leaving.troth.worker(DEAF)
        await worker.__aenter__()
        await leaving.start("first")
        await until(lambda: stage.has_begun("first"), "the first begins")
        staying = Program(cell, stage, queue)
        await stack.enter_async_context(staying.troth.worker(DEAF))
        await staying.start("second")
        closing = asyncio.create_task(worker.__aexit__(None, None, None))
        await until(lambda: is_closing(leaving), "it drains")
        gate.set()
        await closing
        await ended(cell, 2)


async def is_closing(program: Program) -> bool:
    node = next(iter(program.troth._nodes.values()), None)
    return node is None or node._closing


async def test_a_slot_that_a_stranger_frees_is_seen_by_the_next_heartbeat(cell, monkeypatch):
    """The slot is freed by a program that has no use for it, and every hint is lost."""
    monkeypatch.setattr("troth.journal.bell.Bell.ring", lambda *_: None)
    stage = Stage()
    gate = stage.hold("first")
    queue = Queue("q", concurrency=1)
    one, two = Program(cell, stage, queue, "one"), Program(cell, stage, queue, "two")
    async with one.troth.worker(QUICK), two.troth.worker(QUICK):
        await one.start("first")
        await until(lambda: stage.has_begun("first"), "the first begins")
        await two.start("second")
        assert await in_line(cell) == 1
        gate.set()
        await ended(cell, 2)


async def test_a_start_by_a_client_without_a_hint_is_found(cell, monkeypatch):
    monkeypatch.setattr("troth.journal.bell.Bell.ring", lambda *_: None)
    stage, queue = Stage(), Queue("q", concurrency=3)
    client = Program(cell, stage, queue)
    async with workers(cell, stage, queue, 1), client.troth.client():
        await client.start("alone")
        await ended(cell, 1)


async def test_runs_of_a_renamed_queue_go_on_in_the_new_one(cell, monkeypatch):
    monkeypatch.setattr(node_module, "STRAY_S", 0.0)
    stage = Stage()
    before = Program(cell, stage, Queue("old"))
    async with before.troth.client():
        await before.start("stray", "tenant")
    async with workers(cell, stage, Queue("new", concurrency=1), 1):
        await ended(cell, 1)
    assert await cell.value("SELECT queue FROM {}.run_history") == "new"


# ── processes ───────────────────────────────────────────────────────────────────────────────────


class Processes:
    """Worker processes of `tests.worker.program`, and what they wrote down."""

    def __init__(self, url: str, schema: str, directory: Path) -> None:
        self._arguments = [url, schema, str(directory)]
        self._directory = directory
        self.started: list[subprocess.Popen[bytes]] = []
        (directory / GATE).touch()

    def add(self) -> subprocess.Popen[bytes]:
        """One more, which has joined."""
        with (self._directory / f"{len(self.started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker.program", *self._arguments],
                cwd=ROOT, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"joined\n"
        process.stdout.close()
        return process

    def witness(self) -> list[list[str]]:
        """[what, pid, tenant] in the order in which it happened."""
        file = self._directory / "witness"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def begun(self) -> int:
        return sum(what == "begin" for what, *_ in self.witness())

    def open_gate(self) -> None:
        (self._directory / GATE).unlink()

    def remove(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()


@pytest.fixture
def processes(migrated: tuple[str, str], tmp_path: Path) -> Iterator[Processes]:
    made = Processes(*migrated, tmp_path)
    yield made
    made.remove()


async def start_races(migrated: tuple[str, str], directory: Path, tenants: list[str]) -> None:
    troth = build(*migrated, directory)
    async with troth.client():
        race = troth.workflows["race"]
        await asyncio.gather(*(troth.start(race, tenant, partition=tenant) for tenant in tenants))


async def test_limits_hold_between_processes(migrated, processes, tmp_path, cell):
    tenants = ["big"] * 60 + [f"small-{n}" for n in range(20)]
    for _ in range(3):
        await asyncio.to_thread(processes.add)
    await start_races(migrated, tmp_path, tenants)
    await asyncio.to_thread(
        wait_until, lambda: processes.begun() == CONCURRENCY, "the slots are full"
    )
    processes.open_gate()
    await ended(cell, len(tenants))
    running: Counter[str] = Counter()
    for what, _, tenant in processes.witness():
        running[tenant] += 1 if what == "begin" else -1
        assert running.total() <= CONCURRENCY
        assert running[tenant] <= PER_PARTITION
    assert processes.begun() == len(tenants)


async def test_the_slots_of_a_killed_worker_are_free_after_its_lease(
    migrated, processes, tmp_path, cell
):
    tenants = [f"tenant-{n}" for n in range(CONCURRENCY + 3)]
    victim = await asyncio.to_thread(processes.add)
    await start_races(migrated, tmp_path, tenants)
    await asyncio.to_thread(
        wait_until, lambda: processes.begun() == CONCURRENCY, "the slots are full"
    )
    await asyncio.to_thread(processes.add)
    assert await in_line(cell) == 3
    victim.kill()
    victim.wait()
    processes.open_gate()
    await ended(cell, len(tenants))
    heir = [line for line in processes.witness() if line[1] != str(victim.pid)]
    assert {tenant for what, _, tenant in heir if what == "end"} == set(tenants)


# ── declarations ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["", "a b", "é", "-a", "x" * 121, "a\n"])
def test_names_that_cannot_be_are_refused(name):
    with pytest.raises(UsageError, match="cannot name a queue"):
        Queue(name)


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"per_partition": -1}])
def test_limits_that_let_nobody_in_are_refused(limits):
    with pytest.raises(UsageError, match="at least 1"):
        Queue("q", **limits)


def test_a_queue_has_one_set_of_limits():
    troth = Troth()

    @troth.workflow(queue=Queue("q", concurrency=1))
    async def one() -> None: ...

    @troth.workflow(queue=Queue("q", concurrency=1))
    async def two() -> None: ...

    with pytest.raises(UsageError, match="two queues named q"):

        @troth.workflow(queue=Queue("q", concurrency=2))
        async def three() -> None: ...

    assert one.queue == two.queue == Queue("q", concurrency=1)
    assert set(troth.workflows) == {"one", "two"}


async def test_places_that_cannot_be_are_refused(cell):
    program = Program(cell, Stage(), Queue("q"))
    loose = Program(cell, Stage(), None)
    async with program.troth.client(), loose.troth.client():
        for place in ({"priority": 1}, {"partition": "tenant"}):
            with pytest.raises(UsageError, match="has no queue"):
                await loose.troth.start(loose.work, "x", **place)
        for priority in (-101, 101):
            with pytest.raises(UsageError, match="from -100"):
                await program.start("x", priority=priority)
        for partition in ("x" * 201, "\0", "\ud800"):
            with pytest.raises(UsageError, match="a partition has"):
                await program.start("x", partition)
    assert await cell.value("SELECT count(*) FROM {}.run") == 0


async def test_a_program_without_queues_asks_for_none(cell):
    stage = Stage()
    async with workers(cell, stage, None, 1) as (program,):
        claims = program.troth.node.claims
        claims.ask()
        assert program.troth.node.writer.batch.lines == []
        await program.start("x")
        await ended(cell, 1)
