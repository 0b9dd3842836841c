"""Pages of operating in a browser: acts open over them, they follow what others do, and they fit on a narrow screen."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.console.conftest import rows
from tests.console.furnished import decision, insert, schedule, worker


async def test_a_schedule_is_paused_and_made_up_for_in_dialogs(cell, opened):
    schedule(cell, "nightly", tz="UTC")
    page = await opened("/schedule?name=nightly")
    dialog = page.locator("dialog#dialog")
    await page.get_by_role("link", name="Pause…").click()
    await dialog.locator("textarea").fill("the warehouse moves")
    await dialog.get_by_role("button", name="Pause it").click()
    await expect(dialog.locator(".done")).to_contain_text("nightly is paused")
    await page.keyboard.press("Escape")
    await expect(page.locator("#content .summary")).to_contain_text("by ada")
    await page.locator("[name=since]").fill("2026-11-02")
    await page.locator("[name=until]").fill("2026-11-13")
    await page.get_by_role("button", name="Look at the times…").click()
    await expect(dialog).to_contain_text("It fires for 9 times")
    await dialog.get_by_role("button", name="Fire for all of them").click()
    await expect(dialog.locator(".done")).to_contain_text("will be fired for 9 times")
    assert rows(cell, "SELECT count(*) FROM {}.schedule_wish") == [(9,)]


@pytest.mark.slow
async def test_a_proposal_comes_to_a_second_person_who_agrees(runs, cell, opened):
    insert(cell, "act_rule", act="run.resume", eyes=2)
    bob = await opened("/audit/waiting", who="bob-OPERATOR")
    await expect(bob.locator("#live-word")).to_have_text("Live")
    ada = await opened(f"/act/run.resume?run={runs['broken']}")
    await ada.get_by_role("button", name="Let it go on").click()
    await expect(ada.locator("#act")).to_contain_text("This act needs two people")
    await bob.get_by_role("link", name="Agree…").click()
    dialog = bob.locator("dialog#dialog")
    await dialog.get_by_role("button", name="Let it go on").click()
    await expect(dialog.locator(".done")).to_contain_text("The run is ready")
    await bob.keyboard.press("Escape")
    await expect(bob.locator("#content")).to_contain_text("Nothing waits for a second person")


PAGES = ("/workers", "/providers", "/schedules", "/schedule?name=x", "/decisions", "/audit", "/audit/waiting", "/audit/rules", "/health?doctor=true")  # fmt: skip


async def test_no_page_is_wider_than_a_narrow_screen(cell, opened):
    long = "a-name-that-somebody-has-chosen-and-that-nothing-breaks" * 3
    process = worker(cell, long, long, long + "@2", beat_s=60)
    insert(
        cell,
        "provider",
        name=long,
        declared_by=process,
        concurrency=8,
        breaker_failures=2,
        breaker_pause_s=1.0,
    )
    schedule(cell, "x", long, paused_at="2026-11-01", paused_by=long, paused_note=long)
    insert(
        cell,
        "schedule_firing",
        schedule="x",
        n=1,
        at="2026-11-01",
        result="failed",
        by=long,
        note=long,
    )
    made = decision(cell, principal_id=long, action=long, resource_id=long, policies=[long])
    act = {"by": long, "about": long, "note": long}
    insert(
        cell,
        "operator_act",
        role="admin",
        via="cli",
        act="run.cancel",
        outcome="done",
        agrees_with=long,
        **act,
    )
    insert(
        cell,
        "act_proposal",
        act="schedule.pause",
        content=b"\x00",
        details=b"{}",
        until="2126-01-01",
        **act,
    )
    page = await opened("/workers", viewport={"width": 390, "height": 800})
    for path in (*PAGES, f"/decisions/{made}"):
        await page.goto(path)
        await expect(page.locator(".trouble")).to_have_count(0)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, path
