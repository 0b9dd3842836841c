"""`troth schedule` as an operator meets it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from tests.harness.audit import audited
from tests.schedule.conftest import Desk
from troth.cli import schedule as noun
from troth.cli.failure import fail


@pytest.fixture
async def troth(desk: Desk, ticking, capsys):
    """Run `troth schedule …` beside the declared schedule `tick`; exit code, standard output and error."""
    import asyncio

    await desk.look(ticking("0 9 * * MON-FRI", tz="Europe/Berlin", jitter=timedelta(minutes=5)))

    def invoke(*tokens: str) -> tuple[int, str, str]:
        capsys.readouterr()
        given = [*tokens, "--database-url", desk.url, "--schema", desk.schema]
        try:
            code = noun.app(given, exit_on_error=False, result_action="return_value") or 0
        except Exception as error:  # noqa: BLE001
            code = fail(error)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    async def elsewhere(*tokens: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(invoke, *tokens)  # commands have an event loop of their own

    return elsewhere


async def test_list_says_when_in_words(troth):
    code, out, _ = await troth("list")
    assert code == 0
    assert "At 09:00 on Monday through Friday (Europe/Berlin)" in out
    (line,) = json.loads((await troth("list", "-o", "json"))[1])
    assert (line["name"], line["cron"], line["state"]) == ("tick", "0 9 * * MON-FRI", "on")
    assert (line["catch_up_s"], line["jitter_s"], line["declared"]) == (3600.0, 300.0, True)
    assert (await troth("list", "--paused"))[1] == "No schedules.\n"
    assert (await troth("list", "--after", "tick"))[1] == "No schedules.\n"
    assert (await troth("list", "--limit", "0"))[0] == 2


async def test_pause_resume_and_run_are_recorded(desk, troth, ticking):
    assert "is paused" in (await troth("pause", "tick", "--by", "ada", "--note", "moving"))[1]
    out = (await troth("show", "tick"))[1]
    assert "paused by ada since" in out
    assert "moving" in out
    await desk.due("tick")
    assert "goes on: next at 20" in (await troth("resume", "tick", "--by", "bob"))[1]
    assert (await troth("run", "tick", "--by", "eve", "--note", "now"))[0] == 0
    await desk.look(ticking("0 9 * * MON-FRI", tz="Europe/Berlin", jitter=timedelta(minutes=5)))
    found = json.loads((await troth("show", "tick", "-o", "json"))[1])
    firings = [(each["result"], each["by"], each["state"]) for each in found["firings"]]
    assert firings == [("started", "eve", "ready"), ("paused", "bob", None)]
    assert "started" in (await troth("show", "tick"))[1]
    code, _, err = await troth("pause", "nobody")
    assert (code, "no schedule nobody" in err) == (1, True)
    assert audited((desk.url, desk.schema), "act, about, by, note") == [
        ("schedule.pause", "tick", "ada", "moving"),
        ("schedule.resume", "tick", "bob", None),
        ("schedule.run", "tick", "eve", "now"),
    ]


async def test_one_without_a_program_is_orphaned(desk, troth):
    await desk.rows("UPDATE {}.schedule SET seen_at = now() - interval '61 s'")
    (line,) = json.loads((await troth("list", "-o", "json"))[1])
    assert line["state"] == "orphaned"
    assert "no program declares it since" in (await troth("show", "tick"))[1]
    code, _, err = await troth("run", "tick")
    assert (code, "nobody could fire it" in err) == (2, True)


async def test_backfill_asks_and_counts(desk, troth):
    arguments = ("backfill", "tick", "--since", "2025-03-24", "--until", "2025-03-31")
    code, out, err = await troth(*arguments)
    assert (code, out, "nothing was done" in err) == (0, "", True)
    assert await desk.rows("SELECT 1 FROM {}.schedule_wish") == []
    out = (await troth(*arguments, "--yes", "--by", "ada"))[1]
    assert "5 times, 2025-03-24 08:00:00Z to 2025-03-28 08:00:00Z" in out
    assert len(await desk.rows("SELECT 1 FROM {}.schedule_wish")) == 5
    ((*act, details, result),) = audited((desk.url, desk.schema), "act, about, by, details, result")
    assert act == ["schedule.backfill", "tick", "ada"]
    assert details["since"] == "2025-03-24T00:00:00Z"
    assert result == {"times": 5}
    assert (
        "no times"
        in (await troth("backfill", "tick", "--since", "2025-03-29", "--until", "2025-03-30"))[1]
    )
    assert (await troth("backfill", "tick", "--since", "2015-01-01", "--yes"))[0] == 2
    assert (await troth("backfill", "tick", "--since", "soon", "--yes"))[0] == 2
