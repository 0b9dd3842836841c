"""As a test: `LAB_DATABASE_URL=postgresql://… pytest examples/wallet`, with a server on which the lab may make databases.

The usual version fails in every scenario, the corrected one passes. Which database the application itself would use does not
matter: under the lab its connections are the lab's.
"""

from __future__ import annotations

import os

import pytest
from fastapi import FastAPI

from examples.wallet import as_usual, corrected
from examples.wallet.scenario import SCENARIOS, describe
from troth.lab import Lab

SERVER = os.environ.get("LAB_DATABASE_URL", "postgresql://postgres@localhost/postgres")


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("app", [as_usual.app, corrected.app], ids=["as usual", "corrected"])
def test_wallet(lab: Lab, app: FastAPI, scenario: str) -> None:
    describe(lab, app, scenario, SERVER)
    lab.prove()
