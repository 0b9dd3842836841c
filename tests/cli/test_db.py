from __future__ import annotations

import json

import pytest

from troth.cli.db import app
from troth.store.migrate import load


@pytest.fixture
def run(database_url, schema, capsys):
    """Run `troth db ...` on this test's schema; returns exit code, standard output and error."""

    def run(*tokens: str) -> tuple[int, str, str]:
        connection = ["--database-url", database_url, "--schema", schema]
        with pytest.raises(SystemExit) as ended:
            app([*tokens, *connection])
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_from_missing_to_up_to_date(run, schema):
    code, _, error = run("check")
    assert (code, f"troth db migrate --schema {schema}" in error) == (1, True)
    code, out, _ = run("migrate", "-o", "json")
    assert code == 0
    assert [record["number"] for record in json.loads(out)] == [each.number for each in load()]
    assert run("check")[:2] == (0, f"The schema {schema} is up to date.\n")
    assert run("migrate")[:2] == (0, f"The schema {schema} is up to date.\n")


def test_a_dry_run_changes_nothing(run):
    code, out, _ = run("migrate", "--dry-run", "-o", "json")
    assert code == 0
    assert {record["result"] for record in json.loads(out)} == {"would apply"}
    assert run("check")[0] == 1


def test_migrating_names_the_database_and_who_chose_it(run):
    _, _, error = run("migrate", "--dry-run")
    assert "database troth_" in error
    assert "(by argument)" in error


def test_status_says_the_same_to_people_and_programs(run):
    run("migrate", "--to", "1")
    _, out, _ = run("status", "-o", "jsonl")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["state"] for record in records] == ["applied"] + ["pending"] * (len(load()) - 1)
    assert records[0]["applied_at"].endswith("Z")
    _, out, _ = run("status")
    assert all(record["name"] in out for record in records)


def test_check_for_programs(run, schema):
    code, out, _ = run("check", "-o", "json")
    (record,) = json.loads(out)
    assert (code, record["schema"], record["state"]) == (1, schema, "missing")
    assert "troth db migrate" in record["problem"]


def test_sql_is_for_other_tools(run, schema):
    code, out, _ = run("sql", "--from", "0", "--to", "1")
    assert code == 0
    assert out.startswith("BEGIN;")
    assert f"{schema}.migration" in out
    assert "troth_schema" not in out
