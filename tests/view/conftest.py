"""The cell and the runs of the command line's tests, and a schema that is full."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bench.population import Size, fill
from tests.cli.conftest import cell, runs

__all__ = ["cell", "full", "narrow", "runs"]

SIZE = Size(
    finished=8000, live=2500, attention=900, outbox=3000, inbox=3000, requests=3000, decisions=3000, objects=3000, acts=1000,
    entries=1000, accounts=100,
)  # fmt: skip
LIMITS = {
    "SCAN_LIMIT": 100,
    "COUNT_CAP": 100,
    "RUN_COUNT_CAP": 300,
    "_LOOKED_AT": 100,
    "_MINUTES_CAP": 300,
}


@pytest.fixture(scope="session")
def full(schemas) -> Iterator[tuple[str, str]]:
    """(url, schema) with rows of every kind, for tests that change nothing."""
    name = schemas.take()
    fill(schemas.url, name, SIZE, vacuum=False)
    yield schemas.url, name
    schemas.give_back(name)


@pytest.fixture
def narrow(monkeypatch) -> None:
    """Screens look at a hundred rows where they look at ten thousand."""
    for name, module in list(sys.modules.items()):
        for limit, value in LIMITS.items():
            if name.startswith("troth.view") and hasattr(module, limit):
                monkeypatch.setattr(module, limit, value)
