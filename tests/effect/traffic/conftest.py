from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.harness.cell import Cell, open_cell
from tests.harness.traffic import Caller

Join = Callable[..., Awaitable[Caller]]


@pytest.fixture
async def cell(migrated: tuple[str, str]) -> AsyncIterator[Cell]:
    async with open_cell(*migrated) as opened:
        yield opened


@pytest.fixture
async def join(cell: Cell) -> AsyncIterator[Join]:
    """Another worker that calls providers."""
    callers: list[Caller] = []

    async def joined(url: str = cell.url) -> Caller:
        caller = Caller(url, cell.schema, await cell.member())
        callers.append(caller)
        return caller

    yield joined
    for caller in callers:
        await caller.close()
