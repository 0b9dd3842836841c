"""`troth db retain`."""

from __future__ import annotations

import json

import psycopg


def test_old_weeks_are_forgotten(troth, cell):
    url, schema = cell
    with psycopg.connect(url) as connection:
        connection.execute(
            f"SELECT {schema}.ensure_partitions(clock_timestamp() - interval '40 days', clock_timestamp())"
        )
    code, out, _ = troth("db", "retain", "--keep", "3w", "--yes", "-o", "jsonl")
    weeks = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert len(weeks) in (2, 3)
    assert {week["result"] for week in weeks} == {"forgotten"}
    code, out, _ = troth("db", "retain", "--keep", "3w", "--yes")
    assert (code, "No whole week" in out) == (0, True)


def test_without_a_person_to_ask_nothing_is_forgotten(troth, cell):
    code, _, error = troth("db", "retain", "--keep", "3w")
    assert code == 2
    assert "--yes" in error


def test_a_length_needs_its_unit(troth, cell):
    code, _, error = troth("db", "retain", "--keep", "90", "--yes")
    assert code == 2
    assert "90d" in error
