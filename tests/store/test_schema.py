from __future__ import annotations

import psycopg
import pytest

from troth.store.errors import SchemaNameInvalid
from troth.store.schema import RESERVED, checked, substitute


@pytest.mark.parametrize("name", ["troth", "_", "a" * 48, "cell_0042", "troth_schema"])
def test_names_that_may_be_schemas(name):
    assert checked(name) == name


@pytest.mark.parametrize(
    "name",
    ["", "Troth", "9cells", "a" * 49, "a-b", "a.b", 'a"; DROP TABLE x', "pg_x", "user", "a\n", "é"],
)
def test_names_that_may_not(name):
    with pytest.raises(SchemaNameInvalid, match="cannot be the schema"):
        checked(name)


def test_every_word_that_this_server_reserves_is_refused(database_url):
    with psycopg.connect(database_url) as connection:
        words = connection.execute(
            "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')"
        ).fetchall()
    assert {word for (word,) in words} <= RESERVED


def test_the_placeholder_is_replaced_as_a_word_wherever_it_stands():
    text = "CREATE SCHEMA troth_schema; SELECT 'troth_schema.run'::regclass, 'troth_schema'"
    assert substitute(text, "cell_1") == text.replace("troth_schema", "cell_1")
    untouched = "SELECT my_troth_schema, troth_schemas, troth_schema_x"
    assert substitute(untouched, "cell_1") == untouched


def test_nothing_is_put_into_sql_unchecked():
    with pytest.raises(SchemaNameInvalid):
        substitute("SELECT 1 FROM troth_schema.run", "x; DROP TABLE y")
