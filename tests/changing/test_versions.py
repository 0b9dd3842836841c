"""Versions of a workflow: a run stays with the one that it was started in, and a worker takes only what it has."""

from __future__ import annotations

import json

import pytest

from tests.workflow.place import QUICK, Place, soon
from troth import Troth, UsageError
from troth.cli.main import run as command
from troth.workflow.groups import Group


def program(place: Place, *versions: int) -> Troth:
    troth = place.troth()
    for version in versions:

        @troth.workflow(name="work", version=version)
        async def work(n: int, version: int = version) -> list[int]:
            await troth.receive("go")
            return [version, n]

    return troth


async def test_each_worker_takes_the_versions_that_it_has(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, both = program(place, 1), program(place, 2), program(place, 1, 2)
    assert list(both.workflows) == ["work", "work@2"]
    async with both.client():
        old = await both.start(both.workflows["work"], 7, key="old")
        new = await both.start(both.workflows["work@2"], 8)
    async with second.worker(QUICK):
        await place.until_state(new, "waiting")
        await second.send(new, "go")
        assert await soon(second.run(new.id).result()) == [2, 8]
        assert place.state(old.id) == "ready", "it is not taken by who has only version 2"
    async with first.worker(QUICK):
        await place.until_state(old, "waiting")
        ((known,),) = place.rows("SELECT workflows FROM {s}.worker WHERE executes")
        assert [name for name in known if not name.startswith("troth.")] == ["work"]
        await first.send(old, "go")
        assert await soon(first.run(old.id).result()) == [1, 7]


async def test_a_start_key_is_the_same_request_in_every_version(place: Place) -> None:
    both = program(place, 1, 2)
    async with both.worker(QUICK):
        old = await both.start(both.workflows["work"], 7, 0, key="k")
        again = await both.start(both.workflows["work@2"], 7, 0, key="k")
        assert again.id == old.id
        await both.send(old, "go")
        assert await soon(again.result()) == [0, 7]


def test_filters_mean_all_versions_or_one(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    import asyncio

    both = program(place, 1, 2)

    async def begin() -> None:
        async with both.client():
            for name in both.workflows:
                await both.start(both.workflows[name], 1)

    asyncio.run(begin())
    where = ["--database-url", place.url, "--schema", place.schema, "-o", "json"]

    def said(*tokens: str) -> tuple[int, list[dict[str, object]]]:
        capsys.readouterr()
        code = command(["run", *tokens, *where])
        return code, json.loads(capsys.readouterr().out)

    assert len(said("list", "--workflow", "work")[1]) == 2
    assert [each["workflow"] for each in said("list", "--workflow", "work@2")[1]] == ["work@2"]
    code, found = said("versions", "work")
    assert code == 1, "no worker is alive"
    assert [(each["workflow"], each["runs"], each["workers"]) for each in found] == [
        ("work", 1, 0),
        ("work@2", 1, 0),
    ]


def test_what_is_no_version_and_no_name_is_refused(place: Place) -> None:
    troth = place.troth()

    async def work() -> None: ...

    for wrong in (0, -1, True, "2"):
        with pytest.raises(UsageError, match="is not a number from 1 on"):
            troth.workflow(version=wrong)(work)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cannot name a step or workflow"):
        troth.workflow(name="work@2")(work)
    troth.workflow(version=2)(work)
    with pytest.raises(UsageError, match="two workflows named work@2"):
        troth.workflow(version=2)(work)
    group = Group("billing", prefix=True)
    group.workflow(version=3)(work)
    assert list(group.workflows) == ["billing.work@3"]
