"""Django under the lab: `atomic`, `on_commit`, `get_or_create`, ATOMIC_REQUESTS, `select_for_update`, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WRONG = {
    "mail on commit": ("whoever has an order got a mail", ["crash"]),
    "get or create": ("one order", ["impatient caller"]),
    "mail in the block": ("whoever got a mail has an order", ["crash"]),
    "atomic requests": ("whoever got a mail has an order", ["crash"]),
    "delay in the block": ("the warehouse knows of it", ["delivery meanwhile"]),
    "delay on commit": ("the warehouse knows of it", ["crash"]),
    "asgi": ("one order", ["impatient caller"]),
    "memory": ("there is an order", ["busy database"]),
    "without a lock": ("no more is spent than there was", ["second caller"]),
}
RIGHT = [
    "mail that is remembered",
    "get or create by a key",
    "asgi, by a key",
    "delay after the block",
    "a command",
    "with a lock",
]


def verdicts(url: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """What is said of each."""
    command = [sys.executable, "-m", "tests.lab.django_shop", url, *names]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


def check(said: dict[str, Any], name: str) -> None:
    if name in RIGHT:
        assert said["word"] == "HOLDS", said["text"]
        return
    promise, faults = WRONG[name]
    assert said["word"] == "VIOLATED", said["text"]
    assert said["broken"].get(promise) == faults, said["text"]


def test_a_mail_on_commit(database_url: str):
    check(verdicts(database_url, ["mail on commit"])["mail on commit"], "mail on commit")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_wrong_is_found_and_what_is_right_holds(database_url: str):
    names = [*WRONG, *RIGHT]
    found = verdicts(database_url, names)
    for name in names:
        check(found[name], name)
