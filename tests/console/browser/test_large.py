"""What is very large is shown in small parts, and is there as a whole for whoever asks for it."""

from __future__ import annotations

import time

import psycopg
import pytest
from playwright.async_api import Page, expect

from tests.cli.parked import Journal, park
from tests.console.conftest import rows

pytestmark = pytest.mark.slow

BUG = {"at": "x", "message": "it broke"}
TEN_MB = 10_000_000
STEPS = 50_000
QUICK_S = 5.0  # a page that is cut is there after a tenth of it; whole, it would take much longer than this
MOST_BYTES = 400_000


async def asked(page: Page, path: str) -> None:
    """Open a page that must be small, and must not take long."""
    before = time.monotonic()
    answer = await page.goto(path)
    assert answer
    assert answer.ok
    assert len(await answer.body()) < MOST_BYTES
    assert time.monotonic() - before < QUICK_S


async def test_ten_megabytes_are_shown_in_part_and_given_out_whole(cell, opened):
    run = park(cell, Journal(), "bug", BUG)
    given = b'{"n":12345678901234567890,"text":"' + b"x" * (TEN_MB - 36) + b'"}'
    assert len(given) == TEN_MB
    rows(cell, "UPDATE {}.run SET input = %s WHERE id = %s RETURNING 1", given, run)
    page = await opened("/runs")
    await asked(page, f"/runs/{run}")
    assert await page.locator("pre.json").count() == 0
    await page.get_by_role("button", name="Show input").click()
    shown = page.locator("pre.json")
    await expect(shown).to_contain_text("12345678901234567890")
    assert len(await shown.inner_text()) < 70_000
    await expect(page.locator(".shown .note")).to_contain_text("of 10.0 MB")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="Download").click()
    path = await (await download.value).path()
    assert path.read_bytes() == given
    assert rows(cell, "SELECT act, about FROM {}.operator_act") == [("payload.show", str(run))] * 2


async def test_fifty_thousand_steps_are_read_page_by_page(cell, opened):
    run = park(cell, Journal(), "bug", BUG)
    url, schema = cell
    with psycopg.connect(url) as connection:
        connection.execute(
            f"INSERT INTO {schema}.journal (run_id, path, kind, attempt, seq, ok, payload, at)"
            " SELECT %s, 'step#' || n, 2, 0, n, true, convert_to(to_json(repeat(md5(n::text), 30))::text, 'UTF8'),"
            " to_timestamp(1700000000 + n) FROM generate_series(1, %s) n",
            (run, STEPS),
        )
    page = await opened("/runs")
    for view, most, first, second in (
        ("compact", 100, "#s-step%231", "#s-step%23101"),
        ("timeline", 100, "#s-step%231", "#s-step%23101"),
        ("journal", 200, "#j-step%231-2-0", "#j-step%23201-2-0"),
    ):
        await asked(page, f"/runs/{run}?view={view}")
        lines = page.locator("table:is(.steps, .journal) > tbody > tr")
        await expect(lines).to_have_count(most)
        assert await page.locator(f"[id='{first[1:]}']").count() == 1
        await page.keyboard.press("n")
        await expect(page.locator(f"[id='{second[1:]}']")).to_be_visible()
    await asked(page, f"/runs/{run}?view=journal&order=latest")
    await expect(page.locator(f"[id='j-step%23{STEPS}-2-0']")).to_be_visible()
    # And it follows what happens to this run.
    await expect(page.locator("#live-word")).to_have_text("Live")
    rows(cell, "UPDATE {}.run SET claim = 7 WHERE id = %s RETURNING 1", run)
    await expect(page.locator(".facts").first).to_contain_text("7 times")
