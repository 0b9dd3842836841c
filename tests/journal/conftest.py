from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.harness.cell import Cell, open_cell


@pytest.fixture
async def cell(migrated: tuple[str, str]) -> AsyncIterator[Cell]:
    """A migrated schema with sessions on it."""
    async with open_cell(*migrated) as opened:
        yield opened
