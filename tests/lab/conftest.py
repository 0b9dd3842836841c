from __future__ import annotations

import functools

import pytest

from troth.lab import Lab


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """A scenario; unlike the plugin's fixture it prints nothing, because these tests look at the verdict themselves.

    Real processes have tests of their own.
    """
    made = Lab(request.node.name)
    made.explore = functools.partial(made.explore, confirm=False)
    return made
