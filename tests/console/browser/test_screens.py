"""Every screen in a browser, under a base path, with a text that means harm in every field that somebody chooses."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.async_api import Page, expect

from tests.console.hostile import HOSTILE
from tests.console.world import world
from troth.console.screens import SCREENS

WIDE = HOSTILE + "-and-nothing-breaks-this-name" * 5
# Addresses that lead out of the base path; texts that could turn what is beside them; a page that is wider than its screen.
FAULTS = """([base, turns]) => {
  const inside = (each) => new URL(each, location).pathname.startsWith(base + "/") || each.startsWith("#");
  const faults = ["href", "src", "action", "hx-get", "hx-post", "data-connect"].flatMap((name) =>
    [...document.querySelectorAll(`[${name}]`)].map((each) => each.getAttribute(name)).filter((each) => !inside(each)));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.includes(turns) || node.parentElement.closest("script, option, textarea")) continue;
    let each = node.parentElement, alone = false;
    for (; each && !alone; each = each.parentElement) {
      const style = getComputedStyle(each);
      alone = style.unicodeBidi.includes("isolate") || style.display.startsWith("inline-");
      if (style.display !== "inline" && !alone) break;
    }
    if (!alone) faults.push(`not isolated: ${node.parentElement.outerHTML.slice(0, 120)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) faults.push(`it is ${document.documentElement.scrollWidth} wide`);
  return faults;
}"""


@pytest.fixture
def base() -> str:
    return "/ops"


async def look_at_every_screen(cell, opened, base: str, **more) -> None:
    screens = world(cell, WIDE).screens()
    page: Page = await opened(f"{base}/audit/rules", who="root-ADMIN", **more)
    asked: list[str] = []
    harm: list[str] = []
    faults: list[tuple[str, str]] = []
    page.on("request", lambda request: asked.append(urlsplit(request.url).path))
    page.on("dialog", lambda dialog: harm.append(dialog.message))
    for path in (each for paths in screens.values() for each in paths):
        await page.goto(base + path)
        await expect(page.locator("main h1").first).to_be_visible()
        await expect(page.locator(".trouble")).to_have_count(0)
        faults += [(path, each) for each in await page.evaluate(FAULTS, [base, "\u202e"])]
    assert faults == []
    assert harm == []
    assert [each for each in asked if not each.startswith(f"{base}/")] == []


async def test_every_screen_on_a_narrow_dark_screen(cell, opened, base):
    await look_at_every_screen(
        cell, opened, base, viewport={"width": 390, "height": 800}, color_scheme="dark"
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 820, 1440])
@pytest.mark.parametrize("dark", ["light", "dark"])
async def test_every_screen_however_wide_and_dark(width, dark, cell, opened, base):
    await look_at_every_screen(
        cell, opened, base, viewport={"width": width, "height": 800}, color_scheme=dark
    )


@pytest.mark.slow
async def test_every_screen_has_its_key(cell, opened, base):
    page: Page = await opened(f"{base}/audit/rules")
    for screen in SCREENS:
        if screen.key:
            await page.keyboard.press("g")
            await page.keyboard.press(screen.key)
            await page.wait_for_url(f"**{base}{screen.path}")
            await expect(page.locator("#menu a[aria-current=page]")).to_have_attribute(
                "data-key", screen.key
            )


@pytest.mark.slow
async def test_a_keyboard_is_enough(cell, opened, base):
    made = world(cell, "x")
    page: Page = await opened(f"{base}/attention")
    await expect(page.locator("#live-word")).to_have_text("Live")
    focused = "document.activeElement.id || document.activeElement.className"
    await page.keyboard.press("Tab")
    assert await page.evaluate(focused) == "skip"
    await page.keyboard.press("Enter")
    assert await page.evaluate(focused) == "main"
    link = page.locator(f"#a-{made.broken} .next a").first
    await link.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("dialog#dialog .promise")).to_be_visible()
    assert await page.evaluate("document.activeElement.closest('dialog')?.id") == "dialog"
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog#dialog")).not_to_be_visible()
    # The page reads itself again when a form is closed, and where one was, one is still.
    async with page.expect_response(lambda answer: "/attention" in answer.url):
        await page.evaluate("document.body.dispatchEvent(new CustomEvent('refresh'))")
    assert await link.evaluate("each => each === document.activeElement")
