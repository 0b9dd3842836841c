"""kill -9 at every commit of an undoing: a successor undoes the rest, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import msgspec
import psutil
import psycopg
import pytest

from tests.chaos.processes import ROOT, Site
from tests.chaos.undo_program import SETTINGS, TIMEOUT_S, Place, Settings
from tests.harness.postgres import wait_until
from tests.workflow.undo_saga import LEDGER, Case, Program, World, assert_undone
from troth import Troth

UNDOS = {"close": 5, "right again": 4}  # by the step that is refused
COMMITS = (
    12  # more than there are: that the last victim comes to its end says that none was left out
)


@contextmanager
def started(settings: Settings, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of `undo_program`; it is ended with the block."""
    environment = os.environ | {SETTINGS: msgspec.json.encode(settings).decode()}
    command = [sys.executable, "-m", "tests.chaos.undo_program"]
    with (
        log.open("a") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


class Victims:
    """One process for each place, all forked off one."""

    def __init__(self, parent: subprocess.Popen[str], places: list[Place]) -> None:
        assert parent.stdout is not None
        self._parent = parent
        self._pids = dict(zip(places, json.loads(parent.stdout.readline()), strict=True))

    def has_stopped(self, place: Place) -> bool:
        return bool(psutil.Process(self._pids[place]).status() == psutil.STATUS_STOPPED)

    def kill9(self) -> None:
        """All at once; their parent ends with them."""
        pids, self._pids = self._pids, {}
        for pid in pids.values():
            os.kill(pid, signal.SIGKILL)
        if pids:
            self._parent.wait()


@contextmanager
def victims(settings: Settings, log: Path) -> Iterator[Victims]:
    with started(settings, log) as parent:
        made = Victims(parent, settings.places)
        try:
            yield made
        finally:
            made.kill9()


# One after the other: each has a dozen workers with connections of their own.
@pytest.mark.xdist_group("killed undoings")
@pytest.mark.parametrize(
    "kept", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["before", "after"]
)
@pytest.mark.parametrize("refused", [pytest.param("close", marks=pytest.mark.slow), "right again"])
async def test_killed_at_every_commit_of_the_undoing(shop: Site, refused: str, kept: bool) -> None:
    with psycopg.connect(shop.url, autocommit=True) as session:
        session.execute(LEDGER)
        session.execute("TRUNCATE ledger")
    places = [Place(at, kept) for at in range(1, COMMITS + 1)]
    settings = Settings(shop.url, shop.schema, str(shop.directory / "world"), places)
    world = World(Path(settings.world))
    # Nothing else is under way when a step is refused: "close" comes last, and "right again" waits for the other branch.
    held = refused if refused == "right again" else ""
    cases = {place: Case(place.saga, refused=refused, held=held) for place in places}

    def ended(run: UUID) -> bool:
        return bool(shop.rows("SELECT 1 FROM {s}.run_history WHERE id = %s", run))

    with victims(settings, shop.directory / "victims.log") as made:
        runs = await start(settings, cases, world)

        def all_have_come() -> bool:
            return all(made.has_stopped(place) or ended(runs[place]) for place in places)

        await asyncio.to_thread(wait_until, all_have_come, "every victim stops or is done")
        killed = [place for place in places if made.has_stopped(place)]
        made.kill9()
    with started(
        msgspec.structs.replace(settings, successor=True), shop.directory / "successor.log"
    ):
        await asyncio.to_thread(shop.wait_ended, len(places))

    for place in places:
        done = assert_undone(shop, world, cases[place], runs[place], state="failed")
        assert refused not in done
        assert len(done) == UNDOS[refused]
    world.close()
    reached = {place.at for place in killed}
    # If as much as possible shares a commit: the refusal with the first intent, each undo with the next one, and the end.
    assert reached >= set(range(1, UNDOS[refused] + 3))
    assert COMMITS not in reached, "no commit is left out"


async def start(settings: Settings, cases: dict[Place, Case], world: World) -> dict[Place, UUID]:
    """Start every saga, as a client; its victim is the only one that knows it."""
    troth = Troth(settings.url, schema=settings.schema)
    program = Program(troth, world, [place.saga for place in cases], TIMEOUT_S)
    async with troth.client():
        return {
            place: (await troth.start(program.sagas[place.saga], case)).id
            for place, case in cases.items()
        }
