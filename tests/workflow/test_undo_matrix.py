"""A saga of six steps on two branches, refused at every step, and its worker dropped at every commit of the undoing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.workflow.place import PATIENCE_S, QUICK, Place, soon
from tests.workflow.test_determinism import take_over
from troth import (
    Call,
    FencedError,
    Found,
    Missing,
    Provider,
    Refused,
    Retry,
    RunCancelledError,
    RunFailedError,
    Troth,
    Tx,
)
from troth.effect import model, rules
from troth.journal.model import Batch, Kind, Reply
from troth.worker.node import Node

STEPS = ("open", "left", "left again", "right", "right again", "close")
SOON = Retry(attempts=20, first=timedelta(milliseconds=20), longest=timedelta(milliseconds=50))
KEYS = Provider("keys", key_lifetime=timedelta(hours=1))
ASKED = Provider("asked", lands_within=timedelta(0))


class World:
    """Things that were made and unmade at the other side, by the key of the request that did it."""

    def __init__(self) -> None:
        self.made: dict[str, str] = {}
        self.unmade: dict[str, str] = {}

    def standing(self) -> list[str]:
        return sorted(set(self.made.values()) - set(self.unmade.values()))

    def twice(self) -> list[str]:
        names = [*self.made.values(), *(f"un{name}" for name in self.unmade.values())]
        return sorted(name for name in set(names) if names.count(name) > 1)


class Program:
    """The saga. A step of the name *refused* says no; "" is refused by nobody, and waits to be cancelled."""

    def __init__(self, troth: Troth) -> None:  # noqa: C901  (one closure per step)
        self.troth = troth
        self.world = World()

        @troth.effect(provider=KEYS, timeout=1, retry=SOON)
        async def keyed(call: Call, name: str, refused: str) -> str:
            return self.make(call.key, name, refused)

        @keyed.undo(retry=SOON)
        async def unkeyed(call: Call, made: str, name: str, refused: str) -> None:
            self.world.unmade[call.key] = made

        # Without a key it can be asked; each of its requests is another one for the other side.
        @troth.effect(provider=ASKED, timeout=1, retry=SOON)
        async def asked(call: Call, name: str, refused: str) -> str:
            return self.make(f"{call.key} {call.attempt} {call.fence}", name, refused)

        @asked.probe(retry=SOON)
        async def find(call: Call, name: str, refused: str) -> Found[str] | Missing:
            return found_in(self.world.made, call.key, name)

        @asked.undo(retry=SOON)
        async def unask(call: Call, made: str, name: str, refused: str) -> None:
            self.world.unmade[f"{call.key} {call.attempt} {call.fence}"] = made

        @unask.probe(retry=SOON)
        async def find_unasked(
            call: Call, made: str, name: str, refused: str
        ) -> Found[None] | Missing:
            found = found_in(self.world.unmade, call.key, None)
            return Found(None) if isinstance(found, Found) else found

        @troth.transaction
        async def write(tx: Tx, name: str, refused: str) -> str:
            if name == refused:
                raise Refused(name)
            await tx.execute("INSERT INTO thing (name) VALUES (%s)", (name,))
            return name

        @write.undo
        async def erase(tx: Tx, written: str, name: str, refused: str) -> None:
            erased = await tx.execute("DELETE FROM thing WHERE name = %s RETURNING 1", (written,))
            assert await erased.fetchone() is not None, "erased twice"

        async def left(refused: str) -> None:
            await keyed("left", refused)
            await write("left again", refused)

        async def right(refused: str) -> None:
            await write("right", refused)
            await asked("right again", refused)

        @troth.workflow
        async def saga(refused: str) -> None:
            await asked("open", refused)
            await asyncio.gather(left(refused), right(refused))
            await keyed("close", refused)
            await troth.receive("never")

        self.saga = saga

    def make(self, key: str, name: str, refused: str) -> str:
        if name == refused:
            raise Refused(name)
        self.world.made[key] = name
        return name


def found_in(things: dict[str, str], key: str, value: Any) -> Found[Any] | Missing:
    return Found(value) if any(each.startswith(key) for each in things) else Missing()


class Drop:
    """The worker is dropped at the *at*-th commit of an undoing; *committed*: the database has got it."""

    def __init__(self, node: Node, at: int, *, committed: bool) -> None:
        self.reached = asyncio.Event()
        self.commits = 0
        self._node = node
        self._flush = node.writer._flush

        async def counted(batch: Batch) -> Reply:
            undoing = any(entry.path.startswith("!") for entry in batch.entries) or batch.ends
            self.commits += bool(undoing)
            if undoing and self.commits == at:
                if committed:
                    await self._flush(batch)
                self.reached.set()
                await asyncio.Event().wait()  # nobody hears anything of it any more
            return await self._flush(batch)

        node.writer._flush = counted  # type: ignore[method-assign]

    def lift(self) -> None:
        self._node.writer._flush = self._flush  # type: ignore[method-assign]


@pytest.fixture
async def program(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Program]:
    for module in (model, rules):
        monkeypatch.setattr(module, "MARGIN_S", 0.05)
    monkeypatch.setattr(model, "SEND_WITHIN_S", 0.5)
    place.rows("CREATE TABLE IF NOT EXISTS thing (name text PRIMARY KEY)")
    place.rows("TRUNCATE thing")
    program = Program(place.troth())
    async with program.troth.worker(QUICK):
        yield program


async def undone(place: Place, program: Program, refused: str, drop: Drop) -> None:
    """Run it, drop its worker when the moment has come, and see that nothing is left."""
    program.world.__init__()  # type: ignore[misc]
    run = await program.troth.start(program.saga, refused)
    if not refused:
        await place.until(lambda: "keyed" in place.results(run.id), "all is done")
        await run.cancel()
    ended = asyncio.ensure_future(run.result(PATIENCE_S))
    reached = asyncio.ensure_future(drop.reached.wait())
    await asyncio.wait({ended, reached}, return_when=asyncio.FIRST_COMPLETED)
    drop.lift()
    if drop.reached.is_set():
        node = program.troth.node
        await asyncio.to_thread(take_over, place, node.writer.worker)
        node.fenced(FencedError("dropped by the test"))
    reached.cancel()
    with pytest.raises((RunFailedError, RunCancelledError)):
        await soon(ended)
    assert program.world.standing() == []
    assert program.world.twice() == []
    assert place.rows("SELECT name FROM thing") == []
    assert place.state(run.id) == ("failed" if refused else "cancelled")
    results = place.results(run.id)
    begun = results.index("!settled") if "!settled" in results else len(results)
    done = [path for path in results[:begun] if place_ok(place, run.id, path)]
    undos = [path.removeprefix("!undo/") for path in results[begun + 1 :] if path != "!cancel"]
    assert undos == list(reversed(done)), results


def place_ok(place: Place, run_id: Any, path: str) -> bool:
    """Is it the result of something that can be undone?"""
    return path != "!cancel" and any(
        entry[0] == path and entry[1] == Kind.RESULT and entry[4] is True
        for entry in place.journal(run_id)
    )


async def at_every_commit(place: Place, program: Program, refused: str, *, committed: bool) -> int:
    at, commits = 0, 1
    while at <= commits:
        drop = Drop(program.troth.node, at, committed=committed)
        await undone(place, program, refused, drop)
        if at == 0:
            commits = drop.commits
        at += 1
    return commits


@pytest.mark.parametrize("refused", [*STEPS, ""])
async def test_refused_at_every_step(place: Place, program: Program, refused: str) -> None:
    drop = Drop(program.troth.node, 0, committed=False)
    await undone(place, program, refused, drop)


@pytest.mark.parametrize(("refused", "committed"), [("close", True), ("right again", False)])
async def test_dropped_at_every_commit(
    place: Place, program: Program, refused: str, *, committed: bool
) -> None:
    assert await at_every_commit(place, program, refused, committed=committed) >= 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("refused", [*STEPS, ""])
async def test_dropped_at_every_commit_of_every_refusal(
    place: Place, program: Program, refused: str, *, committed: bool
) -> None:
    await at_every_commit(place, program, refused, committed=committed)
