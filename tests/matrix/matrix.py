"""
Run cells of the matrix: every effect meets its fault, everything comes to rest, and then the outside is asked.

All cells of one call share one database schema and one worker. The cells in which the worker is killed come first, in a
worker of their own; its successor takes them over while it runs the others.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.harness.postgres import wait_until
from tests.matrix.declarations import (
    KILL_AFTER,
    KILL_BEFORE,
    LATER_THAN_PROMISED,
    ON_THE_WIRE,
    REFUSE_BEFORE,
    ROWS,
    Declaration,
)
from tests.matrix.outsides import World, world
from tests.matrix.processes import EdgeProcess, Worker
from tests.matrix.program import Job, Settings, build, workflow

TIMEOUT_S = 1.5
DYING_TIMEOUT_S = 30.0  # who waits to be killed does not time out
LANDS_WITHIN_S = 1.0
REST_WITHIN_S = 60.0
DIES = {KILL_BEFORE: "before", KILL_AFTER: "after"}


@dataclass(frozen=True)
class Cell:
    """One fault, in one column, under one declaration."""

    declared: Declaration
    fault: str
    column: str
    mark: str = field(default_factory=lambda: f"cell-{uuid.uuid4().hex[:16]}", compare=False)

    @property
    def dies(self) -> str:
        return DIES.get(self.fault, "")

    def __str__(self) -> str:
        return f"{self.declared.name} / {self.fault} / {self.column}"


# What may be said of so many objects. Of two nothing may be said: there must not be two.
TRUE_OF = {
    0: {"failed", "in_doubt", "retries_exhausted"},
    1: {"succeeded", "in_doubt"},
}


@dataclass(frozen=True)
class Ending:
    """What a cell came to. *objects*: at the outside. *ended*: the run's state, or why it asks for a person."""

    objects: int
    copies: int
    ended: str
    sent: int  # attempts that troth made
    found: bool  # a probe found it

    @property
    def verdict(self) -> str:
        """How many there are, and what troth says: "1 done", "0 in doubt"."""
        told = {"succeeded": "done", "failed": "refused"}.get(self.ended, self.ended)
        return f"{self.objects} {told.replace('_', ' ')}"

    def __str__(self) -> str:
        hows = (
            "sent again" * (self.sent > 1),
            "found" * self.found,
            f"{self.copies} copies" * (self.copies > self.objects),
        )
        how = ", ".join(filter(None, hows))
        return f"{self.verdict} ({how})" if how else self.verdict


def is_honest(cell: Cell, ending: Ending) -> bool:
    """Does troth say what is true, of an object that is there at most once?"""
    if ending.copies > ending.objects and cell.declared.says != "at_least_once":
        return False
    return ending.ended in TRUE_OF.get(ending.objects, set())


def lies(endings: Mapping[Cell, Ending]) -> dict[str, str]:
    """The cells in which something is doubled, or said that is not so."""
    return {str(c): str(ending) for c, ending in endings.items() if not is_honest(c, ending)}


def cells(
    declarations: Iterable[Declaration],
    faults: Iterable[str] = ROWS,
    columns: Collection[str] | None = None,
) -> list[Cell]:
    return [
        Cell(declared, fault, column)
        for declared in declarations
        for fault in faults
        for column in declared.columns
        if columns is None or column in columns
    ]


def run(url: str, schema: str, directory: Path, chosen: Sequence[Cell]) -> dict[Cell, Ending]:
    """Run these cells in a migrated schema; every process that is needed is started, and ended."""
    with ExitStack() as stack:
        worlds: dict[str, World] = {}
        edges: dict[str, EdgeProcess] = {}
        for outside in sorted({cell.declared.outside for cell in chosen}):
            made = worlds[outside] = stack.enter_context(world(outside, directory))
            log = directory / f"edge before {outside}.log"
            edges[outside] = stack.enter_context(EdgeProcess(made.protocol, made.port, log))
        jobs = {cell: prepare(cell, worlds, edges) for cell in chosen}
        stage = Stage(url, schema, directory, stack, edges)
        stage.act(jobs)
        for edge in edges.values():
            edge.come_to_rest()
        stage.wait_at_rest(jobs)
        check_struck(chosen, edges)
        return endings(chosen, stage, worlds)


def prepare(cell: Cell, worlds: dict[str, World], edges: dict[str, EdgeProcess]) -> Job:
    """Make what the cell needs, and aim its fault."""
    outside = worlds[cell.declared.outside]
    edge = edges[cell.declared.outside]
    if cell.fault in ON_THE_WIRE:
        edge.aim(cell.fault, cell.mark, outside.writes)
    elif cell.fault == LATER_THAN_PROMISED:
        edge.aim("late delivery", cell.mark, outside.writes, until=outside.writes)
    about = outside.prepare(cell.column)
    return Job(cell.mark, door=cell.fault == REFUSE_BEFORE, dies=cell.dies, about=about)


def check_struck(chosen: Sequence[Cell], edges: dict[str, EdgeProcess]) -> None:
    """A fault that was planned and did not happen proves nothing."""
    struck = {mark for edge in edges.values() for mark in edge.report()["struck"]}
    wire = (*ON_THE_WIRE, LATER_THAN_PROMISED)
    spared = [str(cell) for cell in chosen if cell.fault in wire and cell.mark not in struck]
    assert not spared, f"these met no fault: {spared}"


def endings(chosen: Sequence[Cell], stage: Stage, worlds: dict[str, World]) -> dict[Cell, Ending]:
    asked = {(cell.declared.outside, cell.column) for cell in chosen}
    objects = {one: worlds[one[0]].truth(one[1]) for one in asked}
    copies = {one: worlds[one[0]].copies(one[1]) for one in asked}
    ended, sent, found = stage.states(), stage.sent(), stage.found()
    return {
        cell: Ending(
            objects[cell.declared.outside, cell.column][cell.mark],
            copies[cell.declared.outside, cell.column][cell.mark],
            ended[cell.mark],
            sent[cell.mark],
            cell.mark in found,
        )
        for cell in chosen
    }


class Stage:
    """A schema, its runs (by mark, which is their key) and its workers."""

    def __init__(
        self,
        url: str,
        schema: str,
        directory: Path,
        stack: ExitStack,
        edges: dict[str, EdgeProcess],
    ) -> None:
        self._schema = schema
        self._url = url
        self._directory = directory
        self._stack = stack
        self._edges = edges
        self._connection = stack.enter_context(psycopg.connect(url, autocommit=True))

    def settings(
        self, chosen: Collection[Cell], *, timeout_s: float = TIMEOUT_S, dying: int = 0
    ) -> Settings:
        return Settings(
            url=self._url,
            schema=self._schema,
            declarations=sorted({cell.declared.name for cell in chosen}),
            edges={name: edge.ways for name, edge in self._edges.items()},
            timeout_s=timeout_s,
            lands_within_s=LANDS_WITHIN_S,
            dying=dying,
        )

    def act(self, jobs: dict[Cell, Job]) -> None:
        """Start everything, kill who is to be killed, open the doors, and wait until all is at rest."""
        doomed = {cell: job for cell, job in jobs.items() if job.dies}
        if doomed:
            self._start(doomed)
            dying = self.settings(jobs, timeout_s=DYING_TIMEOUT_S, dying=len(doomed))
            with Worker(dying, self._directory / "victim.log") as victim:
                victim.wait_killed()
        worker = Worker(self.settings(jobs), self._directory / "worker.log")
        self._stack.enter_context(worker)
        self._start_and_attempt({cell: job for cell, job in jobs.items() if job.door})
        for edge in self._edges.values():
            edge.open_door()
        others = {cell: job for cell, job in jobs.items() if not job.door and not job.dies}
        for declared in {cell.declared for cell in others}:
            self._start_and_attempt({c: job for c, job in others.items() if c.declared is declared})
        self.wait_at_rest(jobs)

    def _start_and_attempt(self, jobs: dict[Cell, Job]) -> None:
        """Start runs, and wait until each has tried: too many at once would only time out by themselves."""
        self._start(jobs)
        marks = {cell.mark for cell in jobs}
        wait_until(lambda: marks <= self._answered() | self.states().keys(), "attempts", 30)

    def _start(self, jobs: dict[Cell, Job]) -> None:
        troth = build(self.settings(jobs))

        async def start() -> None:
            async with troth.client():
                for cell, job in jobs.items():
                    code = workflow(troth, cell.declared, cell.column)
                    await troth.start(code, job, key=cell.mark)

        asyncio.run(start())

    def wait_at_rest(self, jobs: Collection[Cell]) -> None:
        """Wait until every run has ended or asks for a person."""

        def restless() -> list[str]:
            at_rest = self.states()
            return [str(cell) for cell in jobs if cell.mark not in at_rest]

        try:
            wait_until(lambda: not restless(), "all runs at rest", REST_WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; restless: {restless()}") from None

    def states(self) -> dict[str, str]:
        """How each run that is at rest has ended, or why it asks for a person."""
        return dict(
            self._rows(
                "SELECT key, state::text FROM {s}.run_history"
                " UNION ALL SELECT key, reason FROM {s}.run WHERE state = 'attention'"
            )
        )

    def sent(self) -> dict[str, int]:
        """How many attempts each effect had."""
        return dict(self._rows(_OF_RUNS.format("count(*)", "kind = 1", "GROUP BY key")))

    def found(self) -> set[str]:
        """Whose object a probe found."""
        return {
            key
            for key, payload in self._rows(_OF_RUNS.format("payload", "kind = 6", ""))
            if json.loads(bytes(payload)).get("answer") == "found"
        }

    def _answered(self) -> set[str]:
        """Who has recorded how an attempt ended."""
        return {key for key, _ in self._rows(_OF_RUNS.format("kind", "kind = 4", ""))}

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        statement = sql.SQL(query).format(s=sql.Identifier(self._schema))
        return self._connection.execute(statement).fetchall()


_OF_RUNS = (
    "SELECT key, {} FROM {{s}}.journal JOIN (SELECT id, key FROM {{s}}.run"
    " UNION ALL SELECT id, key FROM {{s}}.run_history) r ON r.id = run_id WHERE {} {}"
)
