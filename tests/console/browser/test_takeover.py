"""A page that is open while the worker behind it dies: it shows how the run goes on, without being read anew by hand."""

from __future__ import annotations

import os
import signal

from playwright.async_api import expect

from tests.cli import program
from tests.cli.processes import Stage, command


async def test_a_worker_is_killed_while_somebody_watches(cell, opened):
    url, schema = cell
    async with (
        Stage.open() as stage,
        command(
            "worker", "tests.cli.program:troth", "--lease", "1s", "--processes", "2",
            TROTH_DATABASE_URL=url, TEST_SCHEMA=schema, TEST_STAGE=stage.path,
        ) as supervisor,
        program.troth.client() as client,
    ):  # fmt: skip
        await supervisor.line("ready")
        run = await client.start(program.two_meetings)
        (await stage.guest()).go("one")
        second = await stage.guest()

        page = await opened(f"/runs/{run.id}")
        await expect(page.locator("#live-word")).to_have_text("Live")
        await expect(page.locator(".lead")).to_contain_text("running")
        claimed = page.locator("dt", has_text="Claimed").locator("+ dd")
        await expect(claimed).to_have_text("once")
        await page.evaluate("window.opened = true")

        os.kill(second.pid, signal.SIGKILL)
        again = await stage.guest()
        assert (again.name, again.pid != second.pid) == ("two", True)
        await expect(claimed).to_have_text("2 times")

        again.go("two")
        await expect(page.locator(".lead")).to_contain_text("succeeded")
        assert await page.evaluate("window.opened"), "it is the same page still"
