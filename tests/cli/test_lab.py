"""`troth lab`: what was kept is told again."""

from __future__ import annotations

import json

import pytest

from tests.lab.show.samples import DOCUMENT
from troth.cli.main import run
from troth.lab.show.document import encode
from troth.lab.show.shelf import Shelf


@pytest.fixture
def shelf(tmp_path):
    Shelf(tmp_path).put(DOCUMENT)
    return f"--shelf={tmp_path}"


def test_list(shelf, capsys):
    assert run(["lab", "list", shelf, "--output", "json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert (record["id"], record["verdict"], record["scenario"]) == (
        "beef0001",
        "VIOLATED",
        "t.py::test_pay",
    )


def test_list_of_nothing(tmp_path, capsys):
    assert run(["lab", "list", f"--shelf={tmp_path / 'none'}"]) == 0
    assert "No verdict is kept" in capsys.readouterr().out


@pytest.mark.parametrize("which", ["beef0001", "c0ffee", "test_pay"])
def test_report_as_text(shelf, which, capsys):
    assert run(["lab", "report", which, shelf]) == 0
    out = capsys.readouterr().out
    assert "One lost answer is enough." in out
    assert "MONEY: lost answer; kept: crash" in out


def test_report_as_json_is_the_document(shelf, capsys):
    assert run(["lab", "report", "beef", shelf, "--output", "json"]) == 0
    assert capsys.readouterr().out.encode() == encode(DOCUMENT)


def test_report_of_a_file_as_a_page(tmp_path, capsys):
    stored, page = tmp_path / "verdict.json", tmp_path / "page.html"
    stored.write_bytes(encode(DOCUMENT))
    assert run(["lab", "report", str(stored), "--html", str(page)]) == 0
    assert page.read_text().startswith("<!doctype html>")
    assert str(page) in capsys.readouterr().out


def test_explain(shelf, capsys):
    assert run(["lab", "explain", "c0ffee00", shelf]) == 0
    assert "Change the application, not the test." in capsys.readouterr().out


def test_what_is_not_there_is_named(shelf, capsys):
    assert run(["lab", "explain", "nothing", shelf]) == 2
    assert "no verdict, counterexample or scenario 'nothing'" in capsys.readouterr().err


def test_a_file_that_is_no_verdict(tmp_path, capsys):
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert run(["lab", "report", str(other)]) == 2
    assert "is no verdict of the lab" in capsys.readouterr().err
