from __future__ import annotations

import pytest

from tests.inbox.site import Site


@pytest.fixture
def site(migrated: tuple[str, str]) -> Site:
    return Site(*migrated)
