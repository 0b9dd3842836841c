"""What needs a browser: live updates, dialogs, keys, narrow screens, and that it works without JavaScript for reading."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.cli.parked import Journal, park
from tests.console import kept
from tests.console.conftest import rows
from troth.console.database import Reach
from troth.machine import Machine, Transition

BUG = {"at": "x", "message": "it broke"}
INSIDE = """[...document.querySelectorAll("form :is(input, select, textarea)")].every((each) =>
  each.getBoundingClientRect().right <= each.closest("form").getBoundingClientRect().right + 1)"""


async def test_a_page_follows_what_happens_and_an_act_opens_over_it(cell, runs, opened):
    page = await opened("/runs")
    await expect(page.locator("#live-word")).to_have_text("Live")
    run = park(cell, Journal().done("first", 1), "bug", BUG)
    await expect(page.locator(f"#r-{run}")).to_be_visible()

    await page.locator(f"#r-{run} a.id").click()
    await page.get_by_role("link", name="Let it go on…").click()
    dialog = page.locator("dialog#dialog")
    await expect(dialog).to_contain_text("What made the run stop is tried again")
    await dialog.locator("textarea").fill("mended")
    await dialog.get_by_role("button", name="Let it go on").click()
    await expect(dialog.locator(".done")).to_contain_text("The run is ready")
    await page.keyboard.press("Escape")
    await expect(dialog).not_to_be_visible()
    await expect(page.locator(".lead")).to_contain_text("ready")


async def test_a_paused_page_stays_as_it_is_and_catches_up(cell, opened):
    first = park(cell, Journal(), "bug", BUG)
    page = await opened("/runs")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.locator("#live").click()
    await expect(page.locator("#live-word")).to_have_text("Paused")
    asked.clear()
    second = park(cell, Journal(), "bug", BUG)
    other = await opened("/runs")  # somebody who follows has seen it
    await expect(other.locator(f"#r-{second}")).to_be_visible()
    await page.evaluate("window.dispatchEvent(new Event('focus'))")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert await page.locator(f"#r-{second}").count() == 0
    assert asked == []
    await page.locator("#live").click()
    await expect(page.locator(f"#r-{second}")).to_be_visible()
    await expect(page.locator(f"#r-{first}")).to_be_visible()


async def test_events_come_in_and_all_of_a_kind_are_put_back(cell, opened):
    page = await opened("/inbox?state=quarantined")
    await expect(page.locator("#live-word")).to_have_text("Live")
    await expect(page.locator(".empty")).to_be_visible()
    kept.event(cell, "evt_1")
    kept.event(cell, "evt_2")
    await expect(page.locator("tbody tr")).to_have_count(2)
    await page.get_by_role("link", name="Put all back…").click()
    dialog = page.locator("dialog#dialog")
    await expect(dialog).to_contain_text("2 events are quarantined")
    await dialog.get_by_role("button", name="Put them back: 2").click()
    await expect(dialog.locator(".done")).to_contain_text(
        "2 events that were quarantined are put back"
    )
    await page.keyboard.press("Escape")
    await expect(page.locator(".empty")).to_be_visible()


@pytest.mark.slow
async def test_two_people_put_one_event_back_and_one_is_told(cell, opened):
    kept.event(cell, "evt_1")
    pages = [
        await opened("/act/inbox.replay?source=stripe&event=evt_1", who=who)
        for who in ("ada-OPERATOR", "bob-OPERATOR")
    ]
    await asyncio.gather(*(page.locator("#act button.primary").click() for page in pages))
    for page in pages:
        await expect(page.locator("#act .done, #act .trouble")).to_be_visible()
    told = [await page.locator("#act").inner_text() for page in pages]
    assert sorted("The event is put back" in each for each in told) == [False, True]
    assert len(rows(cell, "SELECT 1 FROM {}.inbox_replay")) == 1


async def test_what_was_opened_and_shown_stays_while_the_page_follows(cell, opened):
    run = park(
        cell,
        Journal().done("first", 1, {"n": 12345678901234567890}),
        "bug",
        {**BUG, "traceback": "line 1"},
    )
    page = await opened(f"/runs/{run}")
    await expect(page.locator("#live-word")).to_have_text("Live")
    await page.get_by_text("Traceback").click()
    await page.get_by_role("button", name="Show input").click()
    await expect(page.locator("pre.json")).to_be_visible()
    rows(cell, "UPDATE {}.run SET claim = 7 WHERE id = %s RETURNING 1", run)
    await expect(page.locator(".facts").first).to_contain_text("7 times")
    await expect(page.locator("pre.traceback")).to_be_visible()
    await expect(page.locator("pre.json")).to_be_visible()


async def test_keys_lead_through_the_page(cell, opened):
    park(cell, Journal(), "bug", BUG)
    newest = park(cell, Journal(), "bug", BUG)
    page = await opened("/runs")
    await page.keyboard.press("?")
    await expect(page.locator("#help")).to_be_visible()
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    assert await page.evaluate("document.activeElement.id") == "jump"
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/runs/{newest}")
    await page.keyboard.press("g")
    await page.keyboard.press("r")
    await page.wait_for_url("**/runs")


@pytest.mark.slow
async def test_two_people_act_on_one_run_and_one_is_told(cell, opened):
    run = park(cell, Journal(), "bug", BUG)
    pages = [
        await opened(f"/act/run.resume?run={run}", who=who)
        for who in ("ada-OPERATOR", "bob-OPERATOR")
    ]
    await asyncio.gather(*(page.locator("#act button.primary").click() for page in pages))
    for page in pages:
        await expect(page.locator("#act .done, #act .trouble")).to_be_visible()
    told = [await page.locator("#act").inner_text() for page in pages]
    assert sorted("The run is ready" in each for each in told) == [False, True]
    assert any("does not wait for a person" in each for each in told)


@pytest.mark.slow
async def test_a_viewer_is_told_why_a_button_does_nothing(cell, opened):
    run = park(cell, Journal(), "bug", BUG)
    page = await opened(f"/runs/{run}", who="eve-VIEWER")
    await page.get_by_role("link", name="Let it go on…").click()
    dialog = page.locator("dialog#dialog")
    await expect(dialog).to_contain_text("This needs the role operator")
    await expect(dialog.get_by_role("button", name="Let it go on")).to_be_disabled()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("button", name="Show input")).to_be_disabled()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 820, 1440])
@pytest.mark.parametrize("dark", ["light", "dark"])
async def test_no_form_and_no_drawing_is_wider_than_its_screen(
    width, dark, cell, runs, opened, monkeypatch
):
    moves = [Transition(f"event_{n}", f"state_{n}", f"state_{n + 1}") for n in range(12)]
    drawn = Machine("wide", initial="state_0", final={"state_12"}, transitions=moves)
    monkeypatch.setattr(Reach, "parts", (drawn,))
    for path in (
        "/machines/machine?machine=wide",
        f"/act/effect.settle?run={runs['doubtful']}",
        f"/act/run.send?run={runs['greet']}",
        "/jump?q=nothing",
        f"/jump?q={'x' * 300}",
    ):
        page = await opened(path, viewport={"width": width, "height": 800}, color_scheme=dark)
        await expect(page.locator("main :is(h1, h2)").first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert await page.evaluate(INSIDE), path


@pytest.mark.slow
async def test_the_menu_of_a_narrow_screen_opens_and_leads_on(cell, opened):
    page = await opened("/runs", viewport={"width": 390, "height": 800})
    await expect(page.locator("#menu")).not_to_be_visible()
    await page.get_by_role("button", name="Menu").click()
    await page.locator("#menu").get_by_role("link", name="Runs").click()
    await page.wait_for_url("**/runs")


@pytest.mark.slow
async def test_without_javascript_it_is_read_and_acts_are_forms(cell, runs, opened):
    page = await opened("/runs", java_script_enabled=False)
    await page.get_by_text("State", exact=True).first.click()
    await page.get_by_label("attention").check()
    await page.get_by_role("button", name="Filter").click()
    await page.locator(f"#r-{runs['broken']} a.id").click()
    await page.get_by_role("link", name="Let it go on…").click()
    await page.locator("textarea").fill("mended")
    await page.locator("#act button.primary").click()
    await expect(page.locator(".done")).to_contain_text("The run is ready")
    await page.get_by_role("link", name="Back", exact=True).click()
    await page.get_by_role("button", name="Show input").click()
    await expect(page.locator("pre.json")).to_be_visible()


@pytest.mark.slow
async def test_times_and_colours_are_chosen_and_kept(cell, opened):
    park(cell, Journal(), "bug", BUG)
    page = await opened("/runs", timezone_id="Asia/Tokyo")
    await page.locator("#zone").click()
    await expect(page.locator("#zone")).to_have_text("Asia/Tokyo")
    await expect(page.locator("td time").first).to_contain_text("07:13:20")
    await page.keyboard.press("u")
    await expect(page.locator("td time").first).to_contain_text("22:13:20")
    await page.keyboard.press("t")
    await expect(page.locator("html")).to_have_attribute("data-look", "light")


async def test_the_queue_follows_and_an_effect_is_settled_from_its_line(cell, runs, opened):
    page = await opened("/attention")
    line = page.locator(f"#a-{runs['doubtful']}")
    await line.get_by_role("link", name="Settle…").click()
    dialog = page.locator("dialog#dialog")
    await expect(dialog).to_contain_text("troth believes you about what happened outside")
    await dialog.get_by_label("What did you find out?").select_option("done")
    await dialog.get_by_role("textbox", name="Its result").fill('"re_42"')
    await dialog.get_by_role("button", name="Settle it").click()
    await expect(dialog.locator(".done, .trouble")).to_have_count(0)  # the evidence is missing
    await dialog.get_by_label("How do you know?").fill("in the dashboard")
    await dialog.get_by_role("button", name="Settle it").click()
    await expect(dialog.locator(".done")).to_contain_text("Settled by ada")
    await page.keyboard.press("Escape")
    await expect(line).to_have_count(0)
    await expect(page.locator(f"#a-{runs['broken']}")).to_be_visible()


@pytest.mark.slow
async def test_of_two_people_who_settle_one_effect_one_is_told_by_whom(cell, runs, opened):
    path = f"/act/effect.settle?run={runs['doubtful']}&path=refund"
    pages = [await opened(path, who=who) for who in ("ada-OPERATOR", "bob-OPERATOR")]
    for page in pages:
        await page.get_by_label("What did you find out?").select_option("done")
        await page.get_by_role("textbox", name="Its result").fill('"re_42"')
        await page.get_by_label("How do you know?").fill("in the dashboard")
    await asyncio.gather(*(page.get_by_role("button", name="Settle it").click() for page in pages))
    for page in pages:
        await expect(page.locator("#act .done, #act .trouble")).to_be_visible()
    told = [await page.locator("#act").inner_text() for page in pages]
    lost = next(each for each in told if "Settled by" not in each)
    winner = "ada" if "Settled by ada" in "".join(told) else "bob"
    assert f"{winner} settled refund at" in lost.replace(winner.capitalize(), winner)
    assert sum("Settled by" in each for each in told) == 1


MINUTE = """
INSERT INTO {}.worker_minute (minute, worker, workflow, started, succeeded, failed, cancelled, attention, steps, effects_unknown)
SELECT date_trunc('minute', now()) - n * interval '1 minute', 1, 'shop', %s, 0, 0, 0, 0, 0, 0 FROM generate_series(2, 30) n
ON CONFLICT (minute, worker, workflow) DO UPDATE SET started = excluded.started RETURNING 1
"""


@pytest.mark.slow
async def test_charts_are_drawn_once_and_then_told_new_numbers(cell, opened):
    rows(cell, MINUTE, 10)
    page = await opened("/overview")
    await expect(page.locator(".chart canvas")).to_have_count(2)
    await page.evaluate(
        "document.querySelectorAll('.chart canvas').forEach((each) => { each.kept = true; })"
    )
    rows(cell, MINUTE, 20)
    run = park(cell, Journal(), "bug", BUG)
    await expect(page.locator(f"#f-{run}")).to_be_visible()
    drawn = await page.locator("#chart-1").get_attribute("data-chart")
    assert "20" in drawn
    assert await page.evaluate(
        "[...document.querySelectorAll('.chart canvas')].every((each) => each.kept)"
    )
    await expect(page.locator(".chart canvas")).to_have_count(2)
