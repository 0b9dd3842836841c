"""Every screen is in the benchmark of pages, and is there on a schema that is full."""

from __future__ import annotations

import httpx2
import pytest

from bench.console import console_of, ids_of, looks
from tests.view.conftest import full
from troth.console.screens import SCREENS

__all__ = ["full"]

pytestmark = pytest.mark.xdist_group("full")


async def test_every_screen_is_measured_and_answers(full):
    url, schema = full
    table = looks(ids_of(url, schema))
    assert {look.screen for look in table} - {"jump", "act"} == {page.name for page in SCREENS}
    console = console_of(url, schema)
    transport = httpx2.ASGITransport(app=console)
    async with console.open(), httpx2.AsyncClient(transport=transport, base_url="http://b") as http:
        for look in table:
            answer = await http.get(look.path)
            expected = {200, 303, 404} if look.screen == "jump" else {200}
            assert answer.status_code in expected, (look, answer.text)
