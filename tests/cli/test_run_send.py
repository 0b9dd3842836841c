"""`troth run send`: a message by hand, once by its key, and recorded with who sent it."""

from __future__ import annotations

import json

import psycopg


def test_a_message_is_left_once_by_its_key_and_recorded(runs, cell, troth) -> None:
    url, schema = cell
    run = runs["listener"]
    options = ("--key", "k", "--by", "ada")
    for _ in range(2):
        code, out, err = troth("run", "send", run, "said", '{"a": 1}', *options)
        assert code == 0, err
        assert "has a message of said" in out
    code, _, err = troth("run", "send", run, "said", '{"a": 2}', *options)
    assert code != 0
    assert "another message of said" in err
    code, _, err = troth("run", "send", run, "said", "{", *options)
    assert code == 2
    assert "is not JSON" in err
    with psycopg.connect(url) as session:
        rows = session.execute(
            f"SELECT payload FROM {schema}.journal WHERE run_id = %s AND path = '!send'", [run]
        ).fetchall()
        left = session.execute(
            f"SELECT payload FROM {schema}.message WHERE run_id = %s AND topic = 'said'", [run]
        ).fetchall()
    assert [json.loads(bytes(payload))["by"] for (payload,) in rows] == ["ada", "ada"]
    assert [json.loads(bytes(payload)) for (payload,) in left] == [{"a": 1}]


def test_a_run_is_named_by_its_start_key_too(runs, cell, troth) -> None:
    url, schema = cell
    code, _, err = troth("run", "send", "key:listener", "said", "1", "--by", "ada")
    assert code == 0, err
    code, _, err = troth("run", "send", "nobody's", "said", "1")
    assert code == 1
    assert "no run was started with the key" in err
    with psycopg.connect(url) as session:
        rows = session.execute(
            f"SELECT run_id::text FROM {schema}.journal WHERE path = '!send'"
        ).fetchall()
    assert rows == [(runs["listener"],)]
