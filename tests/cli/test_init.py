"""`troth init` writes a project that runs, and whose tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.harness.postgres import create_database
from troth.cli.init import FILES, texts
from troth.cli.main import run
from troth.store.migrate import migrate

SOURCES = str(Path(__file__).parents[2] / "src")


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    name = f"init_{uuid.uuid4().hex[:12]}"
    own = create_database(database_url, name)
    migrate(own, "troth")
    yield own
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # a name of our own making


def python(project: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": SOURCES, "TROTH_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_new_project_runs_and_its_tests_pass(tmp_path, url, capsys):
    project = tmp_path / "shop"
    assert run(["init", str(project)]) == 0
    assert "python app.py" in capsys.readouterr().out
    assert {str(p.relative_to(project)) for p in project.rglob("*") if p.is_file()} == set(FILES)

    tested = python(project, url, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "2 passed" in tested.stdout
    ran = python(project, url, "app.py")
    assert (ran.returncode, ran.stdout) == (0, "paid by charge-1\n"), ran.stderr
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT account, state FROM orders").fetchall() == [
            ("ada", "paid")
        ]


def test_nothing_is_overwritten_and_nothing_is_half_written(tmp_path, capsys):
    (tmp_path / "app.py").write_text("mine")
    assert run(["init", str(tmp_path), "--name", "shop"]) == 2
    assert "has app.py already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["app.py"]
    assert (tmp_path / "app.py").read_text() == "mine"


@pytest.mark.parametrize("name", ["", "a shop", "../shop", "-x", 'a"b', "troth", "Troth"])
def test_a_name_that_no_project_can_have_is_refused(tmp_path, capsys, name):
    assert run(["init", str(tmp_path / "here"), f"--name={name}"]) == 2
    assert "cannot be named" in capsys.readouterr().err
    assert not (tmp_path / "here").exists()


def test_a_file_where_the_directory_would_be(tmp_path, capsys):
    (tmp_path / "shop").write_text("")
    assert run(["init", str(tmp_path / "shop")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_name_is_where_it_belongs():
    written = texts("my-shop")
    assert tomllib.loads(written["pyproject.toml"])["project"]["name"] == "my-shop"
    assert written["README.md"].startswith("# my-shop\n")
