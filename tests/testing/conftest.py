"""The plugin's fixtures, on the server of this run."""

import pytest

from troth import Troth


@pytest.fixture
def troth(database_url: str) -> Troth:
    return Troth(database_url)
