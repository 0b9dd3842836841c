"""`troth lab prove` and `troth lab replay`: one exit status for each word, and a history that is carried out again."""

from __future__ import annotations

import pytest

from troth.cli.lab import _STATUS, prove, replay
from troth.cli.main import run
from troth.lab.verdict import Verdict

SUITE = """
import os, sqlite3

CONFLICT = os.environ.get("CONFLICT", "")

def register():
    db = sqlite3.connect("app.db")
    db.execute("INSERT INTO users (email) VALUES ('a@b.c') " + CONFLICT)
    db.commit()
    return 200

def test_register(lab):
    unique = "UNIQUE" if CONFLICT else ""
    lab.database("app.db", seed=f"CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT {unique})")
    lab.user(register)
    lab.always("one user", lambda w: len(w.db.users) <= 1)
    lab.prove(confirm="OPEN" not in os.environ)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "test_register.py").write_text(SUITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p troth.lab.plugin")
    return tmp_path


def test_each_word_has_its_status():
    assert {word: Verdict(word, "").exit_status for word in _STATUS} == _STATUS
    assert _STATUS == {"HOLDS": 0, "VIOLATED": 1, "BOUNDED": 2, "REFUSED": 3, "DISAGREED": 4}


def test_a_history_is_kept_carried_out_again_and_found_harmless_after_the_repair(
    folder, monkeypatch, capfd
):
    assert prove(("test_register.py",)) == 1
    (kept,) = (folder / ".troth-lab").iterdir()
    assert f"see it again  troth lab replay {kept.stem}" in capfd.readouterr().out
    assert replay(kept.stem) == 1
    assert "still broken" in capfd.readouterr().out
    monkeypatch.setenv("CONFLICT", "ON CONFLICT DO NOTHING")
    assert replay(kept.stem) in {0, 4}
    assert prove(("test_register.py",)) == 0


def test_what_is_only_bounded_fails_if_strict(folder, monkeypatch):
    monkeypatch.setenv("CONFLICT", "ON CONFLICT DO NOTHING")
    monkeypatch.setenv("OPEN", "1")
    assert prove(("test_register.py",)) == 0
    assert prove(("test_register.py",), strict=True) == 2


def test_nothing_to_replay(folder, capsys):
    assert run(["lab", "replay", "00000000"]) == 2
    assert "nothing is kept under 00000000" in capsys.readouterr().err
