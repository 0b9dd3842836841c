"""Statements of many parameters are not read anew each time."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import _queries

from tests.harness.cell import Cell
from troth.journal.model import Batch
from troth.journal.store import queries
from troth.store import raw


def test_placeholders_are_numbered_in_their_order() -> None:
    assert raw.numbered("SELECT f(%b, %b::text[]) %b") == "SELECT f($1, $2::text[]) $3"
    flush = queries("troth").flush
    assert flush.count("%b") > _queries.MAX_CACHED_STATEMENT_PARAMS  # else this is not needed
    assert raw.numbered(flush) is raw.numbered(flush)


async def test_a_value_of_many_parameters(database_url: str) -> None:
    query = "SELECT " + " + ".join(["%b::int8"] * 60)
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        assert await raw.value(connection, query, range(60)) == sum(range(60))


async def test_a_flush_is_not_read_anew(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    for name in ("_query2pg_nocache", "_query2pg_client_nocache"):
        monkeypatch.setattr(_queries, name, lambda query, *_: read.append(query))
    worker = await cell.member()
    for n in range(1, 4):
        await cell.flush(worker, n, Batch())
    assert read == []


def test_what_psycopg_does_with_a_statement_of_many_parameters(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason for all this; when it fails, `troth.store.raw` can go."""
    read: list[Any] = []
    real = _queries._query2pg_nocache
    monkeypatch.setattr(
        _queries, "_query2pg_nocache", lambda *given: read.append(given) or real(*given)
    )
    with psycopg.connect(database_url) as connection:
        for _ in range(3):
            connection.execute("SELECT " + ", ".join(["%b::int8"] * 60), range(60))  # type: ignore[call-overload]
    assert len(read) == 3
