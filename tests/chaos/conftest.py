from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.processes import Site, site
from tests.harness.postgres import PrivateServer
from troth.store.migrate import migrate


@pytest.fixture
def shop(migrated: tuple[str, str]) -> Iterator[Site]:
    """A site on the server that all tests share."""
    with site(*migrated) as made:
        yield made


@pytest.fixture
def frail_shop(server: PrivateServer) -> Iterator[Site]:
    """A site on a server of its own, which may be killed and frozen."""
    migrate(server.url, "troth")
    with site(server.url, "troth") as made:
        yield made
