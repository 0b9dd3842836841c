from __future__ import annotations

import pytest

from troth.lab import Lab


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """A scenario; unlike the plugin's fixture it prints nothing, because these tests look at the verdict themselves."""
    return Lab(request.node.name)
