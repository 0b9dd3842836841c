"""Schedules: when each fires, in words; what came of it; pausing, firing now, and making up for the past."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from tests.console.conftest import rows, words
from tests.console.furnished import insert, schedule
from tests.console.test_workers_page import line
from troth.base import ids
from troth.console import Role


def wishes(cell) -> list[tuple]:
    return rows(cell, "SELECT schedule, by, note FROM {}.schedule_wish ORDER BY id")


async def test_the_list_says_in_words_when_each_fires_and_what_came_of_it(cell, meet):
    schedule(cell, "nightly")
    schedule(
        cell,
        "hourly",
        "report",
        overlap="queue",
        paused_at="2026-11-01",
        paused_by="bob",
        paused_note="it moves",
    )
    declared = {"digest": b"\x00", "input": None, "seen_at": "2026-11-01"}
    schedule(cell, "left", "report", **declared)
    run = ids.new_id()
    last = "UPDATE {}.schedule SET last_at = now(), last_result = 'started', last_run = %s WHERE name = 'nightly' RETURNING 1"
    rows(cell, last, run)
    ada = meet()
    page = await ada.text("/schedules")
    nightly, hourly, left = (line(page, f"s-{name}") for name in ("nightly", "hourly", "left"))
    assert "At 09:00 on Monday through Friday Europe/Berlin ✓ on" in nightly
    assert re.search(r"in 2 h( 1 min)? ", nightly)
    assert "✓ started its run" in nightly
    assert f'href="/runs/{run}"' in page
    assert nightly.endswith("it is left out")
    assert "‖ paused by bob , 2026-11-01 00:00:00: it moves it does not fire" in hourly.replace(
        " :", ":"
    )
    assert hourly.endswith("it waits for that")
    assert "! orphaned no program declares it since 2026-11-01 00:00:00" in left
    assert "troth schedule list" in words(page)
    paused = await ada.text("/schedules?paused=true&workflow=report")
    assert re.findall(r'<tr id="s-(\w+)"', paused) == ["hourly"]
    assert "troth schedule list --workflow report --paused" in words(paused)
    assert "No schedules match" in words(await ada.text("/schedules?workflow=x"))
    assert (await ada.get("/schedules?paused=perhaps")).status_code == 400


async def test_one_has_its_next_times_and_its_history_page_by_page(cell, meet):
    schedule(cell, "nightly")
    for n in range(1, 61):
        insert(
            cell, "schedule_firing", schedule="nightly", n=n, at="2026-11-01", result="overlapped"
        )
    more = {"result": "started", "run": ids.new_id(), "by": "bob", "note": "came late"}
    insert(cell, "schedule_firing", schedule="nightly", n=61, at="2026-11-02 08:00+00", **more)
    insert(
        cell,
        "schedule_firing",
        schedule="nightly",
        n=62,
        at="2026-11-03",
        until="2026-11-05",
        result="missed",
    )
    ada = meet()
    page = await ada.text("/schedule?name=nightly")
    said = words(page)
    assert "At 09:00 on Monday through Friday 0 9 * * MON-FRI Europe/Berlin" in said
    assert "the latest is made up for, up to 1 h late" in said
    upcoming = re.search(r'<ul class="times">(.*?)</ul>', page, re.DOTALL)
    assert upcoming
    assert upcoming[1].count("<li>") == 10
    assert re.match(
        r"2026-11-02 08:00:00 ✓ started [0-9a-f-]{36} .* bob : came late", line(page, "f-61")
    )
    assert line(page, "f-62").startswith(
        "2026-11-03 00:00:00 to 2026-11-05 00:00:00 ! left out: nobody was there in time"
    )
    following = re.search(r'rel="next" href="([^"]+)"', page)
    assert following
    older = await ada.text(following[1].replace("&amp;", "&"))
    numbers = [int(each) for each in re.findall(r'<tr id="f-(\d+)"', page + older)]
    assert numbers == list(range(62, 0, -1))
    assert (await ada.get("/schedule?name=none")).status_code == 404
    assert (await ada.get("/schedule")).status_code == 400


async def test_one_is_paused_and_goes_on_and_that_is_recorded(cell, meet, acts):
    schedule(cell, "nightly")
    ada = meet()
    page = await ada.text("/schedule?name=nightly")
    assert "/act/schedule.resume" not in page
    form = await ada.text("/act/schedule.pause?schedule=nightly")
    assert "also over deployments" in words(form)
    assert "troth schedule pause nightly" in words(form)
    answer = await ada.act("schedule.pause", schedule="nightly", note="the warehouse moves")
    assert "nightly is paused" in words(answer.text)
    page = await ada.text("/schedule?name=nightly")
    assert "paused by ada" in words(page)
    assert "the warehouse moves" in words(page)
    assert "/act/schedule.pause" not in page
    answer = await ada.act("schedule.resume", schedule="nightly")
    assert re.search(r"nightly goes on: next at 20\d\d-\d\d-\d\d", words(answer.text))
    assert "✓ on" in words(await ada.text("/schedule?name=nightly"))
    assert [each[3:6] for each in acts()] == [
        ("schedule.pause", "nightly", "done"),
        ("schedule.resume", "nightly", "done"),
    ]
    assert (await ada.act("schedule.pause", schedule="none")).status_code == 404
    assert (await ada.act("schedule.pause", schedule="")).status_code == 422
    assert len(acts()) == 2


async def test_one_is_fired_now(cell, meet, acts):
    schedule(cell, "nightly")
    answer = await meet().act("schedule.run", schedule="nightly", note="the file came late")
    assert "nightly will be fired by the next worker that can" in words(answer.text)
    assert wishes(cell) == [("nightly", "ada", "the file came late")]
    assert "and 1 that people asked for" in words(await meet().text("/schedule?name=nightly"))
    schedule(cell, "left", digest=b"\x00", input=None, seen_at="2026-11-01")
    nobody = await meet().act("schedule.run", schedule="left")
    assert nobody.status_code == 422
    assert "nobody could fire it" in words(nobody.text)
    assert "/act/schedule.run" not in await meet().text("/schedule?name=left")
    assert len(acts()) == 1


async def test_the_times_of_a_range_are_shown_before_it_is_made_up_for(cell, meet, acts):
    schedule(cell, "nightly", tz="UTC")
    ada = meet()
    span = {"since": "2026-11-02", "until": "2026-11-13"}
    form = await ada.text(
        "/act/schedule.backfill?schedule=nightly&since=2026-11-02&until=2026-11-13"
    )
    assert "It fires for 9 times, all at once" in words(form)
    assert ">2026-11-02 09:00:00</time>" in form
    assert ">2026-11-07 09:00:00</time>" not in form, "a Saturday"
    command = "troth schedule backfill nightly --since 2026-11-02T00:00:00.000000+00:00"
    assert command in words(form)
    shown = re.search(r'name="shown" value="(\w+)"', form)
    assert shown
    changed = {**span, "until": "2026-11-12"}
    other = await ada.act("schedule.backfill", schedule="nightly", shown=shown[1], **changed)
    assert other.status_code == 409
    assert wishes(cell) == []
    answer = await ada.act("schedule.backfill", schedule="nightly", shown=shown[1], **span)
    assert "nightly will be fired for 9 times" in words(answer.text)
    assert len(wishes(cell)) == 9
    assert [each[3:6] for each in acts()] == [("schedule.backfill", "nightly", "done")]


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("since=yesterday", "not a time"),
        ("", "since is missing"),
        ("since=1d&until=2126-01-01", "has not come yet"),
        ("since=1970-01-01", "more than 1000 times"),
    ],
)
async def test_a_range_that_cannot_be_is_told(query, why, cell, meet):
    schedule(cell, "nightly")
    answer = await meet().get(f"/act/schedule.backfill?schedule=nightly&{query}")
    assert answer.status_code == 422
    assert why in words(answer.text).replace("Since", "since")


async def test_without_an_end_a_range_ends_with_this_minute(cell, meet):
    schedule(cell, "minutely", cron="* * * * *")
    form = await meet().text("/act/schedule.backfill?schedule=minutely&since=10m")
    times = re.findall(r'<time datetime="([^"]+)"', form)
    assert len(times) == 10
    last = datetime.fromisoformat(times[-1])
    assert 0 <= (datetime.now(UTC) - last).total_seconds() < 120


async def test_names_that_people_chose_lead_to_the_right_schedule(cell, meet):
    name = schedule(cell, "../a/b?c=d&e#f. \u05d0")
    ada = meet()
    page = await ada.text("/schedules")
    assert f'href="/schedule?name={quote(name, safe="")}"'.replace("%20", "+") in page
    assert name in words(await ada.text(f"/schedule?name={quote(name, safe='')}"))
    assert (
        (await ada.get("/jump", params={"q": name}))
        .headers["location"]
        .startswith("/schedule?name=")
    )
    assert (await ada.act("schedule.pause", schedule=name)).status_code == 200


async def test_a_viewer_fires_nothing(cell, meet, acts):
    schedule(cell, "nightly")
    eve = meet("eve", Role.VIEWER)
    assert (await eve.get("/schedule?name=nightly")).status_code == 200
    for act in ("schedule.pause", "schedule.resume", "schedule.run"):
        assert (await eve.act(act, schedule="nightly")).status_code == 403
    span = {"since": "2026-11-02", "until": "2026-11-13"}
    assert (await eve.act("schedule.backfill", schedule="nightly", **span)).status_code == 403
    assert {each[5] for each in acts()} == {"refused"}
    assert wishes(cell) == []
