"""`troth lab`: what crashes, lost answers and retries do to a backend, as a command for people and for CI."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from troth.base.errors import UsageError

app = App(name="lab")

_WORST = ("DISAGREED", "REFUSED", "VIOLATED", "BOUNDED", "HOLDS")
_STATUS = {"HOLDS": 0, "VIOLATED": 1, "BOUNDED": 2, "REFUSED": 3, "DISAGREED": 4}


@app.command
def prove(
    tests: Annotated[
        tuple[str, ...], Parameter(help="Files or names of tests, as for pytest.")
    ] = (),
    /,
    *,
    strict: Annotated[bool, Parameter(negative="", help="BOUNDED fails, too.")] = False,
) -> int:
    """Run the tests that use the fixture `lab`, and say the worst of their verdicts.

    Exit code 0: every promise HOLDS (without --strict also: BOUNDED), 1: VIOLATED, 2: BOUNDED, with --strict, 3: REFUSED, or the tests
    could not be run, 4: real processes disagree with the search.

    Example: troth lab prove tests/test_signup.py
    """
    word = _run(tests)
    return 0 if word == "BOUNDED" and not strict else _STATUS[word]


@app.command
def replay(
    name: Annotated[str, Parameter(name="ID", help="What the report says after `again:`.")], /
) -> int:
    """Carry out one history that was found before, in real processes that really die.

    Exit code 0: it breaks nothing any more, 1: it still does, 3: it cannot be carried out, 4: the code goes another way now.

    Example: troth lab replay 1f3a9c20
    """
    file = Path(".troth-lab") / f"{name}.json"
    try:
        test = str(msgspec.json.decode(file.read_bytes())["test"])
    except OSError:
        raise UsageError(
            f"nothing is kept under {name}: there is no {file} in this directory"
        ) from None
    word = _run((test, f"--lab-replay={name}"))
    return 0 if word == "BOUNDED" else _STATUS[word]


def _run(arguments: tuple[str, ...]) -> str:
    """The worst word that pytest came to."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:xdist",
            f"--lab-results={results}",
            *arguments,
        ]
        done = subprocess.run(command, check=False)  # noqa: S603  (the user's own tests)
        lines = results.read_bytes().splitlines() if results.exists() else []
    words = [str(msgspec.json.decode(line)["word"]) for line in lines]
    if not words:
        raise UsageError(
            f"no test came to a verdict of the lab (pytest ended with {done.returncode})"
        )
    if done.returncode not in {0, 1}:
        return "REFUSED"
    return min(words, key=_WORST.index)
