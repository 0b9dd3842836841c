"""The public types, as type checkers see them: what is accepted, what is rejected, and with which code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ACCEPTED, REJECTED = (Path(__file__).with_name(name) for name in ("accepted.py", "rejected.py"))

_EXPECTED = re.compile(r"# E: \[([\w-]+)\]")
_SAID = re.compile(
    r"(?P<file>[^:\n]+\.py):(?P<line>\d+): error: .*\[(?P<code>[\w-]+)\]$", re.MULTILINE
)


def expected(path: Path) -> dict[int, str]:
    """The markers of a file: line, and the code that is to be reported there."""
    lines = path.read_text().splitlines()
    return {
        number: found[1]
        for number, line in enumerate(lines, 1)
        if (found := _EXPECTED.search(line))
    }


@pytest.mark.timeout(300)
def test_mypy_accepts_and_rejects(tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "mypy", "--strict", "--show-error-codes", "--no-error-summary",
        "--hide-error-context", "--cache-dir", str(ROOT / ".mypy_cache"), str(ACCEPTED), str(REJECTED),
    ]  # fmt: skip
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode in {0, 1}, answer.stdout + answer.stderr
    said: dict[str, dict[int, set[str]]] = {}
    for found in _SAID.finditer(answer.stdout):
        lines = said.setdefault(Path(found["file"]).name, {})
        lines.setdefault(int(found["line"]), set()).add(found["code"])
    rejected = said.pop(REJECTED.name, {})
    assert said == {}, answer.stdout  # neither in the accepted file nor in troth itself
    assert rejected.keys() == expected(REJECTED).keys(), answer.stdout
    wrong = {line for line, code in expected(REJECTED).items() if code not in rejected[line]}
    assert not wrong, answer.stdout


@pytest.mark.timeout(300)
def test_pyright_accepts_and_rejects(tmp_path: Path) -> None:
    """basedpyright, in pyright's own mode: it comes with its Node.js, and fetches nothing."""
    checked = [ACCEPTED.parent, ROOT / "examples"]
    config = {
        "include": [str(path) for path in checked],
        "extraPaths": [str(ROOT / "src"), str(ROOT)],
        "typeCheckingMode": "standard",
    }
    project = tmp_path / "pyrightconfig.json"
    project.write_text(json.dumps(config))
    pyright = Path(sys.executable).with_name("basedpyright")
    command = [str(pyright), "--pythonpath", sys.executable, "--project", str(project)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    said: dict[str, set[int]] = {}
    for found in re.finditer(r"([\w]+\.py):(\d+):\d+ - error", answer.stdout):
        said.setdefault(found[1], set()).add(int(found[2]))
    missed = set(expected(REJECTED)) - said.pop(REJECTED.name, set())
    assert not missed, f"accepted by pyright: {sorted(missed)}\n{answer.stdout}"
    assert said == {}, answer.stdout  # neither in the accepted file nor in an example
