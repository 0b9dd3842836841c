"""kill -9 at every flush of a run's and of its children's worker: no child without its entry, no entry without its child."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import msgspec
import psycopg
import pytest

from tests.chaos.family_program import ROLES, SETTINGS, TABLES, Place, Settings, build
from tests.chaos.processes import ROOT, Site
from tests.chaos.test_undo_kill import Victims
from tests.harness.postgres import wait_until
from troth.base import codec

# By what the victim executes: how many flushes there are, if as much as possible shares one.
FEWEST = {"outer inner idle": 7, "outer": 5, "inner idle": 5}
FLUSHES = 12  # more than there are in most orders
BOOKED = "SELECT n FROM booked WHERE family = %s ORDER BY n"


@contextmanager
def started(settings: Settings, log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of `family_program`; it is ended with the block."""
    environment = os.environ | {SETTINGS: msgspec.json.encode(settings).decode()}
    command = [sys.executable, "-m", "tests.chaos.family_program"]
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


@pytest.mark.xdist_group("killed undoings")  # one after the other: they have many connections
@pytest.mark.parametrize("kept", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    "roles",
    [
        pytest.param(roles, marks=() if len(roles.split()) == 3 else pytest.mark.slow)
        for roles in FEWEST
    ],
)
async def test_killed_at_every_flush(shop: Site, roles: str, kept: bool) -> None:
    with psycopg.connect(shop.url, autocommit=True) as session:
        session.execute(TABLES)
    places = [Place(at, kept) for at in range(1, FLUSHES + 1)]
    settings = Settings(shop.url, shop.schema, places, roles.split(), stopping=True)
    others = [role for role in ROLES if role not in settings.roles]

    def ended(run: UUID) -> bool:
        return bool(shop.rows("SELECT 1 FROM {s}.run_history WHERE id = %s", run))

    with ExitStack() as stack:
        if others:
            beside = msgspec.structs.replace(settings, roles=others, stopping=False)
            stack.enter_context(started(beside, shop.directory / "bystander.log"))
        parent = stack.enter_context(started(settings, shop.directory / "victims.log"))
        victims = Victims(parent, places)
        stack.callback(victims.kill9)
        runs = await start(settings)

        def all_have_come() -> bool:
            return all(victims.has_stopped(place) or ended(runs[place]) for place in places)

        await asyncio.to_thread(wait_until, all_have_come, "every victim stops or is done")
        killed = [place for place in places if victims.has_stopped(place)]
        victims.kill9()
        successor = msgspec.structs.replace(settings, roles=list(ROLES), stopping=False)
        stack.enter_context(started(successor, shop.directory / "successor.log"))
        await asyncio.to_thread(
            wait_until, lambda: all(map(ended, runs.values())), "every parent ends", 60.0
        )

    with psycopg.connect(shop.url, autocommit=True) as session:
        for place, run in runs.items():
            assert session.execute(BOOKED, (place.family,)).fetchall() == [(1,), (2,)], place
            assert_whole(shop, run, place)
    for what in ("run", "message", "run_waiter"):
        assert shop.value(f"SELECT count(*) FROM {{s}}.{what}") == 0, what
    reached = {place.at for place in killed}
    assert reached >= set(range(1, FEWEST[roles] + 1)), sorted(reached)


def assert_whole(shop: Site, run: UUID, place: Place) -> None:
    """Every child has its entry, every entry its child, and the parent has ended last."""
    history = shop.rows(
        "SELECT id, workflow, state::text, continued, ended_at FROM {s}.run_history WHERE parent = %s",
        run,
    )
    states = sorted((name.split(".")[0], state) for _, name, state, *_ in history)
    assert states == [("idle", "cancelled"), *[("inner", "succeeded")] * 4], place
    said = shop.rows("SELECT payload FROM {s}.journal WHERE run_id = %s AND kind = 7", run)
    begun = {UUID(codec.decode(bytes(payload))["run"]) for (payload,) in said}
    successors = {continued for *_, continued, _ in history if continued is not None}
    assert begun == {child for child, *_ in history} - successors, place
    ((state, ended_at),) = shop.rows(
        "SELECT state::text, ended_at FROM {s}.run_history WHERE id = %s", run
    )
    assert state == "failed"
    assert all(at <= ended_at for *_, at in history), place


async def start(settings: Settings) -> dict[Place, UUID]:
    """Start every family, as a client."""
    troth, parents = build(settings, [place.family for place in settings.places])
    async with troth.client():
        return {
            place: (await troth.start(parents[place.family], 1)).id for place in settings.places
        }
