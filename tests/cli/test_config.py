"""`troth config`: everything that can be set, and who says what it is."""

from __future__ import annotations

import json

import pytest

from troth.base.settings import TABLE
from troth.cli.main import run


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    for name in ("TROTH_DATABASE_URL", "PGHOST", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


def listed(capsys) -> dict[str, dict[str, object]]:
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def test_all_are_listed_with_their_defaults(capsys):
    assert run(["config", "--json"]) == 0
    found = listed(capsys)
    assert list(found) == list(TABLE)
    assert found["lease_s"] == {
        "name": "lease_s",
        "value": 5.0,
        "from": "default",
        "unit": "seconds",
        "meaning": TABLE["lease_s"].meaning,
    }
    assert found["database_url"]["from"] == "an embedded server"


def test_the_environment_is_named_and_its_passwords_are_not(capsys, monkeypatch):
    monkeypatch.setenv("TROTH_DATABASE_URL", "postgresql://ada:s3cret@db/shop")
    monkeypatch.setenv("TROTH_LEASE_S", "2")
    assert run(["config"]) == 0
    out = capsys.readouterr().out
    assert "postgresql://ada:***@db/shop" in out
    assert "s3cret" not in out
    assert run(["config", "--json"]) == 0
    found = listed(capsys)
    assert (found["lease_s"]["value"], found["lease_s"]["from"]) == (2.0, "TROTH_LEASE_S")


def test_libpqs_variables_decide_if_nothing_else_does(capsys, monkeypatch):
    monkeypatch.setenv("PGHOST", "db")
    assert run(["config", "--json"]) == 0
    assert listed(capsys)["database_url"]["from"] == "PG* variables of libpq"


def test_what_cannot_be_is_a_problem_and_the_list_is_shown(capsys, monkeypatch):
    monkeypatch.setenv("TROTH_CELL", "x")
    monkeypatch.setenv("TROTH_SHEMA", "shop")
    assert run(["config"]) == 1
    printed = capsys.readouterr()
    assert "drain_s" in printed.out
    assert "TROTH_CELL is 'x': it must be a whole number from 0 to 16383" in printed.err
    assert "did you mean TROTH_SCHEMA?" in printed.err


def test_a_command_refuses_a_wrong_value(capsys, monkeypatch):
    monkeypatch.setenv("TROTH_CONCURRENCY", "0")
    assert run(["worker", "nothing:troth"]) == 2
    assert "TROTH_CONCURRENCY is '0'" in capsys.readouterr().err
