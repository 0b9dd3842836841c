"""Races whose order is made: each flush of a worker halts at three places, and what races it is done there.

A flush halts before it is sent, inside of its transaction, and when it is committed and nobody has been told. Each race
has a moment: the flush (the first that speaks of its run, the second, …) and the place. Who acts there is another process
(a client), the worker's own process, a transaction of a user, or one that stays open over the whole flush.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, NoReturn, Protocol
from uuid import UUID

from tests.harness.cell import until
from tests.workflow.place import PATIENCE_S, Place
from troth import RunEndedError, RunNotFoundError, Tx
from troth.base.errors import FencedError
from troth.journal import store
from troth.journal.model import Batch, Reply
from troth.store.connect import AsyncConnection, connect_async
from troth.worker.node import Node


class Halt(StrEnum):
    """Where a flush halts."""

    BEFORE = "before"
    INSIDE = "inside"
    AFTER = "after"


class By(StrEnum):
    """Who acts."""

    CLIENT = "client"  # in a flush of its own, which waits for no row
    WORKER = "worker"  # in one of the worker's next flushes
    TX = "transaction"  # which waits for rows
    OPEN_TX = "open transaction"  # begun before the flush is sent, committed after it was


class Moment(NamedTuple):
    """The nth flush that speaks of the run (1: its start), and the place in it."""

    flush: int
    halt: Halt


def moments(flushes: range) -> list[tuple[Moment, By]]:
    """Every moment with everybody who can act there."""
    return [
        (Moment(flush, halt), by)
        for flush, halt, by in itertools.product(flushes, Halt, By)
        if by is not By.OPEN_TX or halt is Halt.BEFORE
    ]


@dataclass
class Race:
    """A run, and what is done to it once."""

    n: int
    moment: Moment
    by: By
    run_id: UUID | None = None
    flushes: int = 0
    begun: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    accepted: bool = False  # or refused, since the run had ended
    halt: str = "late"  # where it was really done

    @property
    def key(self) -> str:
        return f"race-{self.n}"


class Act(Protocol):
    """What is done to a run. Raises `RunEndedError` if it comes too late."""

    def __call__(self, node: Node, race: Race, tx: Tx | None, /) -> Awaitable[None]: ...


class _DropError(Exception):
    pass


class Conductor:
    """Halts the flushes of a worker, and does there what is to be done; drops the worker if told so.

    *drops*: at which of the worker's flushes from now on, and where: the flush is lost (before, inside) or committed and
    nobody is told (after); a peer takes over, and the process begins anew.
    """

    def __init__(self, place: Place, worker: Node, client: Node, act: Act) -> None:
        self._place, self._worker, self._client, self._act = place, worker, client, act
        self._flush = store.flush
        self._races: dict[UUID, Race] = {}
        self._keyed: dict[str, Race] = {}
        self._count = 0
        self._drops: dict[int, Halt] = {}
        self._open: list[tuple[Race, AsyncConnection]] = []
        self._free: list[AsyncConnection] = []
        self._busy: dict[
            asyncio.Task[Any] | None, int
        ] = {}  # the sessions of acts that are under way
        self._tasks: set[asyncio.Task[None]] = set()
        self.halts: Counter[str] = Counter()  # acts by the place where they were done
        self.takeovers = 0

    def race(self, races: list[Race], drops: dict[int, Halt]) -> None:
        """These begin now."""
        self._keyed = {race.key: race for race in races}
        self._races.clear()
        self._count, self._drops = 0, drops

    async def flush(self, tx: Any, q: Any, worker: int, n: int, batch: Batch) -> Reply:
        """In place of `store.flush`."""
        if worker != self._worker.writer.worker:
            return await self._flush(tx, q, worker, n, batch)
        self._count += 1
        drop = self._drops.get(self._count)
        concerned = self._concerned(batch)
        await self._halt(Halt.BEFORE, concerned)
        if drop is Halt.BEFORE:
            await self._drop(worker)
        try:
            async with tx.transaction():
                reply = await self._flush(tx, q, worker, n, batch)
                await self._halt(Halt.INSIDE, concerned)
                if drop is Halt.INSIDE:
                    raise _DropError
        except _DropError:
            await self._drop(worker)
        await self._commit_open()
        await self._halt(Halt.AFTER, concerned)
        if drop is Halt.AFTER:
            await self._drop(worker)
        return reply

    def _concerned(self, batch: Batch) -> list[Race]:
        """The races that this flush speaks of."""
        for start in batch.starts:
            if start.key in self._keyed:
                race = self._keyed[start.key]
                race.run_id = start.id
                self._races[start.id] = race
        for goes_on in batch.continuations:
            self._races[goes_on.id] = self._races[goes_on.run_id]
        ids = dict.fromkeys([*batch.runs(), *batch.looks])
        races = [self._races[each] for each in ids if each in self._races]
        for race in races:
            race.flushes += 1
        return races

    async def _halt(self, halt: Halt, concerned: list[Race]) -> None:
        due = [
            race
            for race in concerned
            if not race.begun and race.moment == Moment(race.flushes, halt)
        ]
        if due:
            await self.act(due, halt)

    async def act(self, races: list[Race], halt: str) -> None:
        """Each is done, or has met a lock and waits."""
        by_client: list[asyncio.Task[None]] = []
        others: list[asyncio.Task[None]] = []
        for race in races:
            race.begun, race.halt = True, halt
            self.halts[halt] += 1
            match race.by:
                case By.OPEN_TX:
                    await self._begin_open(race)
                    continue
                case By.TX:
                    work = self._in_transaction(race)
                case By.CLIENT | By.WORKER:
                    work = self._in_flush(race)
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if race.by is By.CLIENT:
                by_client.append(task)
            elif race.by is By.TX:  # and the worker itself is held up
                others.append(task)
        flushes = self._client.writer.flushes

        async def done_or_met() -> bool:
            # Those of the client that met a lock try again and again. The second flush from now on had all of them in it.
            answered = self._client.writer.flushes >= flushes + 2
            if not (answered or all(task.done() for task in by_client)):
                return False
            left = [task for task in others if not task.done()]
            return not left or await self._all_blocked(left)

        await until(done_or_met, "what races a flush is done, or has met a lock")

    async def _all_blocked(self, tasks: list[asyncio.Task[None]]) -> bool:
        pids = [self._busy[task] for task in tasks if task in self._busy]
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s) AND wait_event_type = 'Lock'"
        return bool(await asyncio.to_thread(self._place.value, waiting, pids) == len(tasks))

    # The acts -------------------------------------------------------------------------------------

    async def _in_flush(self, race: Race) -> None:
        node = self._client if race.by is By.CLIENT else self._worker
        await self._answer(race, self._act(node, race, None))

    async def _in_transaction(self, race: Race) -> None:
        connection = await self._session()
        task = asyncio.current_task()
        self._busy[task] = connection.info.backend_pid
        try:
            async with connection.transaction():
                await self._answer(race, self._act(self._client, race, connection), told=False)
        finally:
            del self._busy[task]
        race.answered.set()
        self._free.append(connection)

    async def _begin_open(self, race: Race) -> None:
        connection = await self._session()
        await connection.execute("BEGIN")
        await self._answer(race, self._act(self._client, race, connection), told=False)
        self._open.append((race, connection))

    async def _commit_open(self) -> None:
        opened, self._open = self._open, []
        for race, connection in opened:
            await connection.execute("COMMIT")
            race.answered.set()
            self._free.append(connection)

    @staticmethod
    async def _answer(race: Race, act: Awaitable[None], *, told: bool = True) -> None:
        try:
            await act
        except (
            RunEndedError,
            RunNotFoundError,
        ):  # it is over, or a start that was lost is not there yet
            race.accepted = False
        else:
            race.accepted = True
        if told:
            race.answered.set()

    async def _session(self) -> AsyncConnection:
        return self._free.pop() if self._free else await connect_async(self._place.url)

    async def settle(self, races: list[Race]) -> None:
        """What had no moment is done now; everybody has an answer."""
        await self.act([race for race in races if not race.begun], "late")
        await self._commit_open()
        async with asyncio.timeout(3 * PATIENCE_S):
            for race in races:
                await race.answered.wait()

    async def close(self) -> None:
        await self._commit_open()
        async with asyncio.timeout(3 * PATIENCE_S):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._free:
            await connection.close()

    # The end of a worker ----------------------------------------------------------------------------

    async def _drop(self, worker: int) -> NoReturn:
        await self._commit_open()
        task = asyncio.create_task(self._take_over(worker))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.Event().wait()  # nobody hears anything of this flush any more
        raise AssertionError

    async def _take_over(self, worker: int) -> None:
        held = await asyncio.to_thread(self._place.value, "SELECT {s}.takeover(%s, NULL)", worker)
        while held:
            held = await asyncio.to_thread(self._place.value, "SELECT {s}.release_gone(%s)", worker)
        self.takeovers += 1
        self._worker.fenced(FencedError("dropped by the test"))
