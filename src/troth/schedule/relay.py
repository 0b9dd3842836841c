"""The relay of schedules: declares what the program declares, fires what is due, and what people asked for.

Whoever fires a schedule holds its row until the commit that starts the run and moves the schedule on. So two processes
cannot both fire a time, and one that dies before its commit has fired nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from troth.base import ids
from troth.base.events import ScheduleFired
from troth.base.telemetry import SILENT
from troth.schedule import rules, store
from troth.schedule.model import BROKEN, STARTED, Decision, Declaration, Due, Step, Wish
from troth.schedule.store import Mine, Moved, NewRun, Written
from troth.store.connect import AsyncConnection
from troth.store.isolation import transaction_async
from troth.store.parts import Workplace
from troth.store.queries import Queries

log = logging.getLogger("troth.schedule")

Runs: TypeAlias = dict[tuple[str, int], UUID]  # by schedule and number of the entry

BATCH: Final = 200  # schedules in one transaction
_IDLE_S = 15.0
_TAKEN_S = 0.2  # another process is at what is due


class Program(Protocol):
    """What the relay asks of the program that it works for."""

    @property
    def workflows(self) -> Sequence[str]:
        """The names of those that it has."""

    @property
    def declarations(self) -> Mapping[str, Declaration]:
        """The schedules that it declares, by name."""

    def run_of(self, due: Due, at: datetime) -> NewRun:
        """The run of a firing. May raise anything: the user's code makes the arguments."""


class ScheduleRelay:
    """Fires the schedules that one program can fire."""

    name = "schedules"
    channel = "schedule"
    connections = 1

    def __init__(self, program: Program, queries: Queries, cell: int) -> None:
        self._program = program
        self._q = queries
        self._cell = cell
        self._told: set[str] = set()  # names of which a log line was written
        self._telemetry = SILENT
        self._asked: list[UUID] = []  # runs that the transaction under way is to start

    async def work(self, place: Workplace) -> None:
        """Fire until cancelled."""
        self._telemetry = place.telemetry
        while True:
            async with place.connections.connection() as connection:
                wait_s = await self.look(connection)
            await place.alarm.wait(wait_s)

    async def look(self, connection: AsyncConnection) -> float:
        """Do what is to be done; seconds until there may be something else (*connection*: autocommit)."""
        mine = Mine(sorted(self._program.workflows), await self._declared(connection))
        while True:
            due_s = await store.due_in(connection, self._q, mine)
            if due_s is None or due_s > 0:
                return _IDLE_S if due_s is None else min(due_s, _IDLE_S)
            if not await self._fire(connection, mine):
                return _TAKEN_S

    # Declaring ------------------------------------------------------------------------------------------------------------

    async def _declared(self, connection: AsyncConnection) -> dict[str, bytes]:
        """Declare and confirm what is declared; what of it counts, by name."""
        declared = self._program.declarations
        if not declared:
            return {}
        found = {
            each.name: each for each in await store.recorded(connection, self._q, sorted(declared))
        }
        mine = {name: each.digest for name, each in declared.items()}
        stale = {
            name: digest
            for name, digest in mine.items()
            if name in found and found[name].digest == digest and rules.is_stale(found[name].seen_s)
        }
        if stale:
            await store.confirm(connection, self._q, stale)
        for name, each in sorted(declared.items()):
            known = found.get(name)
            if known is None or rules.wins(each, known):
                now = await store.now(connection, self._q)
                next_at = rules.next_after(each.terms.cron, each.terms.tz, now)
                await store.declare(connection, self._q, each, known, next_at)
            elif known.digest != each.digest and name not in self._told:
                self._told.add(name)
                log.warning(
                    "schedule %s: %s; this process does not fire it",
                    name,
                    "a newer version of the program declares it differently"
                    if known.declared
                    else "there is a stored schedule of this name: delete it, or rename one",
                )
        return mine

    # Firing ---------------------------------------------------------------------------------------------------------------

    async def _fire(self, connection: AsyncConnection, mine: Mine) -> int:
        """One transaction; with how many schedules and wishes."""
        due: Sequence[Due] = ()
        self._asked.clear()
        try:
            async with transaction_async(connection, "read committed"):
                wishes = await store.claim_wishes(connection, self._q, mine, BATCH)
                if wishes:
                    entries, runs = await self._grant(connection, wishes)
                else:
                    due = await store.claim_due(connection, self._q, mine, BATCH)
                    entries, runs = await self._fire_due(connection, due) if due else ([], {})
        except BaseException:
            for run_id in self._asked:
                self._telemetry.not_started(run_id)
            raise
        self._tell(entries, runs)
        return len(wishes) or len(due)

    def _tell(self, entries: Sequence[Written], runs: Runs) -> None:
        """All of this is durable."""
        for each in entries:
            run, started = each.run, runs.get((each.schedule, each.n))
            if run is not None and started is not None:
                self._telemetry.started(
                    run.id, started, run.workflow, run.key, "schedule", run.trace
                )
            if self._telemetry.on:
                due_s = each.step.at.timestamp()
                late_s = max(0.0, time.time() - due_s)
                fired = ScheduleFired(each.schedule, due_s, each.step.result, late_s, started)
                self._telemetry.emit(fired)

    async def _fire_due(
        self, connection: AsyncConnection, due: Sequence[Due]
    ) -> tuple[list[Written], Runs]:
        now = await store.now(connection, self._q)
        before = [each.last_run for each in due if each.last_run and each.terms.overlap != "allow"]
        alive = await store.alive(connection, self._q, before) if before else set()
        decided: list[tuple[Due, Decision]] = []
        for each in due:
            decision = rules.decide(
                each.name, each.terms, each.next_at, each.held_until, now,
                alive=each.last_run in alive,
            )  # fmt: skip
            if decision.cancel and each.last_run is not None:
                message = ids.new_id(self._cell)
                if not await store.cancel(connection, self._q, message, each.last_run):
                    decision = rules.wait_for_run(each.next_at, now)
            decided.append((each, decision))
        entries = {each.name: self._entries(each, decision) for each, decision in decided}
        flat = [entry for written in entries.values() for entry in written]
        runs = await store.write(connection, self._q, flat) if flat else {}
        moved: list[Moved] = []
        for each, decision in decided:
            written = entries[each.name]
            last = written[-1] if written else None
            started = [
                runs[each.name, entry.n] for entry in written if (each.name, entry.n) in runs
            ]
            moved.append(
                Moved(
                    each.name,
                    decision.next_at,
                    decision.look_at,
                    decision.held_until,
                    each.entries + len(written),
                    last.step.at if last else None,
                    last.step.result if last else None,
                    started[-1] if started else None,
                )
            )
        await store.move(connection, self._q, moved)
        return flat, runs

    def _entries(self, due: Due, decision: Decision) -> list[Written]:
        return [
            self._entry(due, due.entries + n, step)
            for n, step in enumerate(decision.steps, start=1)
        ]

    def _entry(self, due: Due, n: int, step: Step, by: str | None = None) -> Written:
        if step.result != STARTED:
            return Written(due.name, n, step, by=by)
        try:
            run = self._program.run_of(due, step.at)
            self._asked.append(run.id)
            trace = self._telemetry.starting(run.id, run.workflow)
            return Written(due.name, n, step, replace(run, trace=trace), by)
        except Exception as error:  # noqa: BLE001  (the user's function, or a change of the workflow's parameters)
            log.error("schedule %s: the run for %s cannot be started: %r", due.name, step.at, error)
            said = f"{type(error).__name__}: {error}"[:500].replace("\0", " ")
            return Written(due.name, n, Step(BROKEN, step.at, note=said), by=by)

    async def _grant(
        self, connection: AsyncConnection, wishes: Sequence[Wish]
    ) -> tuple[list[Written], Runs]:
        """Start what people asked for, whatever the overlap: they know."""
        count: dict[str, int] = {}
        entries: list[Written] = []
        for wish in wishes:
            name = wish.schedule.name
            count[name] = count.get(name, wish.schedule.entries) + 1
            step = Step(STARTED, wish.at, note=wish.note)
            entries.append(self._entry(wish.schedule, count[name], step, wish.by))
        runs = await store.write(connection, self._q, entries)
        await store.fulfilled(connection, self._q, [wish.id for wish in wishes], count)
        return entries, runs
