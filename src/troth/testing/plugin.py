"""Fixtures for pytest: `pytest_plugins = ["troth.testing.plugin"]` in the top-level conftest.py.

`troth_database` is the URL of a database; `troth_world(troth)` opens a worker in a schema of its own with a virtual clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from troth.app import Troth
    from troth.testing.world import Worker


@pytest.fixture(scope="session")
def troth_database(request: pytest.FixtureRequest) -> Iterator[str]:
    """`TROTH_DATABASE_URL`, or `PG*`, or an embedded server under `.troth/` of the project."""
    from troth.store.connect import Database

    with Database.find(directory=request.config.rootpath / ".troth") as database:
        yield database.url


@pytest.fixture
def troth_world(troth_database: str) -> Callable[..., Worker]:
    """Opens a worker in virtual time for a program, to be entered with `async with`: see `troth.testing.Worker`."""
    from troth.testing.world import Worker

    def world(troth: Troth, **options: Any) -> Worker:
        return Worker(troth, database_url=troth_database, **options)

    return world
