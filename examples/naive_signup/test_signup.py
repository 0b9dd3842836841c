"""As a test, run by `pytest examples/naive_signup`: the last version passes, the others fail."""

from __future__ import annotations

import pytest

from examples.naive_signup.scenario import VERSIONS, describe
from troth.lab import Lab


@pytest.mark.parametrize("version", VERSIONS)
def test_signup(lab: Lab, version: str) -> None:
    describe(lab, *VERSIONS[version])
    lab.prove()
