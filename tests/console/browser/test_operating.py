"""Pages of operating in a browser: acts open over them, and they follow what others do."""

from __future__ import annotations

from playwright.async_api import expect

from tests.console.conftest import rows
from tests.console.furnished import insert, schedule


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
