"""Every act, done in a browser: from the page that offers it, over its form, to the record of the desk."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.async_api import Locator, Page, expect

from tests.console.browser.scenes import BIG, SCENES, WITHOUT_FORM, Scene
from tests.console.conftest import rows
from troth.console.deeds import DEEDS

DONE = "SELECT by FROM {}.operator_act WHERE act = %s AND about = %s AND outcome = 'done' AND via = 'console'"
WITH_BIG = {
    "run.send": "SELECT payload FROM {}.message",
    "effect.settle": "SELECT payload FROM {}.journal WHERE path = 'refund' AND kind = 2",
}
# As unlike each other as acts are; all the others are soaks.
QUICK = {"run.rewind", "effect.settle", "outbox.resend_all", "act.rule"}
# Pages that would offer them look at the role themselves.
NOT_OFFERED = {"act.rule", "act.withdraw", "inbox.replay_all", "run.cancel, all that match"}


def test_every_act_with_a_form_has_a_scene() -> None:
    assert {name.partition(",")[0] for name in SCENES} == set(DEEDS)


@pytest.mark.parametrize(
    "name", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in SCENES]
)  # fmt: skip
async def test_an_act_is_done_from_its_page_and_recorded(name, cell, opened):
    scene = SCENES[name](cell)
    act = name.partition(",")[0]
    page = await opened(scene.path, who=scene.who)
    if act == "payload.show":
        await page.get_by_role("button", name=scene.button).click()
        await expect(page.get_by_role("button", name=scene.said)).to_be_visible()
    else:
        await perform(page, scene)
    assert rows(cell, DONE, act, scene.about) == [(scene.who.partition("-")[0],)]
    if name in WITH_BIG:
        (payload,) = rows(cell, WITH_BIG[name])[0]
        assert str(BIG).encode() in bytes(payload), "digit for digit"


async def perform(page: Page, scene: Scene) -> None:
    """Open the form, fill it in, send it, and close what it says."""
    dialog = page.locator("dialog#dialog")
    await open_form(page.locator(scene.within), scene)
    await expect(dialog.locator(".promise")).to_be_visible()
    await fill(dialog, scene.fill)
    await dialog.get_by_role("button", name=scene.button, exact=True).click()
    await expect(dialog.locator(".done")).to_contain_text(scene.said)
    await page.keyboard.press("Escape")
    await expect(dialog).not_to_be_visible()


async def open_form(part: Locator, scene: Scene) -> None:
    await fill(part, scene.before)
    if scene.more:
        await part.locator("details.more > summary").click()
    link = part.get_by_role("link", name=scene.link, exact=True)
    await link.or_(part.get_by_role("button", name=scene.link, exact=True)).first.click()


async def fill(form: Locator, values: Mapping[str, str | bool]) -> None:
    for label, value in values.items():
        field = form.get_by_label(label).first
        if value is True:
            await field.check()
        elif await field.evaluate("each => each.tagName") == "SELECT":
            await field.select_option(label=str(value))
        else:
            await field.fill(str(value))


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
async def test_a_viewer_sees_what_an_act_means_and_cannot_do_it(name, cell, opened):
    scene = SCENES[name](cell)
    page = await opened(scene.path, who="eve-VIEWER")
    if name == "payload.show":
        await expect(page.get_by_role("button", name=scene.button)).to_be_disabled()
        return
    part, dialog = page.locator(scene.within), page.locator("dialog#dialog")
    if name in NOT_OFFERED:
        await expect(part.get_by_role("link", name=scene.link, exact=True)).to_have_count(0)
        return
    await open_form(part, scene)
    await expect(dialog).to_contain_text("This needs the role operator; yours is viewer")
    await expect(dialog.locator("form button:not([data-close])")).to_be_disabled()
    assert rows(cell, "SELECT 1 FROM {}.operator_act") == []


@pytest.mark.slow
async def test_what_only_the_command_line_does_says_so(cell, opened):
    page = await opened("/audit", who="root-ADMIN")
    for act in WITHOUT_FORM:
        await page.goto(f"/act/{act}")
        await expect(page.locator(".trouble")).to_contain_text("the command line does it")
