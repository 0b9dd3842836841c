"""`troth machine` as a user meets it."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.machine.conftest import bring, subscription
from troth.cli import main
from troth.store.connect import connect_async


@pytest.fixture
def troth(migrated, capsys):
    def invoke(*tokens: str, connected: bool = True) -> tuple[int, str, str]:
        capsys.readouterr()
        where = ("--database-url", migrated[0], "--schema", migrated[1]) if connected else ()
        code = main.run(["machine", *tokens, *where])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return invoke


@pytest.fixture(scope="module")
def objects(migrated):
    """Three subscriptions; all tests only look at them."""
    machine = subscription("subscription")
    machine.bind(migrated[1])

    async def make() -> None:
        async with await connect_async(migrated[0]) as tx:
            await bring(machine, tx, "sub_1", "active")
            said = {"by": "stripe", "why": "sweep", "data": {"card": "4242"}}
            await machine.observe(tx, "sub_1", "canceled", version=4, cause="evt_1", **said)
            await machine.observe(tx, "sub_1", "active", version=3, cause="evt_0")
            await bring(machine, tx, "sub_2", "trialing")
            await bring(machine, tx, "sub_3", "trialing")

    asyncio.run(make())


def test_list_counts(troth, objects):
    code, out, _ = troth("list")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if "subscription" in line]
    assert lines == [["subscription", "canceled", "1"], ["subscription", "trialing", "2"]]
    _, out, _ = troth("list", "subscription", "-o", "json")
    assert json.loads(out) == [
        {"machine": "subscription", "state": "canceled", "objects": 1},
        {"machine": "subscription", "state": "trialing", "objects": 2},
    ]
    assert troth("list", "order")[1] == "No objects of order.\n"


def test_show_tells_the_history_and_hides_data(troth, objects):
    code, out, _ = troth("show", "subscription", "sub_1")
    assert code == 0
    for said in (
        "canceled",
        "created",
        "activate",
        "evt_1",
        "stripe",
        "sweep",
        "observed active: superseded",
    ):
        assert said in out
    assert "4242" not in out
    assert out.index("created") < out.index("evt_1")
    assert "4242" in troth("show", "subscription", "sub_1", "--payloads")[1]
    _, out, _ = troth("show", "subscription", "sub_1", "-o", "json")
    record = json.loads(out)
    assert (record["id"], record["state"], record["version"]) == ("sub_1", "canceled", 4)
    assert [each["seq"] for each in record["history"]] == [1, 2, 3, 4]
    assert record["history"][2]["path"] == ["cancel"]
    assert "data" not in record["history"][2]


def test_show_comes_in_pages(troth, objects):
    _, out, error = troth("show", "subscription", "sub_1", "--limit", "2")
    assert ("evt_1" in out, "way:0" in out) == (True, False)
    assert "--before 3" in error
    _, out, error = troth("show", "subscription", "sub_1", "--limit", "2", "--before", "3")
    assert ("evt_1" in out, "way:0" in out, error) == (False, True, "")


def test_what_is_not_there_is_said(troth, objects):
    code, _, error = troth("show", "subscription", "sub_9")
    assert (code, "sub_9" in error) == (1, True)
    assert troth("show", "subscription", "sub_1", "--limit", "0")[0] == 2


def test_draw_needs_no_database(troth):
    target = "tests.machine.program:troth"
    assert troth("draw", target, "subscription", connected=False)[:2] == (
        0,
        subscription("subscription").svg(),
    )
    code, out, _ = troth("draw", target, "subscription", "--format", "mermaid", connected=False)
    assert (code, out) == (0, subscription("subscription").mermaid())
    code, _, error = troth("draw", target, "order", connected=False)
    assert (code, "it has subscription" in error) == (2, True)
    code, _, error = troth("draw", "tests.machine.program:empty", "order", connected=False)
    assert (code, "includes none" in error) == (2, True)
