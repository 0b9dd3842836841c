"""Arrays for hot statements, encoded in PostgreSQL's binary format by type instead of by looking at every element.

psycopg finds out what a list holds element by element. Here the caller knows, and a flush carries thousands of
elements (docs/decisions/0008 has what it saves). The format is that of
`array_recv`: dimensions, flags, element type, then length and lower bound, then the elements with their lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import psycopg
from psycopg import pq
from psycopg.adapt import Buffer, Dumper

_HEADER = Struct("!iiIii").pack
_LENGTH = Struct("!i").pack
_INT2 = Struct("!ih").pack
_INT4 = Struct("!ii").pack
_INT8 = Struct("!iq").pack
_FLOAT8 = Struct("!id").pack
_NULL = _LENGTH(-1)
_UUID_LENGTH = _LENGTH(16)
_BOOL = {None: _NULL, False: _LENGTH(1) + b"\0", True: _LENGTH(1) + b"\1"}


_NUL = "text cannot hold a NUL character"


class Array(bytes):
    """An encoded array; its class says of what."""

    element: ClassVar[int]  # type oids, from pg_type.dat
    array: ClassVar[int]


A = TypeVar("A", bound=Array)


class UuidArray(Array):
    """`uuid[]`, encoded."""

    element, array = 2950, 2951


class TextArray(Array):
    """`text[]`, encoded."""

    element, array = 25, 1009


class ByteaArray(Array):
    """`bytea[]`, encoded."""

    element, array = 17, 1001


class Int2Array(Array):
    """`smallint[]`, encoded."""

    element, array = 21, 1005


class Int4Array(Array):
    """`integer[]`, encoded."""

    element, array = 23, 1007


class Int8Array(Array):
    """`bigint[]`, encoded."""

    element, array = 20, 1016


class Float8Array(Array):
    """`double precision[]`, encoded."""

    element, array = 701, 1022


class BoolArray(Array):
    """`boolean[]`, encoded."""

    element, array = 16, 1000


def uuids(values: Sequence[UUID | None]) -> UuidArray:
    """`uuid[]`"""
    return _array(
        UuidArray,
        len(values),
        [_NULL if v is None else _UUID_LENGTH + v.int.to_bytes(16, "big") for v in values],
    )


def texts(values: Sequence[str | None]) -> TextArray:
    """`text[]`; raises `ValueError` for what text cannot hold (NUL, lone surrogates)."""
    encoded = [None if v is None else v.encode() for v in values]
    if any(b"\0" in v for v in encoded if v is not None):
        raise ValueError(_NUL)
    return _array(
        TextArray, len(values), [_NULL if v is None else _LENGTH(len(v)) + v for v in encoded]
    )


def names(values: Sequence[str]) -> TextArray:
    """`text[]` of texts that come again and again; raises `ValueError` as `texts` does."""
    return _array(TextArray, len(values), map(_name, values))


@lru_cache(maxsize=10_000)
def _name(value: str) -> bytes:
    encoded = value.encode()
    if b"\0" in encoded:
        raise ValueError(_NUL)
    return _LENGTH(len(encoded)) + encoded


def byteas(values: Sequence[bytes | None]) -> ByteaArray:
    """`bytea[]`"""
    return _array(
        ByteaArray, len(values), [_NULL if v is None else _LENGTH(len(v)) + v for v in values]
    )


def int2s(values: Sequence[int]) -> Int2Array:
    """`smallint[]`"""
    return _array(Int2Array, len(values), [_INT2(2, v) for v in values])


def int4s(values: Sequence[int | None]) -> Int4Array:
    """`integer[]`"""
    return _array(Int4Array, len(values), [_NULL if v is None else _INT4(4, v) for v in values])


def int8s(values: Sequence[int | None]) -> Int8Array:
    """`bigint[]`"""
    return _array(Int8Array, len(values), [_NULL if v is None else _INT8(8, v) for v in values])


def float8s(values: Sequence[float | None]) -> Float8Array:
    """`double precision[]`"""
    return _array(Float8Array, len(values), [_NULL if v is None else _FLOAT8(8, v) for v in values])


def bools(values: Sequence[bool | None]) -> BoolArray:
    """`boolean[]`"""
    return _array(BoolArray, len(values), [_BOOL[v] for v in values])


def _array(kind: type[A], count: int, elements: Iterable[bytes]) -> A:
    # The flag says that there may be NULLs; the server does not mind if there are none.
    return kind(_HEADER(1, 1, kind.element, count, 1) + b"".join(elements))


def register(connection: psycopg.AsyncConnection[Any]) -> None:
    """Let this connection take these arrays as parameters (`%b`)."""
    for kind in (
        UuidArray, TextArray, ByteaArray, Int2Array, Int4Array, Int8Array, Float8Array, BoolArray,
    ):  # fmt: skip
        connection.adapters.register_dumper(kind, _dumper(kind))


class _ArrayDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: Array) -> Buffer:
        return obj


def _dumper(kind: type[Array]) -> type[_ArrayDumper]:
    return type(f"{kind.__name__}Dumper", (_ArrayDumper,), {"oid": kind.array})
