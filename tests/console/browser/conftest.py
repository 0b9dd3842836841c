"""The console in a real browser, served by a real server, with a real worker behind it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.cli import program
from tests.cli.conftest import cell, runs
from troth.console import Console, Operator, Role
from troth.console.serving import Server, address, bind

__all__ = ["Opened", "cell", "runs"]

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def chromium() -> Path:
    if not CHROMIUM.exists():
        told = f"no {CHROMIUM}: `make test` brings it, on Debian, if root runs it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return CHROMIUM


@pytest_asyncio.fixture
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield launched
        await launched.close()


@pytest.fixture
def base() -> str:
    """Under what the console is served."""
    return ""


@pytest_asyncio.fixture
async def served(cell: tuple[str, str], base: str) -> AsyncIterator[str]:
    """Where the server is; who asks is what a cookie says."""
    console = Console(program.troth, identify=by_cookie, base_path=base)
    bound = bind("127.0.0.1", 0)
    started = asyncio.Event()
    server = Server(console, started.set)
    task = asyncio.create_task(server.serve(sockets=[bound]))
    await started.wait()
    yield address(bound, None)
    server.stop()
    await task


def by_cookie(request) -> Operator | None:
    said = request.cookies.get("who", "ada-OPERATOR")
    name, _, role = said.partition("-")
    return Operator(name, Role[role])


Opened = Callable[..., "Page"]


@pytest.fixture
def expected() -> list[str]:
    """What pages of this test may say to their console: beginnings."""
    return ["log:"]


@pytest_asyncio.fixture
async def opened(browser: Browser, served: str, expected: list[str]) -> AsyncIterator[Opened]:
    """Open a page: `await opened("/runs")`. At the end, no page has said what is not `expected` to its console."""
    said: list[str] = []
    contexts = []

    async def open_page(path: str, who: str = "ada-OPERATOR", **more) -> Page:
        context = await browser.new_context(base_url=served, **more)
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        await context.add_cookies([{"name": "who", "value": who, "url": served}])
        page = await context.new_page()
        page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: said.append(f"error: {error}"))
        await page.goto(path)
        return page

    yield open_page
    for context in contexts:
        await context.close()
    complaints = [
        each
        for each in said
        if not each.startswith(tuple(expected)) and "Failed to load resource" not in each
    ]
    assert not complaints, "the policy was broken, or a script failed"
