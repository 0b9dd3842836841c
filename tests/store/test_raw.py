"""A prepared statement of a connection's own, and arrays that are encoded by their type."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from troth.store import arrays, raw
from troth.store.connect import connect_async

INT8 = 20


async def test_a_prepared_statement_is_run_again_after_it_failed(database_url):
    connection = await connect_async(database_url)
    try:
        statement = raw.Prepared(connection, "SELECT 10 / %b, now(), NULL::text", [INT8])
        five = (5).to_bytes(8, "big")
        assert (await statement.row([five]))[0] == 2
        with pytest.raises(psycopg.errors.DivisionByZero):
            await statement.row([bytes(8)])
        found = await statement.row([five])
        assert (found[0], found[2]) == (2, None)
        assert found[1].tzinfo is not None
        assert (await statement.row([None]))[0] is None
    finally:
        await connection.close()


async def test_parameters_may_be_larger_than_what_a_socket_takes(database_url):
    connection = await connect_async(database_url)
    try:
        statement = raw.Prepared(connection, "SELECT cardinality(%b)", [arrays.Int8Array.array])
        many = list(range(1_000_000))
        assert (await statement.row([arrays.int8s(many)]))[0] == len(many)
    finally:
        await connection.close()


async def test_a_connection_that_is_cut_is_an_error_and_not_a_wait(database_url):
    connection = await connect_async(database_url)
    with psycopg.connect(database_url, autocommit=True) as other:
        statement = raw.Prepared(connection, "SELECT pg_backend_pid(), %b::bigint", [INT8])
        pid = (await statement.row([None]))[0]
        other.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
        async with asyncio.timeout(20):
            with pytest.raises(psycopg.OperationalError):
                await statement.row([None])
    await connection.close()


def test_names_are_encoded_as_texts_are():
    for values in (["EUR", "sales:ü", "EUR"], [""]):
        assert arrays.names(values) == arrays.texts(values)
    for encode in (arrays.names, arrays.texts):
        with pytest.raises(ValueError, match="NUL"):
            encode(["a\0b"])
