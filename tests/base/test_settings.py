"""Settings: the code, then the environment, then the default; and what cannot be is told."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from troth import Troth, UsageError
from troth.base import settings
from troth.base.settings import DEFAULTS, TABLE, Settings, read, shown, unknown, variable
from troth.worker.node import NodeOptions

OTHER = {
    "database_url": "postgresql://db/shop",
    "schema": "shop",
    "cell": "7",
    "directory": "/srv/troth",
    "embedded_uid": "1000",
    "processes": "4",
    "concurrency": "50",
    "connections": "3",
    "threads": "2",
    "lease_s": "2.5",
    "block_limit_s": "9",
    "drain_s": "0",
    "journal_warning": "10",
    "journal_limit": "20",
    "log_format": "json",
    "log_level": "error",
}


@pytest.mark.parametrize("name", TABLE)
def test_every_setting_is_read_from_its_variable(name):
    found = getattr(read({variable(name): OTHER[name]}), name)
    assert found != getattr(DEFAULTS, name)
    assert str(found) == OTHER[name] or found == float(OTHER[name])


def test_nothing_said_and_empty_are_the_defaults():
    assert read({}) == Settings() == read({variable(name): "" for name in TABLE})


def test_the_code_wins_over_the_environment_and_that_over_the_default(monkeypatch):
    for name in ("schema", "cell", "directory", "concurrency", "lease_s", "journal_limit"):
        monkeypatch.setenv(variable(name), OTHER[name])
    said = Troth()
    assert (said.schema, said.cell, said.directory) == ("shop", 7, Path("/srv/troth"))
    options = NodeOptions(concurrency=9)
    assert (options.concurrency, options.lease_s, options.threads) == (9, 2.5, 32)
    assert options.journal_limit == 20
    own = Troth(schema="mine", cell=0, directory=".here")
    assert (own.schema, own.cell, own.directory) == ("mine", 0, Path(".here"))


@pytest.mark.parametrize(
    ("name", "text", "allowed"),
    [
        ("concurrency", "many", "a whole number of runs, at least 1"),
        ("concurrency", "0", "a whole number of runs, at least 1"),
        ("concurrency", "1.5", "a whole number of runs, at least 1"),
        ("cell", "16384", "a whole number from 0 to 16383"),
        ("cell", "-1", "a whole number from 0 to 16383"),
        ("lease_s", "5s", "a number of seconds, at least 1"),
        ("lease_s", "nan", "a number of seconds, at least 1"),
        ("drain_s", "inf", "a number of seconds, at least 0"),
        ("log_format", "xml", "one of human, json"),
    ],
)
def test_a_wrong_value_is_told_with_its_variable_and_what_is_allowed(name, text, allowed):
    with pytest.raises(UsageError) as told:
        read({variable(name): text})
    assert str(told.value) == f"{variable(name)} is {text!r}: it must be {allowed}"


def test_a_wrong_value_is_told_where_a_program_is_made(monkeypatch):
    monkeypatch.setenv("TROTH_CELL", "x")
    with pytest.raises(UsageError, match="TROTH_CELL is 'x'"):
        Troth()


def test_unknown_variables_are_found_with_what_was_perhaps_meant():
    environ = {
        "TROTH_DATABASE": "x",
        "TROTH_CONCURENCY": "x",
        "TROTH_ABCXYZ": "x",
        "TROTH_TEST_PG": "15",
        "TROTH_DEBUG": "1",
        "TROTH_CELL": "1",
        "PATH": "x",
    }
    assert unknown(environ) == {
        "TROTH_ABCXYZ": None,
        "TROTH_CONCURENCY": "TROTH_CONCURRENCY",
        "TROTH_DATABASE": "TROTH_DATABASE_URL",
    }


async def test_an_unknown_variable_is_warned_of_once(monkeypatch, caplog, migrated):
    url, schema = migrated
    monkeypatch.setattr(settings, "_told", set())
    monkeypatch.setenv("TROTH_THREAD", "3")
    with caplog.at_level(logging.WARNING, "troth"):
        for _ in range(2):
            async with Troth(url, schema=schema).client():
                pass
    said = [each.getMessage() for each in caplog.records if "TROTH_THREAD" in each.getMessage()]
    assert said == [
        "the environment has TROTH_THREAD, which is no setting of troth: did you mean TROTH_THREADS?"
    ]


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://ada:s3cret@db:5432/shop", "postgresql://ada:***@db:5432/shop"),
        ("postgresql://ada:s3@cr:et@db/shop", "postgresql://ada:***@db/shop"),
        (
            "postgresql://db/shop?user=ada&password=s3cret",
            "postgresql://db/shop?user=ada&password=***",
        ),
        ("host=db password='s3 cret' dbname=shop", "host=db password=*** dbname=shop"),
        ("postgresql://db:5432/shop", "postgresql://db:5432/shop"),
    ],
)
def test_passwords_are_hidden(url, seen):
    assert shown(url) == seen
