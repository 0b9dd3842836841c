from __future__ import annotations

import functools
import sys

import pytest

from troth.lab import Lab


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Lab:
    """A scenario; unlike the plugin's fixture it prints and keeps nothing and takes no closer look: tests look themselves.

    Real processes have tests of their own.
    """
    made = Lab(request.node.name, closer=0)
    made.explore = functools.partial(made.explore, confirm=False)
    return made


@pytest.fixture(autouse=True)
def new_process() -> None:
    """No handler of the corpus remembers what another test's process did: the lab leaves memory as its last run has left it."""
    if corpus := sys.modules.get("tests.lab.corpus"):
        corpus.forget()
