"""The root of the command line: help, versions, and installations that lack packages."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from troth.cli.main import NOUNS, run

MAIN = "from troth.cli.main import main; main()"
# What an installation without extras does not have; psycopg alone fails there for want of libpq.
BARE = f"""
import sys
for name in ("cyclopts", "rich", "psycopg", "psycopg_pool"):
    sys.modules[name] = None
{MAIN}
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("tokens", [[], ["--help"], ["-h"]])
def test_help_names_every_noun(tokens, capsys):
    assert run(tokens) == 0
    out = capsys.readouterr().out
    assert all(f"  {noun}" in out and promise in out for noun, promise in NOUNS.items())


@pytest.mark.parametrize("noun", NOUNS)
def test_every_noun_has_help_with_an_example_or_commands(noun, capsys):
    assert run([noun, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Usage: troth {noun}" in out
    assert "Example: troth" in out or "Commands" in out


@pytest.mark.parametrize(
    "command",
    [
        *(["run", verb] for verb in ("list", "show", "cancel", "resume", "tail")),
        *(["effect", verb] for verb in ("list", "show", "probe", "settle")),
        *(["db", verb] for verb in ("migrate", "status", "sql", "check", "retain")),
        ["worker"],
        ["dev"],
    ],
    ids=" ".join,
)
def test_every_command_has_an_example(command, capsys):
    assert run([*command, "--help"]) == 0
    assert "Example: troth" in capsys.readouterr().out


def test_help_imports_no_driver_and_nothing_to_print_with():
    program = f"""
import atexit, sys
atexit.register(lambda: print([n for n in ("psycopg", "cyclopts", "rich") if n in sys.modules]))
{MAIN}
"""
    finished = python(program, "--help")
    assert finished.returncode == 0
    assert finished.stdout.splitlines()[-1] == "[]"


def test_help_of_a_command_imports_no_driver():
    program = f"""
import atexit, sys
atexit.register(lambda: print("psycopg" in sys.modules))
{MAIN}
"""
    finished = python(program, "run", "list", "--help")
    assert finished.stdout.splitlines()[-1] == "False"


def test_help_comes_at_once():
    """In processor time, so that a busy machine does not count."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        python(MAIN, "--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.25


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip()


def test_an_unknown_noun_is_answered_with_a_near_one(capsys):
    assert run(["wroker"]) == 2
    assert "worker" in capsys.readouterr().err


@pytest.mark.parametrize("tokens", [["--help"], ["dev", "--help"], ["--version"]])
def test_a_bare_installation_still_helps(tokens):
    finished = python(BARE, *tokens)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout


def test_a_bare_installation_says_what_it_lacks():
    helped = python(BARE, "dev", "--help")
    assert NOUNS["dev"] in helped.stdout
    refused = python(BARE, "run", "list")
    assert (refused.returncode, refused.stdout) == (2, "")
    for said in (helped.stdout, refused.stderr):
        assert "pip install 'troth[cli]'" in said


def test_a_reader_that_has_enough_is_no_error():
    finished = subprocess.run(
        f"{sys.executable} -c '{MAIN}' db sql | head -1",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout == "BEGIN;\n"
    assert finished.stderr == ""
