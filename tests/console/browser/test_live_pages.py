"""A page that is live misses nothing: whatever order its scripts come in, whatever request of it is lost or late."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.cli.parked import Journal, park
from tests.console import kept
from troth.console import live

BUG = {"at": "x", "message": "it broke"}
COUNTS = """document.body.addEventListener("refresh", () => {
  document.body.dataset.told = Number(document.body.dataset.told ?? 0) + 1;
})"""


async def test_a_script_that_comes_late_does_not_keep_a_page_from_being_live(cell, opened):
    page: Page = await opened("/audit/rules")  # a window; nothing of the overview is loaded yet
    may = asyncio.Event()

    async def late(route: Route) -> None:
        await may.wait()
        await route.continue_()

    await page.route("**/uPlot.iife.min.js*", late)
    await page.goto("/overview", wait_until="commit")
    # htmx has begun, and the page has not: its scripts are not all there.
    await expect(page.locator("#content[data-htmx-powered]")).to_be_attached()
    assert await page.evaluate("document.readyState") != "complete"
    may.set()
    await expect(page.locator("#live-word")).to_have_text("Live")
    run = park(cell, Journal(), "bug", BUG)
    await expect(page.locator(f"#f-{run}")).to_be_visible()


async def test_what_changes_while_a_page_reads_itself_is_shown_too(cell, opened):
    page: Page = await opened("/inbox?state=quarantined")
    await expect(page.locator("#live-word")).to_have_text("Live")
    read, may = asyncio.Event(), asyncio.Event()

    async def slow(route: Route) -> None:
        answer = await route.fetch()  # with the first event, and without the second
        read.set()
        await may.wait()
        await route.fulfill(response=answer)

    await page.route("**/inbox?state=quarantined", slow, times=1)
    await page.evaluate(COUNTS)
    kept.event(cell, "evt_1")
    await read.wait()
    kept.event(cell, "evt_2")
    # The page knows, and has a request on its way.
    await expect(page.locator("body[data-told='2']")).to_be_attached()
    may.set()
    await expect(page.locator("tbody tr")).to_have_count(2)


async def test_a_page_that_could_not_be_read_again_is_read_once_more(cell, opened, expected):
    expected.append("error: htmx: htmx:error: Failed to fetch")
    page: Page = await opened("/inbox?state=quarantined")
    await expect(page.locator("#live-word")).to_have_text("Live")
    lost = asyncio.Event()

    async def lose(route: Route) -> None:
        await route.abort()
        lost.set()

    await page.route("**/inbox?state=quarantined", lose, times=1)
    kept.event(cell, "evt_1")
    await lost.wait()
    await expect(page.locator("tbody tr")).to_have_count(1)


@pytest.mark.slow
async def test_a_stream_that_ends_is_opened_anew(cell, opened, monkeypatch):
    monkeypatch.setattr(live, "LONGEST_S", 0.0)  # each ends with the first thing that it tells
    page: Page = await opened("/inbox?state=quarantined")
    for n in range(1, 4):
        kept.event(cell, f"evt_{n}")
        await expect(page.locator("tbody tr")).to_have_count(n)


@pytest.mark.slow
async def test_a_page_that_gets_no_stream_asks_now_and_then(cell, opened, monkeypatch):
    monkeypatch.setattr(live, "MOST_STREAMS", 0)
    page: Page = await opened("/inbox?state=quarantined")
    await expect(page.locator("#live-word")).to_have_text("Lost…")
    kept.event(cell, "evt_1")
    await expect(page.locator("tbody tr")).to_have_count(1)
    monkeypatch.setattr(live, "MOST_STREAMS", 10)
    await expect(page.locator("#live-word")).to_have_text("Live")
