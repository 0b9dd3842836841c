from __future__ import annotations

import copy

import pytest

from troth.store.errors import UnknownStatement
from troth.store.queries import Queries, load, parse

TEXT = """\
-- The statements of a room.

-- name: claim_runs
-- Take the oldest runs that nobody has.
SELECT id FROM troth_schema.run
 WHERE owner IS NULL LIMIT %s;

-- name: count
-- How many there are.
SELECT count(*) FROM troth_schema.run
"""


def test_statements_are_found_by_name_with_the_schema_put_in():
    statements = parse(TEXT, "cell_1")
    assert list(statements) == ["claim_runs", "count"]
    assert statements["claim_runs"].endswith("FROM cell_1.run\n WHERE owner IS NULL LIMIT %s")
    assert statements["count"].startswith("-- How many there are.\nSELECT count(*)")


def test_attributes_items_and_unknown_names():
    queries = Queries("troth.room/queries.sql", parse(TEXT, "troth"))
    assert queries.count is queries["count"]
    assert len(queries) == 2
    with pytest.raises(
        UnknownStatement, match=r"queries\.sql has no 'clam_runs'; it has claim_runs"
    ):
        _ = queries.clam_runs
    assert dict(copy.copy(queries)) == dict(queries)


@pytest.mark.parametrize("text", ["SELECT 1;\n" + TEXT, TEXT + TEXT], ids=["nameless", "twice"])
def test_a_statement_without_a_name_of_its_own_is_refused(text):
    with pytest.raises(ValueError, match="name"):
        parse(text, "troth")


def test_a_file_is_read_once_for_each_schema(tmp_path, monkeypatch):
    package = tmp_path / "room_with_queries"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "queries.sql").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    first = load("room_with_queries", "cell_1")
    (package / "queries.sql").unlink()
    assert load("room_with_queries", "cell_1") is first
    with pytest.raises(FileNotFoundError):
        load("room_with_queries", "cell_2")
