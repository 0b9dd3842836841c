"""A connection of a few statements' own, and arrays that are encoded by their type."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from troth.store import arrays, raw
from troth.store.connect import connect_async

INT8, TEXT = 20, 25


@pytest.fixture
async def line(database_url):
    opened = raw.Line(await connect_async(database_url))
    yield opened
    await opened.close()


async def test_statements_are_run_again_after_one_has_failed(line):
    query, types = "SELECT 10 / %b, now(), NULL::text", [INT8]
    five = (5).to_bytes(8, "big")
    assert (await line.row(query, types, [five]))[0] == 2
    with pytest.raises(psycopg.errors.DivisionByZero):
        await line.row(query, types, [bytes(8)])
    assert await line.row("SELECT 'other' || %b", [TEXT], [b"s"]) == ("others",)
    found = await line.row(query, types, [five])
    assert (found[0], found[2]) == (2, None)
    assert found[1].tzinfo is not None
    assert (await line.row(query, types, [None]))[0] is None
    with pytest.raises(psycopg.errors.SyntaxError):
        await line.row("SELEC %b", types, [five])
    assert (await line.row(query, types, [five]))[0] == 2


async def test_parameters_may_be_larger_than_what_a_socket_takes(line):
    many = list(range(500_000))
    query = "SELECT cardinality(%b)"
    found = await line.row(query, [arrays.Int8Array.array], [arrays.int8s(many)])
    assert found[0] == len(many)


async def test_a_line_that_is_cut_is_an_error_and_does_not_spin(line, database_url):
    """The server says goodbye while nobody asks: the loop hears of it a few times, and not for ever."""
    query = "SELECT pg_backend_pid(), %b::bigint"
    pid = (await line.row(query, [INT8], [None]))[0]
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not line._listens
    async with asyncio.timeout(20):
        with pytest.raises(psycopg.OperationalError):
            await line.row(query, [INT8], [None])


def test_names_are_encoded_as_texts_are():
    for values in (["EUR", "sales:ü", "EUR"], [""]):
        assert arrays.names(values) == arrays.texts(values)
    for encode in (arrays.names, arrays.texts):
        with pytest.raises(ValueError, match="NUL"):
            encode(["a\0b"])
