"""The whole service as real processes, and a real browser in front of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from tests.examples.signup.live.running import Service, service

__all__ = ["PATIENCE_MS", "Service", "service"]  # pytest finds the fixture by its name here

CHROMIUM = Path("/usr/bin/chromium")
PATIENCE_MS = 30_000


@pytest.fixture(scope="module")
def chromium() -> Path:
    if not CHROMIUM.exists():
        told = f"no {CHROMIUM}: `make test` brings it, on Debian, if root runs it"
        if os.environ.get("CI"):
            pytest.fail(told)
        pytest.skip(told)
    return CHROMIUM


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        yield launched
        await launched.close()


@pytest_asyncio.fixture(loop_scope="module")
async def person(browser: Browser, service: Service) -> AsyncIterator[BrowserContext]:
    """Somebody with a browser of their own."""
    await service.behave()
    context = await browser.new_context(base_url=service.url)
    context.set_default_timeout(PATIENCE_MS)
    yield context
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(person: BrowserContext) -> Page:
    return await person.new_page()
