"""
Takes the pictures of the console that the docs show: `.venv/bin/python -m tools.console_pictures`.

They are of the signup service of the examples after its demo: people have signed up while workers were killed and answers
were lost, and what is left for a person waits.
"""

import argparse
import asyncio
import shutil
from pathlib import Path

import psycopg
from playwright.async_api import Browser, Page, async_playwright

from examples.signup.demo.__main__ import demonstrate, parse
from examples.signup.demo.board import Board
from examples.signup.demo.stage import Stage, make_directory
from examples.signup.program import troth
from troth.console import Console, Role
from troth.console.model import Operator
from troth.console.serving import Server, address, bind

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "operating" / "images"


def pages(url: str) -> dict[str, str]:
    """What to show, by the name of its picture."""
    with psycopg.connect(url) as connection:

        def found(query: str) -> str:
            row = connection.execute(query).fetchone()
            assert row is not None, f"the demo has left nothing for {query}"
            return str(row[0])

        doubtful = found("SELECT id FROM troth.run WHERE reason = 'in_doubt' ORDER BY id LIMIT 1")
        failed = found(
            "SELECT id FROM troth.run_history WHERE state = 'failed' ORDER BY id LIMIT 1"
        )
    return {
        "overview": "/overview",
        "attention": "/attention",
        "effect": f"/effects/{doubtful}?path=send_welcome",
        "runs": "/runs",
        "run": f"/runs/{failed}?view=timeline",
        "machine": "/machines/machine?machine=subscription",
        "audit": "/audit/rules",
    }


async def take(browser: Browser, root: str, url: str) -> None:
    """One picture a page."""
    for name, path in pages(url).items():
        await picture(await opened(browser, root + path), name)


async def opened(browser: Browser, where: str) -> Page:
    """A page in a window of its own. Raises `AssertionError` if it is not there."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    answer = await page.goto(where)
    assert answer is not None
    assert answer.ok, f"{where}: {answer.status}"
    await page.wait_for_load_state("load")
    return page


async def picture(page: Page, name: str) -> None:
    """Keep what a window shows, and close it."""
    await page.evaluate("document.fonts.ready")
    await page.screenshot(path=PICTURES / f"{name}.png")
    await page.context.close()
    print(PICTURES / f"{name}.png")


async def main(people: int) -> None:
    """Play the demo, and serve the console of its database for as long as it is photographed."""
    options = parse(["--people", str(people)])
    directory = make_directory()
    stage = Stage(directory, lease_s=options.lease, effect_timeout_s=options.effect_timeout)
    async with stage:
        result = await demonstrate(options, Board(people), stage)
        assert result.verdict.holds
        await asyncio.sleep(
            70
        )  # charts show minutes that are over, and workers tell of them a little later
        troth.url = stage.database_url
        console = Console(troth, identify=lambda _: Operator("ada", Role.ADMIN))
        bound = bind("127.0.0.1", 0)
        started = asyncio.Event()
        server = Server(console, started.set)
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        await started.wait()
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            await take(browser, address(bound, None), stage.database_url)
            await browser.close()
        server.stop()
        await serving
    await asyncio.to_thread(shutil.rmtree, directory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tools.console_pictures", description=__doc__)
    parser.add_argument("--people", type=int, default=120, help="how many sign up")
    asyncio.run(main(parser.parse_args().people))
