"""Random interleavings of two sessions, against a model that is ten lines of dictionaries."""

from __future__ import annotations

import asyncio
import copy
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.harness.cell import open_cell
from tests.machine.conftest import EVENTS, LEGAL, STATES, reachable
from troth.machine import (
    CauseConflictError,
    EarlyEventError,
    IllegalTransitionError,
    ObjectExistsError,
    UnknownObjectError,
)

SESSIONS = ("one", "two")
OBJECTS = ("x", "y")


@dataclass
class Thing:
    """What the model knows of an object: (kind, what, from, to, superseded) by cause, in order."""

    state: str
    version: int | None
    entries: dict[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Act:
    verb: str  # create, fire, observe
    object_id: str
    what: str | None
    cause: str
    version: int | None


def expected(things: dict[str, Thing], act: Act) -> Any:
    """What must be answered; *things* are changed as they must be."""
    thing = things.get(act.object_id)
    if thing is None:
        if act.verb == "fire":
            return UnknownObjectError
        state = act.what or "incomplete"
        entry = (act.verb, act.what, None, state, False)
        things[act.object_id] = Thing(state, act.version, {act.cause: entry})
        return (False, entry)
    if (was := thing.entries.get(act.cause)) is not None:
        return (True, was) if was[:2] == (act.verb, act.what) else CauseConflictError
    if act.verb == "create":
        return ObjectExistsError
    here = thing.state
    late = None not in {act.version, thing.version} and act.version <= thing.version
    to = here if late else target(here, act)
    if to not in STATES:
        return to
    if not late:
        thing.state = to
        thing.version = thing.version if act.version is None else act.version
    entry = thing.entries[act.cause] = (act.verb, act.what, here, to, late)
    return (False, entry)


def target(here: str, act: Act) -> Any:
    """The state that an act leads to, or what is raised."""
    if act.verb == "observe":
        return act.what if act.what in reachable(here) else IllegalTransitionError
    early = any((one, act.what) in LEGAL for one in reachable(here))
    return LEGAL.get((here, act.what), EarlyEventError if early else IllegalTransitionError)


class Conductor:
    """Two sessions and the model; at most one of them waits for the other."""

    def __init__(self, machine, cell, sessions, prefix: str) -> None:
        self.machine = machine
        self.cell = cell
        self.sessions = sessions
        self.prefix = prefix
        self.committed: dict[str, Thing] = {}
        self.own: dict[str, dict[str, Thing]] = {}  # what each open transaction has in hand
        self.waiting: tuple[str, Act, asyncio.Task] | None = None

    def other(self, name: str) -> str:
        return SESSIONS[1 - SESSIONS.index(name)]

    async def step(self, name: str, what: Act | str) -> None:
        if self.waiting is not None and self.waiting[0] == name:
            return  # it can do nothing
        if isinstance(what, str):
            await self.end(name, commits=what == "commit")
        else:
            await self.act(name, what)

    async def act(self, name: str, act: Act) -> None:
        session, theirs = self.sessions[name], self.own.get(self.other(name), {})
        held = act.object_id in theirs
        is_there = act.object_id in self.committed
        blocks = held and (is_there or (act.verb != "fire" and theirs[act.object_id] is not None))
        if blocks and self.waiting is not None:
            return  # a deadlock, which is the user's to avoid
        if name not in self.own:
            self.own[name] = {}
            await session.execute("BEGIN")
        doing = self.perform(session, act)
        if blocks:
            task = await self.cell.blocked(doing, session, self.sessions[self.other(name)])
            self.waiting = (name, act, task)
            return
        self.compare(name, act, await doing)

    async def perform(self, session, act: Act) -> Any:
        object_id, more = f"{self.prefix}{act.object_id}", {"cause": act.cause}
        try:
            if act.verb == "create":
                fired = await self.machine.create(session, object_id, **more)
            elif act.verb == "fire":
                fired = await self.machine.fire(session, object_id, act.what, version=act.version, **more)  # fmt: skip
            else:
                fired = await self.machine.observe(session, object_id, act.what, version=act.version, **more)  # fmt: skip
        except Exception as error:  # noqa: BLE001
            return type(error)
        entry = (act.verb, act.what, fired.from_state, fired.state, fired.superseded)
        return (fired.repeated, entry)

    def compare(self, name: str, act: Act, told: Any) -> None:
        mine = self.own[name]
        visible = {key: copy.deepcopy(thing) for key, thing in self.committed.items()} | mine
        must = expected(visible, act)
        assert told == must, f"{name}: {act}"
        if act.object_id in visible:  # whatever came of it, the row is held
            mine[act.object_id] = visible[act.object_id]

    async def end(self, name: str, *, commits: bool) -> None:
        if name not in self.own:
            return
        await self.sessions[name].execute("COMMIT" if commits else "ROLLBACK")
        mine = self.own.pop(name)
        if commits:
            self.committed |= mine
        if self.waiting is not None:
            waiter, act, task = self.waiting
            self.waiting = None
            self.compare(waiter, act, await task)

    async def finish(self) -> None:
        while self.own:
            waiter = self.waiting[0] if self.waiting else None
            await self.end(next(name for name in self.own if name != waiter), commits=True)
        session = self.sessions["one"]
        for object_id, thing in self.committed.items():
            standing = await self.machine.standing(session, f"{self.prefix}{object_id}")
            entries = (await self.machine.history(session, f"{self.prefix}{object_id}"))[::-1]
            assert (standing.state, standing.version) == (thing.state, thing.version)
            assert [each.seq for each in entries] == list(range(1, len(thing.entries) + 1))
            assert standing.seq == len(entries)
            assert {
                each.cause: (each.event or each.observed, each.from_state, each.to_state, each.superseded)
                for each in entries
            } == {cause: entry[1:] for cause, entry in thing.entries.items()}  # fmt: skip


causes = st.sampled_from([f"c{n}" for n in range(8)])
versions = st.integers(1, 6)
objects = st.sampled_from(OBJECTS)
unguarded = [event for event in EVENTS if event != "refund"]
acts = st.one_of(
    st.builds(Act, st.just("create"), objects, st.none(), causes, st.none()),
    st.builds(Act, st.just("fire"), objects, st.sampled_from(EVENTS), causes, st.none() | versions),
    st.builds(Act, st.just("fire"), objects, st.sampled_from(unguarded), causes, st.none()),
    st.builds(Act, st.just("observe"), objects, st.sampled_from(STATES), causes, versions),
)
ends = st.sampled_from(["commit", "commit", "rollback"])
steps = st.lists(st.tuples(st.sampled_from(SESSIONS), acts | acts | ends), min_size=4, max_size=24)


def test_two_sessions_do_what_the_model_does(machine, migrated):
    numbers = count()
    blocked = 0

    async def play(runner_stack, script) -> None:
        nonlocal blocked
        cell, sessions = runner_stack
        conductor = Conductor(machine, cell, sessions, f"{next(numbers)}/")
        try:
            for name, what in script:
                await conductor.step(name, what)
                blocked += conductor.waiting is not None
            await conductor.finish()
        finally:
            if conductor.waiting is not None:  # it went wrong
                sessions[conductor.waiting[0]].cancel()
                await asyncio.gather(conductor.waiting[2], return_exceptions=True)
            for session in sessions.values():
                await session.rollback()

    async def open_all(stack: AsyncExitStack):
        cell = await stack.enter_async_context(open_cell(*migrated))
        return cell, {name: await cell.session() for name in SESSIONS}

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opened = runner.run(open_all(stack))

        @settings(max_examples=150, deadline=None)
        @given(steps)
        def examine(script) -> None:
            runner.run(play(opened, script))

        try:
            examine()
        finally:
            runner.run(stack.aclose())
    assert blocked, "no session ever waited for the other"
