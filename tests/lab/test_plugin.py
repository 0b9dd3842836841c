"""The pytest plugin, run by pytest itself in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = str(Path(__file__).parents[2] / "src")
SUITE = """
import os
import sqlite3

def register(keyword):
    db = sqlite3.connect("app.db")
    db.execute("INSERT INTO users (email) VALUES ('a@b.c') " + keyword)
    db.commit()
    return 200

def describe(lab, keyword):
    lab.database("app.db", seed="CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE)")
    lab.user(lambda: register(keyword))
    lab.told(200, "one user", lambda w: len(w.db.users) == 1)
    lab.eventually("registered", lambda w: len(w.db.users) == 1)

def test_good(lab):
    describe(lab, "ON CONFLICT DO NOTHING")
    assert lab.prove().closed

def test_bad(lab):
    describe(lab, "")
    lab.prove()

def test_open(lab):
    describe(lab, "ON CONFLICT DO NOTHING")
    lab.prove(confirm=False)

def test_refused(lab):
    describe(lab, "")
    lab.user(lambda: os.getpid())
    lab.prove()
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "test_suite.py").write_text(SUITE)

    def pytest_(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "troth.lab.plugin",
            "-q",
            *arguments,
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": SOURCES,
            "NO_COLOR": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        }
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return pytest_


def test_verdicts_and_lanes_are_printed(run):
    done = run()
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "2 failed" in done.stdout
    assert "HOLDS  test_good: every promise" in done.stdout
    assert "BOUNDED  test_open: nothing broken; the graph closed" in done.stdout
    assert "VIOLATED  test_bad: broken: registered" in done.stdout
    assert "is enough." in done.stdout
    assert "src/troth/lab" not in done.stdout, "a report is no traceback through the lab"
    assert "what the caller was told" in done.stdout
    assert "more: troth lab explain " in done.stdout
    assert "asks for its process id" in done.stdout


def test_verdicts_are_kept_and_the_next_run_says_what_was_weakened(run, tmp_path):
    run("-k", "test_bad")
    suite = tmp_path / "test_suite.py"
    suite.write_text(
        suite.read_text().replace(
            'lab.eventually("registered"', '0 and lab.eventually("registered"'
        )
    )
    done = run("-k", "test_bad")
    assert "you weakened: the promise 'registered' (eventually) is gone" in done.stdout
    assert len(list((tmp_path / ".troth" / "lab" / "verdicts").iterdir())) == 2


def test_strict_fails_what_is_only_bounded(run):
    done = run("--lab-strict", "-k", "test_open")
    assert "--lab-strict" in done.stdout
    assert done.returncode == 1


def test_unused_it_imports_nothing_of_the_lab():
    code = (
        "import sys, pytest; import troth.lab.plugin;"
        "print(sorted(name for name in sys.modules if name.startswith('troth.lab')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['troth.lab', 'troth.lab.plugin']"


def test_the_package_offers_what_it_lists():
    import troth.lab

    for name in troth.lab.__all__:
        assert getattr(troth.lab, name) is not None
    assert not hasattr(troth.lab, "nothing")
