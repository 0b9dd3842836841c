"""
Run the tests that can differ against what the gate itself does not use: PostgreSQL 15 and other Pythons.

Every leg is an ordinary `make test` in an environment of its own, so a leg that fails here is
repeated by the command that is printed above it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tools.debian import brought

ROOT = Path(__file__).resolve().parent.parent
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")
PYTHONS = ("3.11", "3.12", "3.13")  # all but the one that runs this

SELECTION = "(not slow or matrix) and not wheel"
# What touches the server, and what touches the interpreter: the whole gate three more times would
# not fit into its 15 minutes. `make test PYTHON=... ` and TROTH_TEST_PG=15 run all of it.
ON_ANOTHER_SERVER = (
    "tests/store",
    "--ignore=tests/store/test_embedded.py",  # it brings its own
    "tests/journal",
    "tests/command",
    "tests/view",
    "tests/ledger",
)
ON_ANOTHER_PYTHON = (
    "tests/base",
    "tests/app",
    "tests/workflow/test_determinism.py",
    "tests/examples/test_language.py",
)


@dataclass(frozen=True)
class Leg:
    """One run of the tests: what differs from the gate."""

    name: str
    paths: tuple[str, ...]
    python: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, jobs: int, arguments: list[str]) -> list[str]:
        """The make command that runs this leg, and repeats it."""
        pytest_arguments = " ".join([*self.paths, *arguments])
        command = ["make", "test", f"JOBS={jobs}", f"FAST={SELECTION}", f"ARGS={pytest_arguments}"]
        return [*command, f"PYTHON={self.python}"] if self.python else command


def legs() -> Iterator[Leg]:
    """What this machine can run; what it cannot is said, not passed over."""
    if postgres_15():
        yield Leg("PostgreSQL 15", ON_ANOTHER_SERVER, environment={"TROTH_TEST_PG": "15"})
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    for version in PYTHONS:
        if version == running:
            continue
        if interpreter := find_python(version):
            yield Leg(f"Python {version}", ON_ANOTHER_PYTHON, python=interpreter)
        else:
            print(f"no Python {version} on this machine: left out")


def postgres_15() -> bool:
    """Is Debian's PostgreSQL 15 here? Root may install it."""
    return brought(f"{POSTGRES_15}/postgres", "postgresql-15")


def find_python(version: str) -> str | None:
    """An interpreter of that version which really runs (a pyenv shim may not)."""
    pyenv = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python{version}"))
    for candidate in [shutil.which(f"python{version}"), *map(str, reversed(pyenv))]:
        if candidate and version_of(candidate) == version:
            return candidate
    return None


def version_of(interpreter: str) -> str | None:
    """The "3.12" of an interpreter, or None if it does not run."""
    question = "import sys; print('%d.%d' % sys.version_info[:2])"
    answer = subprocess.run(
        [interpreter, "-c", question], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() if answer.returncode == 0 else None


def run(leg: Leg, jobs: int, arguments: list[str]) -> bool:
    """Run one leg and say how it went."""
    command = leg.command(jobs, arguments)
    shown = [f"{name}={value}" for name, value in leg.environment.items()]
    shown += [re.sub(r"=(.* .*)", r"='\1'", part) for part in command]
    print(f"\n── {leg.name}: {' '.join(shown)}", flush=True)
    begun = time.monotonic()
    finished = subprocess.run(command, cwd=ROOT, env=os.environ | leg.environment, check=False)
    passed = finished.returncode == 0
    verdict = "passed" if passed else "FAILED"
    print(f"── {leg.name}: {verdict} in {time.monotonic() - begun:.0f} s", flush=True)
    return passed


def main() -> int:
    """Run every leg, even after one has failed; 1 if any did or if there was none."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="test processes per leg")
    options, arguments = parser.parse_known_args()
    results = [run(leg, options.jobs, arguments) for leg in legs()]
    print(f"\n{results.count(True)} passed, {results.count(False)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
