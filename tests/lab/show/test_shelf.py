from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.lab.show.samples import DOCUMENT
from troth.lab import LabError
from troth.lab.show import shelf as module
from troth.lab.show.shelf import Shelf


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "lab")


def test_the_latest_verdict_of_a_scenario_comes_first(shelf):
    later = replace(DOCUMENT, id="beef0002")
    shelf.put(DOCUMENT)
    shelf.put(later)
    assert shelf.last(DOCUMENT.key) == later
    shelf.put(DOCUMENT)
    assert shelf.last(DOCUMENT.key) == DOCUMENT
    assert shelf.scenarios() == ("t.py::test_pay",)


def test_it_is_found_by_test_by_id_and_by_counterexample(shelf):
    shelf.put(DOCUMENT)
    assert shelf.find("t.py::test_pay") == (DOCUMENT, None)
    assert shelf.find("test_pay") == (DOCUMENT, None)
    assert shelf.find("beef") == (DOCUMENT, None)
    assert shelf.find("c0ff") == (DOCUMENT, DOCUMENT.counterexamples[0])


def test_a_name_that_is_nobodys_or_of_several_is_refused(shelf):
    shelf.put(DOCUMENT)
    shelf.put(replace(DOCUMENT, id="beef0002", test="t.py::test_other"))
    with pytest.raises(LabError, match="beef0001, beef0002"):
        shelf.find("beef")
    with pytest.raises(LabError, match=r"scenarios: t\.py::test_other, t\.py::test_pay"):
        shelf.find("nothing")


def test_the_same_counterexample_in_two_verdicts_is_one(shelf):
    shelf.put(DOCUMENT)
    later = replace(DOCUMENT, id="beef0002")
    shelf.put(later)
    assert shelf.find("c0ffee00") == (later, DOCUMENT.counterexamples[0])


def test_so_many_are_kept_and_no_more(shelf, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    for number in range(4):
        shelf.put(replace(DOCUMENT, id=f"beef000{number}"))
    assert sorted(file.stem for file in (shelf.home / "verdicts").iterdir()) == [
        "beef0002",
        "beef0003",
    ]


def test_what_cannot_be_read_any_more_is_no_verdict(shelf):
    file = shelf.put(DOCUMENT)
    file.write_bytes(b'{"schema": "troth.lab/0"}')
    assert shelf.last(DOCUMENT.key) is None
    assert shelf.last("unheard of") is None
