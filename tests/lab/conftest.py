from __future__ import annotations

import functools
import sys

import pytest

from troth.lab import Lab

_PROGRAMS = {
    "examples.signup": "test_signup",
    "tests.lab.engine.signup": "test_signup",
    "tests.lab.engine": "engine",
}
"""Which tests a program is for: a directory, or a file."""


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


@pytest.fixture(autouse=True)
def no_others_program(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lab looks at all of an application that is loaded, and at what it remembers: here, only at what the test is about."""
    mine = {*request.path.parts, request.path.stem}
    others = tuple(name for name, whose in _PROGRAMS.items() if whose not in mine)
    for name in [one for one in sys.modules if one.startswith(others)]:
        monkeypatch.delitem(sys.modules, name)
